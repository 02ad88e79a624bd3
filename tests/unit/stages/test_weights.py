"""Weights by the names that people use."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from edgebench.errors import ConfigError, DataError
from edgebench.plan.workbench import Workbench
from edgebench.stages.weights import find_weights


@pytest.fixture
def bench(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    shutil.copytree(root / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    return Workbench(Path("."))


def finish(folder: str | Path) -> Path:
    weights = Path(folder) / "weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    (weights.parent / "run.json").touch()
    return weights


def test_a_file_and_a_folder(bench: Workbench, tmp_path: Path) -> None:
    weights = finish(tmp_path / "run")
    assert find_weights(bench, str(weights), "memo") == weights
    assert find_weights(bench, str(tmp_path / "run"), "memo") == weights


def test_a_released_checkpoint(bench: Workbench) -> None:
    with pytest.raises(DataError, match=r"not here yet.*`edgebench fetch memo_bsds_early`"):
        find_weights(bench, "memo_bsds_early", "memo")
    weights = finish(bench.released_run("memo_bsds_early").folder)
    assert find_weights(bench, "memo_bsds_early", "memo") == weights


def test_a_scale(bench: Workbench) -> None:
    with pytest.raises(DataError, match=r"not here yet.*`snakemake --cores all (\S+)`") as caught:
        find_weights(bench, "demo", "memo")
    record = re.search(r"`snakemake --cores all (\S+)`", str(caught.value))
    assert record is not None
    assert bench.find_run(Path(record[1]).parent.name).role == "finetune"
    weights = finish(Path(record[1]).parent)
    assert find_weights(bench, "demo", "memo") == weights


def test_an_unfinished_run_is_not_taken(bench: Workbench) -> None:
    weights = finish(bench.released_run("memo_bsds_late").folder)
    (weights.parent / "run.json").unlink()
    with pytest.raises(DataError, match="not here yet"):
        find_weights(bench, "memo_bsds_late", "memo")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("memo_bsds_erly", "Did you mean 'memo_bsds_early'?"),
        ("dinov2_small", "holds no trained method"),
        ("nothing.safetensors", "no such weight file"),
        (".", "holds no weights.safetensors"),
    ],
)
def test_mistakes(bench: Workbench, name: str, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=re.escape(message)):
        find_weights(bench, name, "memo")
