"""The benchmark of backbones runs on a processor at small size, and what fails takes nothing else along."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def bench(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(root / "benchmarks"), *sys.path])
    return importlib.import_module("bench_trace_backbones")


def test_a_small_run(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "lines.jsonl"
    given = ["--map", "8", "--rounds", "1", "--levels", "2", "--device", "cpu", "--json", str(lines)]
    results = bench.main([*given, "--families", "pixart_alpha", "flux1"])
    assert [each["what"] for each in results] == ["mathematics", "pixart_alpha", "flux1"]
    assert not any("error" in each for each in results)
    assert [json.loads(line) for line in lines.read_text().splitlines()] == results
    assert "flux1" in capsys.readouterr().out


def test_memory_that_does_not_suffice_is_one_row(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = bench.random_backbone

    def scarce(family: str, *arguments: Any, **named: Any) -> Any:
        if family == "sd15":
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried much.")
        return ours(family, *arguments, **named)

    monkeypatch.setattr(bench, "random_backbone", scarce)
    given = ["--map", "8", "--rounds", "1", "--levels", "2", "--device", "cpu"]
    _, first, second = bench.main([*given, "--families", "sd15", "pixart_alpha"])
    assert first["error"] == "OutOfMemoryError: CUDA out of memory."
    assert second["stage1_s"] > 0
    _, late = bench.main([*given, "--seconds", "0", "--families", "sdxl"])
    assert late["error"] == "left out: 0 seconds are over"
