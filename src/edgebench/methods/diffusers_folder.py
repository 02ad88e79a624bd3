"""Parts of pre-trained models in folders of diffusers' layout: a folder per part, each with a `config.json`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from edgebench.errors import DataError, EdgebenchError
from edgebench.files import read_json


def load_part(folder: Path, load: Callable[..., Any], dtype: torch.dtype = torch.float32) -> Any:
    """A part of a model, with all of its weights.

    Args:
        folder: Of the part.
        load: `from_pretrained` of its class in diffusers or transformers.
        dtype: Of the weights, whatever the folder's own config.json says: those of Stable Diffusion often say half.

    Raises:
        DataError: it is missing or damaged.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Fetch the pre-trained model, or give its folder.")
    options = {"dtype": dtype, "use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    try:
        part, report = load(folder, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{folder}: cannot be loaded ({str(error).splitlines()[0]}). Fetch it again.") from error
    if missing := sorted(report["missing_keys"]):
        # The libraries fill such gaps with random numbers, and only warn.
        raise DataError(f"{folder}: {missing[0]} is missing, one of {len(missing)} tensors. Fetch it again.")
    return part


def read_config(path: Path) -> dict[str, Any]:
    """What a part's JSON file says.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        return dict(read_json(path))
    except (OSError, ValueError, EdgebenchError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Fetch the pre-trained model again.") from error
