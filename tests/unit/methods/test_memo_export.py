"""The ONNX graphs answer as the network does, at sizes that were not exported."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from edgebench.errors import ConfigError, EdgebenchError
from edgebench.methods.memo import export
from edgebench.methods.memo.lora import add_lora
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import DinoConfig, NetworkConfig

torch.set_num_threads(1)
MICRO = {
    "default": NetworkConfig(4, (8, 16, 16, 24), 1, 4, DinoConfig(24, 1, 2, registers=4)),
    "tiny": NetworkConfig(4, (8, 16, 24), 2, 4, DinoConfig(24, 1, 2, registers=0)),
    "small": NetworkConfig(4, (8, 16), 1, 4),
}


def network(name: str) -> MemoNetwork:
    torch.manual_seed(0)
    made = MemoNetwork(MICRO[name]).eval()
    with torch.no_grad():  # positions that differ from one another, or their resampling would not show
        if made.dino is not None:
            made.dino.model.embeddings.position_embeddings.normal_()
    return made


@pytest.mark.parametrize("name", MICRO)
def test_graphs_answer_as_the_network(tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[onnx]'")
    made = network(name)
    if name == "tiny":
        add_lora(made, rank=2)
    description = export.export_onnx(made, tmp_path / "onnx")
    assert 0 < description["difference"] < export.TOLERANCE
    graphs = ["denoiser.onnx"] if name == "small" else ["denoiser.onnx", "features.onnx"]
    assert sorted(file.name for file in (tmp_path / "onnx").iterdir()) == [*graphs[:1], "export.json", *graphs[1:]]
    assert json.loads((tmp_path / "onnx" / "export.json").read_text()) == json.loads(json.dumps(description))
    assert description["graphs"] == graphs
    if made.dino is not None:  # the network is as it was
        torch.testing.assert_close(made.encode(torch.zeros(1, 3, 8, 8)), network(name).encode(torch.zeros(1, 3, 8, 8)))


def test_graphs_that_differ_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[onnx]'")
    monkeypatch.setattr(export, "TOLERANCE", 1e-12)
    with pytest.raises(EdgebenchError, match="differ from PyTorch"):
        export.export_onnx(network("small"), tmp_path)
    assert not (tmp_path / "export.json").exists()


def test_without_onnxruntime_the_graphs_are_written_unchecked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[onnx]'")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != "onnxruntime" or None)
    assert export.export_onnx(network("small"), tmp_path)["difference"] is None
    assert (tmp_path / "denoiser.onnx").stat().st_size > 1000


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EdgebenchError, match=r"pip install .\.\[onnx\]"):
        export.export_onnx(network("small"), tmp_path)


def test_a_size_of_ones_own_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    made = MemoNetwork(NetworkConfig(4, (8, 16), 1, 4, DinoConfig(24, 1, 2, 0, "adaptive")))
    with pytest.raises(ConfigError, match="adaptive"):
        export.export_onnx(made, tmp_path)
