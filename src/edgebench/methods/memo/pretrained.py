"""The pre-trained DINOv2 that a MEMO network starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Dinov2Model, Dinov2WithRegistersModel

from edgebench.errors import DataError
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.weight_files import load_strictly


def load_pretrained_dino(network: MemoNetwork, folder: str | Path) -> None:
    """Fill the image encoder with the weights that the DINOv2 authors published.

    Args:
        network: A MEMO network with DINOv2.
        folder: `config.json` and `model.safetensors` of the encoder in the format of transformers.

    Raises:
        DataError: the folder holds no such weights, or those of another DINOv2.
    """
    assert network.dino is not None
    assert network.config.dino is not None
    size = network.config.dino
    family: Any = Dinov2WithRegistersModel if size.registers else Dinov2Model
    again = "Fetch them again: `edgebench fetch dinov2_with_registers_base` or `edgebench fetch dinov2_small`."
    try:
        if not Path(folder, "config.json").is_file():
            raise OSError("there is no config.json")
        model, report = family.from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{folder}: holds no DINOv2 weights ({reason}). {again}") from error
    if report["missing_keys"]:
        raise DataError(f"{folder}: weights of another DINOv2: {min(report['missing_keys'])} is missing. {again}")
    state = model.state_dict()
    # The authors' attention has one projection for query, key and value; transformers splits it.
    for layer in range(size.depth):
        prefix = f"encoder.layer.{layer}.attention"
        for kind in ("weight", "bias"):
            parts = [state.pop(f"{prefix}.{part}_proj.{kind}", None) for part in "qkv"]
            if all(part is not None for part in parts):
                state[f"{prefix}.qkv.{kind}"] = torch.cat(parts)
                state[f"{prefix}.proj.{kind}"] = state.pop(f"{prefix}.o_proj.{kind}")
    load_strictly(network.dino.model, state, folder)
