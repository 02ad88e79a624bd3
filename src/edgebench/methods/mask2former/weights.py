"""Weight files of Mask2Former: safetensors whose metadata say how to build the network and what its classes are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Mask2FormerConfig

from edgebench.data.panoptic import Category
from edgebench.errors import DataError
from edgebench.methods.mask2former.network import Mask2FormerNetwork
from edgebench.methods.weight_files import load_strictly, read_metadata, read_weights

METHOD = "mask2former"


def weight_metadata(config: Mask2FormerConfig, categories: Mapping[int, Category], size: int) -> dict[str, str]:
    """What a weight file says about itself; `size` is the side of the crops that it was trained on, pixels."""
    listed = [[key, category.name, category.thing] for key, category in sorted(categories.items())]
    return {
        "method": METHOD,
        "config": json.dumps(config.to_diff_dict()),
        "categories": json.dumps(listed),
        "size": str(size),
    }


def load_weights(path: str | Path) -> tuple[Mask2FormerNetwork, dict[int, Category]]:
    """Build the network that a weight file describes, in evaluation mode on the CPU, and its classes by id.

    Class k of the network is the k-th of them in ascending order.

    Raises:
        DataError: the file is missing or damaged, or holds the weights of another model.
    """
    metadata, state = read_weights(path, METHOD, "Mask2Former", ("config", "categories"))
    try:
        content: dict[str, Any] = json.loads(metadata["config"])
        config = Mask2FormerConfig.from_dict(content)
        categories = {
            int(key): Category(str(name), bool(thing)) for key, name, thing in json.loads(metadata["categories"])
        }
    except Exception as error:  # transformers raises whatever it stumbles over
        raise DataError(f"{path}: the network's configuration cannot be read ({error}). Train it again.") from error
    if config.num_labels != len(categories):
        raise DataError(f"{path}: tells {len(categories)} classes of {config.num_labels} apart. Train it again.")
    network = Mask2FormerNetwork(config)
    load_strictly(network, state, path)
    return network.eval(), categories


def trained_size(path: str | Path) -> int | None:
    """Side of the crops that the weights of a file were trained on, pixels; None where it does not say."""
    size = read_metadata(path).get("size", "")
    return int(size) if size.isdecimal() else None
