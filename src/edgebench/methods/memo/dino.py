"""DINOv2 as MEMO uses it: the transformers models, with the positions and the projections of the original.

The authors load facebookresearch/dinov2. Two things differ from transformers and are put back here, because
they change the numbers: the model without registers resamples its position grid with an offset of 0.1, and
query, key and value are one fused projection (so that one low-rank adapter spans all three).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

from edgebench.methods.memo.presets import DinoConfig

PATCH = 14
TRAINED_SIZE = 518
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class OffsetEmbeddings(Dinov2Embeddings):
    """Embeddings that resample positions like the DINOv2 models without registers: with an offset of 0.1."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Positions (1, 1 + h*w, D) for an image of `height` x `width` pixels."""
        positions = self.position_embeddings
        side = round((positions.shape[1] - 1) ** 0.5)
        rows, columns = height // PATCH, width // PATCH
        if (rows, columns) == (side, side):
            return positions
        grid = positions[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, scale_factor=((rows + 0.1) / side, (columns + 0.1) / side), mode="bicubic")
        flat = grid.flatten(2).transpose(1, 2).to(positions.dtype)
        return torch.cat((positions[:, :1], flat), dim=1)


class FusedAttention(nn.Module):
    """Self-attention with one projection for query, key and value, as in facebookresearch/dinov2."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.proj = nn.Linear(hidden, hidden)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: object) -> tuple[Tensor, None]:
        """Attend over tokens (B, N, D); the second value stands for the weights that transformers returns."""
        qkv = self.qkv(hidden_states).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=attention_mask)
        return self.proj(attended.transpose(1, 2).flatten(2)), None


def build_dino(config: DinoConfig) -> Dinov2Model | Dinov2WithRegistersModel:
    """A DINOv2 with random weights, fused projections and the original way of resampling positions."""
    sizes: dict[str, Any] = {
        "hidden_size": config.hidden,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "image_size": TRAINED_SIZE,
        "patch_size": PATCH,
        "layer_norm_eps": 1e-6,
    }
    model: Dinov2Model | Dinov2WithRegistersModel
    if config.registers:
        model = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, num_register_tokens=config.registers))
    else:
        model = Dinov2Model(Dinov2Config(**sizes))
        model.embeddings = OffsetEmbeddings(model.config)
        model.embeddings.apply(model._init_weights)
    for layer in model.encoder.layer:
        layer.attention = FusedAttention(config.hidden, config.heads)
        layer.attention.apply(model._init_weights)
    return model


class DinoFeatures(nn.Module):
    """Image (B, 3, H, W) in [0, 1] -> patch features (B, D, h, w) after the final LayerNorm."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: DinoConfig) -> None:
        super().__init__()
        self.size = config.size
        self.skipped = 1 + config.registers
        self.model = build_dino(config)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """What an image of `height` x `width` is resized to, in pixels."""
        if self.size == "adaptive":
            return max(height // PATCH, 1) * PATCH, max(width // PATCH, 1) * PATCH
        return self.size

    def forward(self, image: Tensor) -> Tensor:
        """Features of `image`; the aspect ratio is ignored, as by the authors."""
        size = self.input_size(*image.shape[-2:])
        resized = functional.interpolate(image, size=size, mode="bilinear", align_corners=False)
        tokens = self.model((resized - self.mean) / self.std).last_hidden_state
        patches = tokens[:, self.skipped :]
        return patches.transpose(1, 2).unflatten(2, (size[0] // PATCH, size[1] // PATCH))
