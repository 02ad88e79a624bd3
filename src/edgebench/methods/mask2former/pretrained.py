"""Backbones of Mask2Former that were trained to classify ImageNet, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edgebench.errors import ConfigError, DataError
from edgebench.files import read_json
from edgebench.methods.mask2former.network import Mask2FormerNetwork
from edgebench.methods.mask2former.presets import network_config
from edgebench.methods.weight_files import load_strictly

WEIGHTS = "model.safetensors"
_CLASSIFIERS = {
    "resnet": ("ResNetForImageClassification", "ResNetModel"),
    "swin": ("SwinForImageClassification", "SwinModel"),
}
"""By kind of backbone, the models whose weights may be started from."""
_HEADS = ("classifier.", "layernorm.", "pooler.")
"""What such a model has besides a backbone."""


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
    kind, path = config["model_type"], Path(folder) / WEIGHTS
    network = Mask2FormerNetwork(network_config(preset, classes, config, **changes), frozen_statistics=kind == "resnet")
    state = {name.removeprefix(f"{kind}."): tensor for name, tensor in _tensors(path).items()}
    fresh = {name: t for name, t in network.backbone.state_dict().items() if name.startswith("hidden_states_norms.")}
    # Tables of positions that some versions store and others compute.
    stored = {n: t for n, t in state.items() if not n.startswith(_HEADS) and "relative_position_index" not in n}
    computed = {n: t for n, t in network.backbone.state_dict().items() if "relative_position_index" in n}
    load_strictly(network.backbone, {**computed, **fresh, **stored}, path)
    return network


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; the weights are read from safetensors alone. Fetch the checkpoint again."
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a readable safetensors file ({error}). Fetch the checkpoint again.") from error
