"""Backbones of Mask2Former that were trained to classify ImageNet, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ResNetBackbone, SwinBackbone

from edgebench.errors import ConfigError, DataError
from edgebench.files import read_json
from edgebench.methods.mask2former.network import Mask2FormerNetwork
from edgebench.methods.mask2former.presets import network_config, quiet

WEIGHTS = "model.safetensors"
_CLASSIFIERS = {
    "resnet": ("ResNetForImageClassification", "ResNetModel"),
    "swin": ("SwinForImageClassification", "SwinModel"),
}
"""By kind of backbone, the models whose weights may be started from."""
_HEADS = ("classifier.", "layernorm.", "pooler.", "relative_position_index")
"""What such a model has besides a backbone; tables of positions are stored by some versions only."""
_NORMS = ("hidden_states_norms.", "relative_position_index")
"""What a backbone has besides such a model."""


def backbone_config(folder: str | Path) -> dict[str, Any]:
    """The configuration of a backbone, once it is certain that it has never seen a mask.

    Weights that were trained on annotated masks, such as those of `facebook/mask2former-*-coco-panoptic`, would bring
    the annotations that a weakly supervised method does without.

    Raises:
        ConfigError: the model was trained for something other than classes of whole pictures.
        DataError: there is no readable `config.json`.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise DataError(f"{path}: no such file. Fetch the checkpoint again.")
    content: dict[str, Any] = read_json(path)
    kind, architectures = str(content.get("model_type")), content.get("architectures") or []
    if kind not in _CLASSIFIERS or not set(architectures) <= {*_CLASSIFIERS[kind]}:
        raise ConfigError(
            f"{path}: a model {', '.join(architectures) or kind}, where the backbone must be a classifier of ImageNet "
            f"({' or '.join(_CLASSIFIERS)}). Weights that were trained on masks would leak annotations into a method "
            f"that is to do without. Set backbone to resnet50_imagenet or swin_large_in22k."
        )
    return content


def from_backbone(folder: str | Path, preset: str, classes: int, **changes: Any) -> Mask2FormerNetwork:
    """A network whose backbone is the one in `folder`, all else being random.

    The norms that follow Swin's stages are new as well; ResNet's batch normalisation is frozen, as in the authors'
    code.

    Args:
        folder: With `config.json` and `model.safetensors`, in the form of transformers.
        preset: Whose backbone is of that kind.
        classes: How many classes there are.
        **changes: As in `network_config`.

    Raises:
        ConfigError: the model is of another kind, or was trained on masks.
        DataError: a file is missing or damaged, or its weights are not those of the backbone.
    """
    config = backbone_config(folder)
    network = Mask2FormerNetwork(
        network_config(preset, classes, config, **changes), frozen_statistics=config["model_type"] == "resnet"
    )
    network.backbone.load_state_dict(_loaded(Path(folder), network.config.backbone_config))
    return network


def _loaded(folder: Path, config: Any) -> dict[str, Tensor]:
    """The weights of a backbone, as transformers reads them: it knows the names of every version.

    Raises:
        DataError: they cannot be read, or are not exactly those that the backbone has.
    """
    if not (folder / WEIGHTS).is_file():
        raise DataError(
            f"{folder / WEIGHTS}: no such file; weights are read from safetensors alone. Fetch the checkpoint again."
        )
    model_class: Any = {"resnet": ResNetBackbone, "swin": SwinBackbone}[config.model_type]
    try:
        with quiet():  # what is missing and what is too much is said below
            model, found = model_class.from_pretrained(
                str(folder),
                config=config,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                dtype=torch.float32,
            )
    except Exception as error:  # transformers and safetensors raise whatever they stumble over
        raise DataError(
            f"{folder / WEIGHTS}: not readable weights of a {config.model_type}: {str(error).splitlines()[0]} Fetch "
            f"the checkpoint again."
        ) from error
    known = {"missing_keys": _NORMS, "unexpected_keys": _HEADS}
    problems = [
        f"{key.replace('_keys', '').replace('_', ' ')}: {name}"
        for key, names in found.items()
        for name in sorted(map(str, names or ()))
        if not any(part in name for part in known.get(key, ()))
    ]
    if problems:
        raise DataError(
            f"{folder / WEIGHTS}: its weights are not those of its config.json: {len(problems)} differ, first "
            f"{problems[0]}. Fetch the checkpoint again."
        )
    state: dict[str, Tensor] = model.state_dict()
    return state
