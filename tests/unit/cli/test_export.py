"""`edgebench export`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from edgebench.cli.app import app
from edgebench.errors import EdgebenchError
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import NetworkConfig
from edgebench.methods.memo.weights import weight_metadata

torch.set_num_threads(1)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = MemoNetwork(NetworkConfig(4, (8, 16), 1, 4))
    path = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path, metadata=weight_metadata(network.config))
    return path


def test_graphs_are_written_and_compared(weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[onnx]'")
    done = CliRunner().invoke(app, ["export", "memo", "--weights", str(weights), "-o", str(tmp_path / "onnx")])
    assert done.exit_code == 0, done.output
    assert "denoiser.onnx, opset 17; they differ from PyTorch by" in done.output
    assert sorted(file.name for file in (tmp_path / "onnx").iterdir()) == ["denoiser.onnx", "export.json"]


def test_a_missing_package_is_named(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["export", "memo", "--weights", str(weights), "-o", str(tmp_path / "onnx")])
    assert isinstance(done.exception, EdgebenchError)
    assert ".[onnx]" in str(done.exception)
    assert not (tmp_path / "onnx").exists()
