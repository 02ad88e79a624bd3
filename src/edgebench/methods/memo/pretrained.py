"""The pre-trained DINOv2 that a MEMO network starts from."""

from __future__ import annotations

import torch
from transformers import Dinov2Model, Dinov2WithRegistersModel

from edgebench.errors import DataError
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.weights import load_strictly

# By width of a token and register tokens: the encoders of the published presets.
HUB_NAMES = {(768, 4): "facebook/dinov2-with-registers-base", (384, 0): "facebook/dinov2-small"}


def load_pretrained_dino(network: MemoNetwork, source: str | None = None) -> None:
    """Fill the image encoder with the weights that the DINOv2 authors published on the Hugging Face hub.

    Args:
        network: A MEMO network with DINOv2.
        source: Hub name or local folder; by default the one that belongs to the encoder's size.

    Raises:
        DataError: the weights can neither be downloaded nor found in the hub's local cache, or they are those
            of a DINOv2 of another size.
    """
    assert network.dino is not None
    assert network.config.dino is not None
    size = network.config.dino
    name = source or HUB_NAMES.get((size.hidden, size.registers))
    if name is None:
        raise DataError(f"DINOv2 with {size.hidden} channels and {size.registers} registers: no published weights.")
    family = Dinov2WithRegistersModel if size.registers else Dinov2Model
    try:
        state = family.from_pretrained(name, use_safetensors=True).state_dict()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name}: the DINOv2 weights cannot be obtained ({str(error).splitlines()[0]}). On a machine with internet "
            f"type `hf download {name}`, and copy the hub's cache (HF_HOME) here."
        ) from error
    # The authors' attention has one projection for query, key and value; transformers splits it.
    for layer in range(size.depth):
        prefix = f"encoder.layer.{layer}.attention"
        for kind in ("weight", "bias"):
            parts = [state.pop(f"{prefix}.{part}_proj.{kind}", None) for part in "qkv"]
            if all(part is not None for part in parts):
                state[f"{prefix}.qkv.{kind}"] = torch.cat(parts)
                state[f"{prefix}.proj.{kind}"] = state.pop(f"{prefix}.o_proj.{kind}")
    load_strictly(network.dino.model, state, name)
