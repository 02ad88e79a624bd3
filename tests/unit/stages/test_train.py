"""What a training run begins with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from edgebench.errors import EdgebenchError
from edgebench.methods.memo.presets import PRESETS, DinoConfig, NetworkConfig
from edgebench.stages import train
from edgebench.stages.spec import RunSpec

SMALL_DINO = NetworkConfig(8, (16, 32), 1, 8, DinoConfig(24, 2, 3, registers=0, size=(28, 28)))


def spec(tmp_path: Path) -> RunSpec:
    inputs = {"dataset": "unused", "dino_weights": str(tmp_path / "dino")}
    return RunSpec({"settings": {"preset": "tiny", "crop": 16}, "inputs": inputs, "folder": str(tmp_path)})


def test_the_image_encoder_begins_with_the_fetched_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", SMALL_DINO)
    monkeypatch.setattr(train, "open_input", lambda _: SimpleNamespace(ids=["a"]))
    with pytest.raises(EdgebenchError, match=r"needed first \(dino_weights\)"):
        train._memo(spec(tmp_path))
    sizes: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 518}
    published = Dinov2Model(Dinov2Config(**sizes, patch_size=14))
    published.save_pretrained(tmp_path / "dino")
    (tmp_path / "dino" / "run.json").write_text("{}")
    objective: Any = train._memo(spec(tmp_path))
    ours = objective.model.dino.model.embeddings.position_embeddings
    torch.testing.assert_close(ours, published.embeddings.position_embeddings)


def test_a_gpu_does_not_wait_for_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = train._loader_workers
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [workers(None, "auto", 12), workers(3, "auto", 12), workers(0, "cpu", 12)] == [0, 3, 0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [workers(None, "auto", 12), workers(None, "cuda", 1), workers(None, "cpu", 12)] == [11, 0, 0]
    assert workers(0, "cuda", 12) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert workers(None, "cuda", 12) == 5
