"""Weights by the names that people use."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgebench.errors import ConfigError, DataError
from edgebench.plan.workbench import Workbench
from edgebench.stages.weights import SHOWN_BY, find_weights, trained_weights, weights_at


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


def test_a_file_and_a_folder(tmp_path: Path) -> None:
    weights = finish(tmp_path / "run")
    assert weights_at(weights) == weights_at(str(tmp_path / "run")) == weights
    assert weights_at("demo") is None


@pytest.mark.parametrize(
    ("name", "message"), [("nothing.safetensors", "no such weight file"), (".", "holds no weights.safetensors")]
)
def test_mistaken_paths(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        weights_at(tmp_path / name)


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


def test_a_scale_is_the_row_of_the_method(bench: Workbench) -> None:
    with pytest.raises(DataError, match=r"not here yet.*`snakemake --cores all (\S+)`") as caught:
        find_weights(bench, "demo", "diffdis")
    record = re.search(r"`snakemake --cores all (\S+)`", str(caught.value))
    assert record is not None
    run = bench.find_run(Path(record[1]).parent.name)
    assert (run.role, run.settings["method"]) == ("train", "diffdis")
    weights = finish(Path(record[1]).parent)
    assert find_weights(bench, "demo", "diffdis") == weights


def test_a_scale_without_the_row(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHOWN_BY, "diffdis", ("diffdis/main_dis5k", "vd/gone"))
    with pytest.raises(ConfigError, match="demo: its table diffdis/main_dis5k has no row vd/gone"):
        find_weights(bench, "demo", "diffdis")


def test_weights_of_another_method_are_refused(bench: Workbench) -> None:
    finish(bench.released_run("memo_bsds_late").folder)
    with pytest.raises(ConfigError, match=r"not weights of diffdis, which takes diffdis_released, demo, .* or a file"):
        find_weights(bench, "memo_bsds_late", "diffdis")
    with pytest.raises(ConfigError, match="not weights of memo, which takes memo_biped_late, "):
        find_weights(bench, "diffdis_released", "memo")


def test_weights_that_lie_there_by_method(tmp_path: Path) -> None:
    place = tmp_path / "results" / "runs" / "train"
    for name, method in (("a", "memo"), ("b", "diffdis"), ("c", "diffdis"), ("d", None)):
        (place / name).mkdir(parents=True)
        metadata = {"method": method} if method else None
        save_file({"x": torch.zeros(1)}, place / name / "weights.safetensors", metadata=metadata)
        os.utime(place / name / "weights.safetensors", (ord(name), ord(name)))
    (place / "damaged").mkdir()
    (place / "damaged" / "weights.safetensors").write_bytes(b"cut off")
    found = trained_weights(tmp_path)
    assert found == {
        "memo": {"train: a": place / "a" / "weights.safetensors"},
        "diffdis": {f"train: {name}": place / name / "weights.safetensors" for name in "cb"},
    }
    assert list(found["diffdis"]) == ["train: c", "train: b"]


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
    ],
)
def test_mistakes(bench: Workbench, name: str, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=re.escape(message)):
        find_weights(bench, name, "memo")
