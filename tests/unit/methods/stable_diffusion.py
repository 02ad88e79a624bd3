"""Small models in the layout of Stable Diffusion's folders and of DiffDIS' authors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

WIDTHS = (8, 16, 16, 16)
TEXT = 12


def save_model(folder: Path, prediction: str = "epsilon", **changes: Any) -> Path:
    """Write a random model into `folder`, whose autoencoder halves the sides of a picture once.

    Args:
        folder: Made if need be.
        prediction: What its scheduler says that it predicts.
        changes: Of the U-Net, which is like those of the SD 2 family.
    """
    torch.manual_seed(0)
    usual: dict[str, Any] = {"block_out_channels": WIDTHS, "layers_per_block": 1, "attention_head_dim": (1, 2, 4, 4)}
    usual |= {"cross_attention_dim": TEXT, "norm_num_groups": 4, "use_linear_projection": True}
    unet: Any = UNet2DConditionModel(**usual | changes)
    unet.save_pretrained(folder / "unet")
    vae: Any = AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    vae.save_pretrained(folder / "vae")
    text = CLIPTextConfig(
        vocab_size=20, hidden_size=TEXT, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    (folder / "scheduler").mkdir()
    # The spacing of SD 2.1's own file, which would make the only step 1.
    config = {"prediction_type": prediction, "timestep_spacing": "leading", "clip_sample": True}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    return folder


def official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a DiffDIS network under the authors' names."""
    rules = (
        (r"^injectors\.(\d)\.stem", r"rgb_conv.\1.0"),
        (r"^injectors\.(\d)\.norm", r"rgb_conv.\1.1"),
        (r"^injectors\.(\d)\.scale", r"rgb_proj.\1"),
        (r"^injectors\.(\d)\.shift", r"rgb_proj1.\1"),
        (r"norm_between", "norm2_"),
        (r"attention_between", "attn3"),
        (r"^unet\.", ""),
    )
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    renamed.pop("text")
    return renamed
