"""Training checkpoints in the layout of MEMO's authors, made of random weights."""

from __future__ import annotations

import argparse
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgebench.methods.memo.presets import DinoConfig, NetworkConfig

MICRO = NetworkConfig(8, (16, 32), 1, 8, DinoConfig(24, 2, 3, registers=4, size=(28, 28)))
OFFICIAL = (
    (r"^unet\.", ""),
    (r"^dino_map\.", "dino_to_unet_feat_map."),
    (r"^dino\.model\.embeddings\.position_embeddings$", "dino.pos_embed"),
    (r"^dino\.model\.embeddings\.patch_embeddings\.projection\.", "dino.patch_embed.proj."),
    (r"^dino\.model\.embeddings\.", "dino."),
    (r"^dino\.model\.layernorm\.", "dino.norm."),
    (r"^dino\.model\.encoder\.layer\.(\d+)\.attention\.", r"dino.blocks.\1.attn."),
    (r"^dino\.model\.encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1$", r"dino.blocks.\1.ls\2.gamma"),
    (r"^dino\.model\.encoder\.layer\.", "dino.blocks."),
)


def official_name(ours: str) -> str:
    """The authors' name of our parameter."""
    for pattern, replacement in OFFICIAL:
        ours, found = re.subn(pattern, replacement, ours)
        if found:
            break
    return ours


def write_deepspeed(
    path: Path, averaged: dict[str, Tensor], live: dict[str, Tensor] | None = None, updates: int = 9, **rest: Any
) -> Path:
    """Write a checkpoint as DeepSpeed and Lightning do; the weights carry the authors' names."""
    module = OrderedDict({f"denoiser.{name}": value for name, value in (live or averaged).items()})
    if updates:
        module |= {f"ema_denoiser.module.{name}": value for name, value in averaged.items()}
        module["ema_denoiser.n_averaged"] = torch.tensor(updates)
    content = {
        "module": module,
        "buffer_names": [],
        "param_shapes": [OrderedDict((name, value.shape) for name, value in module.items())],
        "ds_config": {"zero_optimization": {"stage": 2}},
        "ds_version": "0.17",
        "epoch": 79,
        "hyper_parameters": argparse.Namespace(config=Path("configs/binary.yaml")),
        **rest,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path
