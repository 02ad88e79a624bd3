"""The MEMO network: partly masked edge map + image -> logits of every pixel (Cheng, Wu, Zhou, CVPR 2026)."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.nn import functional

from edgebench.methods.memo.dino import DinoFeatures
from edgebench.methods.memo.presets import NetworkConfig

CLASSES = 2
MASK = CLASSES
"""Token of a pixel that is not revealed yet; 0 is background and 1 is edge."""


class MemoNetwork(nn.Module):
    """A UNet over embedded edge tokens and the image, told the masked share in place of a time step.

    The image enters twice: its pixels beside the embedded tokens, and its DINOv2 features, which are added
    to the output of the UNet's middle block.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        levels = len(config.channels)
        self.embedder = nn.Embedding(CLASSES + 1, config.embedding)
        nn.init.normal_(self.embedder.weight, std=config.embedding_std)
        self.pre_conv = nn.Conv2d(config.embedding + 3, config.embedding, 3, padding=1)
        self.unet: Any = UNet2DModel(
            in_channels=config.embedding,
            out_channels=CLASSES,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            norm_num_groups=config.groups,
        )
        self.dino: DinoFeatures | None = None
        if config.dino is not None:
            self.dino = DinoFeatures(config.dino)
            self.dino_map = nn.Conv2d(config.dino.hidden, config.channels[-1], 1)

    @property
    def divisor(self) -> int:
        """Height and width of an image must be multiples of this."""
        return self.config.divisor

    def enable_gradient_checkpointing(self) -> None:
        """Trade time for memory in training: activations are computed again in the backward pass."""
        self.unet.enable_gradient_checkpointing()
        if self.dino is not None and any(parameter.requires_grad for parameter in self.dino.parameters()):
            self.dino.model.activation_checkpointing_enable({"use_reentrant": False})

    def encode(self, image: Tensor) -> Tensor | None:
        """DINOv2 features of `image` (B, 3, H, W) in [0, 1], mapped to the UNet's width.

        Returns:
            (B, C_last, h, w), or None for a network without DINOv2. They depend on the image alone, so one
            call serves all reveal steps. The unconditional pass takes those of a black image.
        """
        return None if self.dino is None else self.dino_map(self.dino(image))

    def forward(self, tokens: Tensor, ratio: Tensor, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Logits of background and edge.

        Args:
            tokens: Integer edge map (B, H, W): 0 background, 1 edge, 2 masked.
            ratio: Share of masked pixels (B,) in [0, 1], not scaled to time steps.
            image: RGB (B, 3, H, W) in [0, 1].
            features: What `encode(image)` returned; computed here when it is None.

        Returns:
            (B, 2, H, W).
        """
        if features is None:
            features = self.encode(image)
        unet = self.unet
        embedded = self.embedder(tokens).permute(0, 3, 1, 2)
        hidden = self.pre_conv(torch.cat((embedded, image.to(embedded.dtype)), dim=1))
        time = unet.time_embedding(unet.time_proj(ratio).to(hidden.dtype))

        hidden = unet.conv_in(hidden)
        skips = [hidden]
        for block in unet.down_blocks:
            hidden, outputs = block(hidden_states=hidden, temb=time)
            skips.extend(outputs)
        hidden = unet.mid_block(hidden, time)
        if features is not None:
            hidden = hidden + functional.interpolate(
                features, size=hidden.shape[-2:], mode="bilinear", align_corners=False
            )
        for block in unet.up_blocks:
            count = len(block.resnets)
            hidden = block(hidden, tuple(skips[-count:]), time)
            del skips[-count:]
        return unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))
