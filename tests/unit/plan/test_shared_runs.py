"""Runs that several jobs share: how many, what each job asks for, and what cannot be shared."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgebench.errors import ConfigError
from edgebench.plan.runs import START_MINUTES, Run
from edgebench.plan.workbench import Workbench

HALF_A_DAY = 600
"""Minutes."""


def predictions(root: Path, **changes: Any) -> list[Run]:
    runs = Workbench(root, {"set": changes}).plan("demo").runs.values()
    return [run for run in runs if run.stage == "predict" and run.role == "predict"]


def test_shards_are_no_part_of_the_identity(root: Path) -> None:
    alone = predictions(root)
    several = predictions(root, **{"predict.resources": {"shards": 4}})
    assert {run.id for run in several} == {run.id for run in alone}
    assert {run.resources["shards"] for run in alone} == {1}
    assert max(run.resources["shards"] for run in several) == 4


def test_small_sets_are_shared_by_fewer_jobs(root: Path) -> None:
    limits: dict[str, Any] = {"predict.limit": 7, "predict.resources": {"shards": 4, "shard_images": 3}}
    assert {run.resources["shards"] for run in predictions(root, **limits)} == {2}
    limits["predict.resources"] = {"shards": 4, "shard_images": 8}
    assert {run.resources["shards"] for run in predictions(root, **limits)} == {1}


def test_each_job_asks_for_its_share_of_the_time_and_the_last_for_no_gpu(root: Path) -> None:
    asked: dict[str, Any] = {"shards": 4, "minutes": 100, "gpus": 1, "vram_gb": 12, "mem_gb": 16}
    run = predictions(root, **{"predict.resources": asked})[0]
    assert run.parts == ["1of4", "2of4", "3of4", "4of4"]
    part, last = run.job_resources(part=True), run.job_resources()
    assert part["minutes"] == last["minutes"] == START_MINUTES + 25
    assert (part["gpus"], part["vram_gb"], part["mem_gb"]) == (1, 12, 16)
    assert (last["gpus"], last["vram_gb"], last["mem_gb"]) == (0, 0, 16)
    whole = predictions(root, **{"predict.resources": asked | {"shards": 1}})[0]
    assert whole.parts == []
    assert whole.job_resources() == whole.resources


def test_a_training_cannot_be_shared(root: Path) -> None:
    bench = Workbench(root, {"set": {"finetune.resources": {"shards": 2}}})
    with pytest.raises(
        ConfigError, match=r"run 'finetune'.*resources\.shards is 2, but only runs of stage predict can be"
    ):
        bench.plan("demo").table("memo/main_bsds")


def test_what_is_only_copied_is_not_shared(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "config", tmp_path / "config")
    (tmp_path / "maps").mkdir()
    predict = (
        f"stage: predict, method: brought, dataset: bsds500, folder: {tmp_path / 'maps'}, resources: {{shards: 4}}"
    )
    (tmp_path / "config/recipes/mine.yaml").write_text(f"title: Mine\nruns: {{predict: {{{predict}}}}}\n")
    path = tmp_path / "config/experiments/memo/main_bsds.yaml"
    path.write_text(path.read_text().replace("\nrows:\n", "\nrows:\n  - {key: mine, label: Mine, recipe: mine}\n"))
    found = [run for run in predictions(tmp_path) if run.settings["method"] == "brought"]
    assert [run.resources["shards"] for run in found] == [1]


def test_at_the_papers_settings_whatever_takes_long_is_shared(root: Path) -> None:
    long = [
        run
        for run in Workbench(root).plan("paper").runs.values()
        if run.stage == "predict" and run.resources["minutes"] >= HALF_A_DAY
    ]
    assert len(long) > 10
    for run in long:
        assert run.dataset is not None
        images = run.dataset["images"][run.settings["split"]]
        assert (run.resources["shards"] > 1) == (images >= 2000), run.name
        assert run.job_resources(part=True)["minutes"] <= HALF_A_DAY or images < 2000, run.name
