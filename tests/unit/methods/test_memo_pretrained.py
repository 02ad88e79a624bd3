"""A published DINOv2 in its hub format becomes the encoder of a MEMO network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

from edgebench.errors import DataError
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import DinoConfig, NetworkConfig
from edgebench.methods.memo.pretrained import load_pretrained_dino


def saved(folder: Path, registers: int, hidden: int = 24) -> Dinov2Model | Dinov2WithRegistersModel:
    sizes: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 518,
        "patch_size": 14,
    }
    model: Dinov2Model | Dinov2WithRegistersModel
    if registers:
        model = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, num_register_tokens=registers))
    else:
        model = Dinov2Model(Dinov2Config(**sizes))
    model.save_pretrained(folder)
    return model.eval()


def network(registers: int) -> MemoNetwork:
    dino = DinoConfig(hidden=24, depth=2, heads=3, registers=registers, size=(28, 28))
    return MemoNetwork(NetworkConfig(8, (8, 16), 1, 8, dino)).eval()


@pytest.mark.parametrize("registers", [0, 4])
@torch.no_grad()
def test_same_features_as_transformers(tmp_path: Path, registers: int) -> None:
    torch.manual_seed(0)
    model = saved(tmp_path, registers)
    ours = network(registers)
    load_pretrained_dino(ours, tmp_path)
    assert ours.dino is not None
    # At the size that the positions were trained for, no model resamples them.
    image = torch.rand(1, 3, 518, 518)
    tokens = model(image).last_hidden_state
    torch.testing.assert_close(ours.dino.model(image).last_hidden_state, tokens, atol=1e-4, rtol=1e-4)


def test_another_size_is_named(tmp_path: Path) -> None:
    saved(tmp_path, 4, hidden=12)
    with pytest.raises(DataError, match="24"):
        load_pretrained_dino(network(4), tmp_path)


def test_a_model_without_registers_is_not_taken_for_one_with(tmp_path: Path) -> None:
    saved(tmp_path, 0)
    with pytest.raises(DataError, match=r"weights of another DINOv2: embeddings\.register_tokens is missing"):
        load_pretrained_dino(network(4), tmp_path)


def test_damaged_weights_say_what_to_type(tmp_path: Path) -> None:
    saved(tmp_path, 4)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"holds no DINOv2 weights.*edgebench fetch dinov2"):
        load_pretrained_dino(network(4), tmp_path)


def test_missing_weights_say_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="edgebench fetch dinov2_with_registers_base"):
        load_pretrained_dino(network(4), tmp_path / "nothing")
