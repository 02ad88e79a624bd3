"""A checkpoint in the authors' file layout, of their weights, gives their logits after conversion."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edgebench.methods.memo.released import convert_released, read_released
from edgebench.methods.memo.weights import load_network
from tests.parity.test_memo_network import assert_equal_logits, micro_config
from tests.unit.methods.deepspeed import write_deepspeed

torch.set_num_threads(1)


@pytest.mark.parametrize("adapted", [False, True])
def test_released_layout(shared: Path, tmp_path: Path, adapted: bool) -> None:
    folder = shared / "fixtures" / "memo"
    state = load_file(folder / "micro4_reg.weights.safetensors")
    expected = io = load_file(folder / "micro4_reg.io.safetensors")
    if adapted:
        adapters = load_file(folder / "micro4_reg.lora.safetensors")
        expected = load_file(folder / "micro4_reg.lora_io.safetensors")
        layers = {name.partition(".lora_")[0] for name in adapters}
        # An adapted layer keeps its own weights below `base_layer`.
        moved = {name: name.rpartition(".") for name in state}
        state = {
            f"{layer}.base_layer.{kind}" if layer in layers else name: state[name]
            for name, (layer, _, kind) in moved.items()
        }
        state |= adapters
    source = write_deepspeed(tmp_path / "mp_rank_00_model_states.pt", state)
    released = convert_released(
        source, tmp_path / "out.safetensors", configs={"micro": micro_config(folder, "micro4_reg")}
    )
    assert released.lora_rank == (8 if adapted else None)
    assert_equal_logits(load_network(tmp_path / "out.safetensors"), io, expected)


@pytest.mark.parametrize("kind", ["default", "tiny", "default_lora", "tiny_lora"])
def test_the_released_files_are_recognised_by_their_names(
    shared: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(shared / "specs" / "memo_state_dict.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["preset"] == kind]
    with torch.device("meta"):
        module = {
            f"ema_denoiser.module.{row['name']}": torch.empty(tuple(map(int, row["shape"].split("x")))) for row in rows
        }
    content = {"module": {**module, "ema_denoiser.n_averaged": torch.tensor(3)}}
    monkeypatch.setattr("edgebench.methods.memo.released._load", lambda _: content)
    released = read_released("mp_rank_00_model_states.pt", device="meta")
    assert released.preset == kind.removesuffix("_lora")
    assert released.lora_rank == (8 if kind.endswith("_lora") else None)
