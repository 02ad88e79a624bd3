"""What a trained network computes from no picture: computed once and put in its place, without changing any result."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgebench.methods.diffdis.network import DiffdisNetwork


class _Fixed(nn.Module):
    """Answers with the same values (n, ...) whatever it is asked, each repeated for its share of the batch."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, asked: Tensor) -> Tensor:
        return self.value.repeat_interleave(len(asked) // len(self.value), dim=0)


@torch.no_grad()
def fix_constants(network: DiffdisNetwork) -> None:
    """Fix what never changes after training; the network can be trained no more.

    That is each injector's BatchNorm, which becomes a part of its convolution, and the keys and values of the empty
    text in every cross-attention.

    Args:
        network: In evaluation mode, on the device where it will compute.
    """
    injector: Any
    for injector in network.injectors:
        if isinstance(injector.norm, nn.BatchNorm2d):
            injector.stem = fuse_conv_bn_eval(injector.stem, injector.norm)
            injector.norm = nn.Identity()
    block: Any
    for block in network.unet.modules():
        if isinstance(block, BasicTransformerBlock):
            for name in ("to_k", "to_v"):
                projection = getattr(block.attn2, name)
                if not isinstance(projection, _Fixed):
                    setattr(block.attn2, name, _Fixed(projection(network.text)))


class _Told(nn.Module):
    """A ResNet block's view of time step and stream, which `TimeConstants` sets before each call of the network."""

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        self.projection = projection
        self.fixed = _Fixed(torch.empty(0))

    def forward(self, asked: Tensor) -> Tensor:
        answer: Tensor = self.fixed(asked)
        return answer


class TimeConstants:
    """What each ResNet block is told of time step and stream, computed at the first use of a time step."""

    def __init__(self, network: DiffdisNetwork) -> None:
        """Take over `network`, which is on the device where it will compute."""
        self._network = network
        self._blocks: list[Any] = [each for each in network.unet.modules() if isinstance(each, ResnetBlock2D)]
        for block in self._blocks:
            if not isinstance(block.time_emb_proj, _Told):
                block.time_emb_proj = _Told(block.time_emb_proj)
        self._known: dict[int, tuple[Tensor, list[_Fixed]]] = {}

    def at(self, time: int) -> Tensor:
        """Prepare the network for time step `time`; returns the `embedding` that its call takes."""
        if time not in self._known:
            embedding = self._network.embed(time)
            fixed = [_Fixed(each.time_emb_proj.projection(each.nonlinearity(embedding))) for each in self._blocks]
            self._known[time] = embedding, fixed
        embedding, fixed = self._known[time]
        for block, each in zip(self._blocks, fixed, strict=True):
            block.time_emb_proj.fixed = each
        return embedding
