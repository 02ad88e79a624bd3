"""The network's forward pass for revealing: nothing is computed twice, and nothing is written that is not needed.

Revealing asks the same network for logits dozens of times with one image. What the image alone decides is made
once (`prepare`); the rest of a pass (`denoise`) gives the same numbers as `MemoNetwork.forward` up to rounding:

- Both first convolutions are linear and pad with zeros, so the image's share of their output is a constant of the
  image, borders included. The tokens' share is a convolution of the one-hot tokens by kernels that the embedding
  is multiplied into, and serves the conditional and the unconditional pass.
- The time embedding and its projections into all ResNet blocks are one stacked product per step.
- A projection is added as part of the convolution's bias; SiLU and the residual sum are done in place; the
  division by an output scale of one is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgebench.methods.memo.lora import merge_lora
from edgebench.methods.memo.network import MemoNetwork


@dataclass(frozen=True)
class Condition:
    """What images contribute to every pass.

    Attributes:
        stem: (B, C_0, H, W): their share of the first convolutions' output, biases included.
        features: (B, C_last, h, w) at the middle block's resolution, or None without DINOv2.
    """

    stem: Tensor
    features: Tensor | None

    def of(self, images: list[int]) -> Condition:
        """The conditions of some of the images, in the order of `images`."""
        if images == list(range(len(self.stem))):
            return self
        return Condition(self.stem[images], None if self.features is None else self.features[images])


def without_adapters(network: MemoNetwork) -> MemoNetwork:
    """`network` itself, or its plain equal when it carries low-rank adapters."""
    state = network.state_dict()
    if not any(".lora_A." in name for name in state):
        return network
    plain = MemoNetwork(network.config)
    plain.load_state_dict(merge_lora(state))
    return plain


class Denoiser:
    """`MemoNetwork.forward` in two halves, for inference only.

    Its numbers are those of the network's weights at the time it is made.
    """

    def __init__(self, network: MemoNetwork) -> None:
        """Derive what depends on the weights alone from `network`, which has no adapters."""
        self.network = network
        unet, width = network.unet, network.config.embedding
        with torch.no_grad():
            # Kernels over one-hot tokens: (out, embedding, 3, 3) x (tokens, embedding) -> (out, tokens, 3, 3).
            kernels = torch.einsum("oeyx,te->otyx", network.pre_conv.weight[:, :width], network.embedder.weight)
            # Laid out plainly: the layout of `conv_in` decides that of the whole pass.
            self.token_kernels = kernels.contiguous()
            self.image_kernels = network.pre_conv.weight[:, width:].contiguous()
            resnets = list(_resnets(unet))
            self.time_weight = torch.cat([block.time_emb_proj.weight for block in resnets])
            # The convolution's own bias comes along, so that a shift is all that is added to its sums.
            self.time_bias = torch.cat([block.time_emb_proj.bias + block.conv1.bias for block in resnets])
        self.widths = [block.conv1.out_channels for block in resnets]

    def prepare(self, image: Tensor, features: Tensor | None) -> Condition:
        """What images (B, 3, H, W) in [0, 1] and their encoded features contribute to every pass."""
        unet = self.network.unet
        half = functional.conv2d(image, self.image_kernels, self.network.pre_conv.bias, padding=1)
        if features is not None:
            size = [side // self.network.divisor for side in image.shape[-2:]]
            features = functional.interpolate(features, size=size, mode="bilinear", align_corners=False)
        return Condition(unet.conv_in(half), features)

    def embed(self, tokens: Tensor) -> Tensor:
        """The share (B, C_0, H, W) of integer tokens (B, H, W) of the first convolutions' output."""
        planes = torch.stack([tokens == token for token in range(self.token_kernels.shape[1])], dim=1)
        hidden = functional.conv2d(planes.to(self.token_kernels.dtype), self.token_kernels, padding=1)
        return functional.conv2d(hidden, self.network.unet.conv_in.weight, padding=1)

    def shifts(self, ratio: Tensor) -> Tensor:
        """What masked shares (B,) add to the channels of all ResNet blocks: (B, sum of widths)."""
        unet = self.network.unet
        time = unet.time_embedding(unet.time_proj(ratio).to(self.time_weight.dtype))
        return functional.linear(functional.silu(time), self.time_weight, self.time_bias)

    def denoise(self, hidden: Tensor, shifts: Tensor, features: Tensor | None) -> Tensor:
        """Logits (B, 2, H, W).

        Args:
            hidden: Output of the first convolutions: what `embed` gave plus a condition's stem.
            shifts: What `shifts` gave.
            features: Those of the condition.
        """
        unet = self.network.unet
        shift = iter(shifts.split(self.widths, dim=1))
        skips = [hidden]
        for block in unet.down_blocks:
            for resnet in block.resnets:
                hidden = _resnet(resnet, hidden, next(shift))
                skips.append(hidden)
            for sampler in block.downsamplers or ():
                hidden = sampler(hidden)
                skips.append(hidden)
        middle = unet.mid_block
        hidden = _resnet(middle.resnets[0], hidden, next(shift))
        for attention, resnet in zip(middle.attentions, middle.resnets[1:], strict=True):
            hidden = _resnet(resnet, attention(hidden), next(shift))
        if features is not None:
            hidden = hidden + features
        for block in unet.up_blocks:
            for resnet in block.resnets:
                hidden = _resnet(resnet, torch.cat((hidden, skips.pop()), dim=1), next(shift))
            for sampler in block.upsamplers or ():
                hidden = sampler(hidden)
        return unet.conv_out(functional.silu(unet.conv_norm_out(hidden), inplace=True))


def _resnets(unet: Any) -> Iterator[Any]:
    """The ResNet blocks in the order in which a pass meets them."""
    for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        yield from block.resnets


def _resnet(block: Any, hidden: Tensor, shift: Tensor) -> Tensor:
    """A ResNet block whose time projection (B, C), with the first convolution's bias, is `shift`."""
    inner = functional.silu(block.norm1(hidden), inplace=True)
    if len(shift) == 1:
        inner = functional.conv2d(inner, block.conv1.weight, shift[0], padding=1)
    else:
        inner = functional.conv2d(inner, block.conv1.weight, padding=1).add_(shift[:, :, None, None])
    inner = block.conv2(functional.silu(block.norm2(inner), inplace=True))
    return inner.add_(hidden if block.conv_shortcut is None else block.conv_shortcut(hidden))
