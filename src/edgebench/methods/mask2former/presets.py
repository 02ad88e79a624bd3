"""Sizes of Mask2Former, as configurations of transformers' own class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import Mask2FormerConfig, PretrainedConfig, ResNetConfig, SwinConfig
from transformers.utils import logging

from edgebench.errors import ConfigError, nearest

_STAGES = ["stage1", "stage2", "stage3", "stage4"]

PRESETS: dict[str, tuple[type[PretrainedConfig], dict[str, Any], dict[str, Any]]] = {
    "resnet50": (ResNetConfig, {}, {"num_queries": 100}),
    "swin_large": (
        SwinConfig,
        {
            "image_size": 384,
            "embed_dim": 192,
            "depths": [2, 2, 18, 2],
            "num_heads": [6, 12, 24, 48],
            "window_size": 12,
            "drop_path_rate": 0.3,
        },
        {"num_queries": 200},
    ),
    "small": (
        ResNetConfig,
        {"embedding_size": 32, "hidden_sizes": [32, 64, 128, 128], "depths": [1, 1, 1, 1], "layer_type": "basic"},
        {
            "num_queries": 20,
            "feature_size": 64,
            "mask_feature_size": 64,
            "hidden_dim": 64,
            "encoder_feedforward_dim": 128,
            "encoder_layers": 1,
            "decoder_layers": 4,
            "dim_feedforward": 128,
            "num_attention_heads": 4,
            "train_num_points": 1024,
        },
    ),
}
"""`resnet50` and `swin_large` are the published ones; `small` is for drawn scenes of 64 to 128 px, started from scratch
on a CPU; its backbone is a ResNet, which is cheaper than a Swin of that size. `decoder_layers` counts the queries' own
prediction, too: 10 is the paper's 9 layers."""


def network_config(
    preset: str, classes: int, backbone: dict[str, Any] | None = None, **changes: Any
) -> Mask2FormerConfig:
    """The configuration of a preset.

    Args:
        preset: One of `PRESETS`.
        classes: How many classes there are, things and stuff.
        backbone: The `config.json` of a pre-trained backbone, which replaces the preset's where it is given.
        **changes: Other values of transformers' own settings, such as `num_queries`.

    Raises:
        ConfigError: there is no such preset, or the backbone is of another kind than the preset's.
    """
    if preset not in PRESETS:
        raise ConfigError(f"Mask2Former: there is no preset '{preset}'.{nearest(preset, PRESETS)}")
    kind, own, sizes = PRESETS[preset]
    if backbone is not None:
        if backbone.get("model_type") != kind.model_type:
            raise ConfigError(
                f"Mask2Former: preset '{preset}' has a backbone of the kind {kind.model_type}, the checkpoint is a "
                f"{backbone.get('model_type')}. Choose the preset that belongs to it."
            )
        # Stochastic depth is a matter of this training, not of the one on ImageNet.
        chosen = backbone | {key: value for key, value in own.items() if key == "drop_path_rate"}
        own = {key: value for key, value in chosen.items() if key in kind().to_dict() and key not in _NAMED}
    with quiet():
        config = Mask2FormerConfig(backbone_config=kind(**{**own, "out_features": _STAGES}), **{**sizes, **changes})
        config.num_labels = classes
        return config


_NAMED = {"architectures", "out_features", "out_indices", "stage_names", "transformers_version", "id2label", "label2id"}
"""Keys of a backbone's configuration that say what its classifier was, or what we say ourselves."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without the remarks of transformers, which has not tested other backbones than Swin and tells what it loads."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
