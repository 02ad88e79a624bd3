"""Mask2Former so small that it runs in no time, with random weights, and classifiers to start it from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Mask2FormerForUniversalSegmentation,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
)

from edgebench.methods.mask2former.presets import network_config

SWIN: dict[str, Any] = {
    "image_size": 32,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "drop_path_rate": 0.0,
}
RESNET: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
SIZES: dict[str, Any] = {
    "num_queries": 6,
    "feature_size": 32,
    "mask_feature_size": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 16,
    "encoder_layers": 1,
    "decoder_layers": 3,
    "dim_feedforward": 16,
    "num_attention_heads": 2,
    "train_num_points": 48,
}


def tiny_config(classes: int = 3) -> Any:
    return network_config("swin_large", classes, {"model_type": "swin", **SWIN}, **SIZES)


def save_classifier(folder: Path, kind: str) -> torch.nn.Module:
    """A random classifier of ImageNet's kind, in the form of transformers."""
    torch.manual_seed(3)
    model: Any
    if kind == "swin":
        model = SwinForImageClassification(SwinConfig(**{**SWIN, "num_labels": 5}))
    else:
        model = ResNetForImageClassification(ResNetConfig(**{**RESNET, "num_labels": 5}))
        norms: Any = (each for each in model.modules() if isinstance(each, torch.nn.BatchNorm2d))
        for norm in norms:
            norm.running_mean.normal_()
    model.save_pretrained(folder)
    return model


def save_segmenter(folder: Path) -> None:
    """A Mask2Former that has seen masks, as those of the hub have."""
    Mask2FormerForUniversalSegmentation(tiny_config()).save_pretrained(folder)
