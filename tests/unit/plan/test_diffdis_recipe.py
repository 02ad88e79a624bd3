"""The recipe of DiffDIS: the authors' schedule, what a scale leaves out, released weights, and clear mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgebench.errors import ConfigError
from edgebench.plan.methods.diffdis import DiffdisTrain
from edgebench.plan.runs import Run
from edgebench.plan.workbench import Workbench
from tests.unit.diffdis_repository import TABLE, make_repository

ROWS: list[dict[str, Any]] = [
    {"key": "diffdis", "label": "DiffDIS"},
    {"key": "scratch", "label": "from random weights", "set": {"train.backbone": None}},
    {"key": "sd21", "label": "from SD 2.1", "set": {"train.backbone": "sd21_base"}},
]


def trainings(repository: Path, scale: str, **config: Any) -> dict[str, Run]:
    rows = Workbench(repository, config).find_table(scale, TABLE).rows
    return {row.key: row.runs[0].predict.inputs["weights"] for row in rows}


@pytest.fixture
def repository(tmp_path: Path, root: Path) -> Path:
    return make_repository(tmp_path, root, ROWS)


def test_the_papers_scale_is_the_authors_training(repository: Path) -> None:
    run = trainings(repository, "paper")["diffdis"]
    stated = {
        "preset": "full",
        "steps": 90 * (3000 // 4),
        "epochs": 90,
        "batch": 4,
        "accumulate": 1,
        "learning_rate": 3e-5,
        "weight_decay": 0.0,
        "gradient_clip": None,
        "schedule": "compounding_decay",
        "warmup_steps": 0,
        "size": 1024,
        "margin": 30,
        "noise": "pyramid",
        "times": "last",
        "signal": True,
        "picture_range": "stretch",
    }
    assert {key: run.settings[key] for key in stated} == stated
    assert {name: each.words for name, each in run.inputs.items() if each.stage == "fetch"} == {
        "dataset": ("dis5k",),
        "backbone": ("sd_turbo",),
        "vae": ("sd_turbo",),
    }
    edges = run.inputs["edge_targets"]
    assert (edges.role, edges.settings["method"], edges.settings["split"]) == ("contours", "mask_contours", "train")
    assert "sd_turbo" in run.label


def test_a_backbone_may_be_another_or_none(repository: Path) -> None:
    runs = trainings(repository, "paper")
    assert len({run.id for run in runs.values()}) == 3
    assert "backbone" not in runs["scratch"].inputs
    assert runs["scratch"].inputs["vae"].words == ("sd_turbo",)
    assert runs["sd21"].inputs["backbone"].words == ("sd21_base",)
    assert runs["sd21"].inputs["vae"].words == ("sd_turbo",)


def test_what_a_scale_leaves_out_is_null_and_told(repository: Path) -> None:
    runs = trainings(repository, "tiny")
    assert len({run.id for run in runs.values()}) == 1
    assert runs["diffdis"].inputs.keys() == {"dataset", "edge_targets"}
    table = Workbench(repository).find_table("tiny", TABLE)
    (note,) = [each for each in table.spec()["notes"] if "Left out" in each]
    assert "sd21_base, sd_turbo." in note
    paper = Workbench(repository).find_table("paper", TABLE)
    assert not [each for each in paper.spec()["notes"] if "Left out" in each]


def test_the_command_line_brings_a_checkpoint_back(repository: Path) -> None:
    run = trainings(repository, "tiny", set={"train.backbone": "sd_turbo"})["diffdis"]
    assert "backbone" in run.inputs
    assert "vae" not in run.inputs


def test_a_scale_can_only_leave_out_what_there_is(tmp_path: Path, root: Path) -> None:
    repository = make_repository(tmp_path, root, ROWS, without_checkpoints=["sd_tubro"])
    with pytest.raises(ConfigError, match=r"without_checkpoints is 'sd_tubro'.*sd_turbo"):
        Workbench(repository).plan("tiny")


def test_released_weights_take_the_place_of_training(repository: Path) -> None:
    rows = Workbench(repository, {"checkpoints": "pull"}).find_table("paper", TABLE).rows
    weights = {row.key: row.runs[0].predict.inputs["weights"] for row in rows}
    released = weights["diffdis"]
    assert released.settings == {"method": "diffdis_released", "preset": "full"}
    assert [run.words for run in released.upstream()] == [("diffdis_released",)]
    assert weights["scratch"].settings["method"] == "diffdis"  # a changed run is not what the authors released
    notes = Workbench(repository, {"checkpoints": "pull"}).find_table("paper", TABLE).spec()["notes"]
    assert any("diffdis_released" in each and "DiffDIS" in each for each in notes)
    # Beside a smaller network trained here no claim could be checked.
    tiny = Workbench(repository, {"checkpoints": "pull"}).find_table("tiny", TABLE).spec()["notes"]
    assert any("different sizes" in each for each in tiny)


def test_a_mask_alone_needs_no_edges(tmp_path: Path, root: Path) -> None:
    single = {"train.edge": False, "train.stream_embedding": False, "train.interaction": "none"}
    rows = [
        {"key": "single", "label": "", "set": single},
        {"key": "drawn", "label": "", "set": {**single, "train.edge_targets": None}},
    ]
    runs = trainings(make_repository(tmp_path, root, rows), "paper")
    assert runs["single"].id == runs["drawn"].id
    assert "edge_targets" not in runs["single"].inputs


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"contours.split": "vd"}, "trains on dis5k/train, but its edge targets come from dis5k/vd"),
        ({"contours.method": "mask_skeletons"}, "only a run of method 'mask_contours' makes edge targets"),
    ],
)
def test_edges_must_be_those_of_the_pictures(tmp_path: Path, root: Path, changes: dict[str, Any], match: str) -> None:
    repository = make_repository(tmp_path, root, [{"key": "a", "label": "", "set": changes}])
    with pytest.raises(ConfigError, match=match):
        Workbench(repository).plan("paper")


def test_settings_that_mean_nothing_make_no_other_run() -> None:
    common: dict[str, Any] = {"stage": "train", "method": "diffdis", "dataset": "d", "steps": 9, "learning_rate": 1.0}
    assert DiffdisTrain(**common).idle() == {"epochs"}
    assert DiffdisTrain(**common, schedule="nominal_decay", backbone="sd_turbo").idle() == {"prediction"}
    for key, instead in (("start", "backbone"), ("labels", "edge_targets")):
        with pytest.raises(ValidationError, match=f"takes no {key}: it has {instead}"):
            DiffdisTrain(**{**common, key: "other"})
