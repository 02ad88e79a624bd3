"""Columns that come from the records of runs behind the scored one, and how the columns of objects are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgebench.plan.experiments import COLUMNS_OF, RECORD_COLUMNS
from edgebench.plan.runs import Run
from edgebench.plan.tables import SeedRuns
from edgebench.report.collect import Evaluation, SeedRun
from edgebench.report.columns import column_title, number


def run(role: str, method: str, stage: str = "predict", **inputs: Run) -> Run:
    data = {"name": "scenes", "layout": "coco", "images": {"test": 5}}
    settings = {"method": method, "dataset": "scenes", "split": "test", "limit": None}
    fetch = Run("fetch", "data", 1, "", None, {"dataset": "scenes"}, {}, ("scenes",))
    return Run(stage, role, 1, "demo", 0, settings, {"dataset": fetch, **inputs}, (method,), dataset=data)


def test_a_refined_run_names_its_edges_and_the_labels_behind_them() -> None:
    pseudo = run("pseudo", "trace_attention", pretrained=run("pretrain", "trace_backbone", "train"))
    edges = run("edges", "trace", weights=run("distill", "trace", "train", labels=pseudo))
    refined = run("refine", "trace_refine", edges=edges, masks=run("masks", "felzenszwalb_masks"))
    assert SeedRuns(0, refined, {}).spec()["behind"] == {"edges": edges.folder, "labels": pseudo.folder}
    assert SeedRuns(0, edges, {}).spec()["behind"] == {"labels": pseudo.folder}
    assert SeedRuns(0, pseudo, {}).spec()["behind"] == {"labels": pseudo.folder}
    assert "behind" not in SeedRuns(0, run("predict", "sobel"), {}).spec()


def test_of_several_stages_1_the_nearest_counts() -> None:
    far, near = run("pseudo", "trace_attention"), run("again", "trace_attention")
    edges = run("edges", "trace", weights=run("distill", "trace", "train", labels=far))
    refined = run("refine", "trace_refine", edges=edges, masks=near)
    assert SeedRuns(0, refined, {}).spec()["behind"]["labels"] == near.folder


def seed_run(record: dict[str, Any], **behind: dict[str, Any]) -> SeedRun:
    return SeedRun(0, Path("predict"), record, None, {}, behind=behind)


def test_times_and_labels_come_from_the_runs_that_had_them() -> None:
    labels = {
        "seconds_per_image": 3.682,
        "edge": 0.12,
        "interior": 0.3,
        "unknown": 0.58,
        "guarded": 4,
        "kept": {"299": 1, "399": 3},
    }
    row = seed_run({"seconds_per_image": 0.9}, edges={"seconds_per_image": 0.045}, labels=labels)
    found = {column: row.value(column) for column in RECORD_COLUMNS}
    assert found == {
        "seconds_per_image": 0.9,
        "added_params_percent": None,
        "edges_seconds_per_image": 0.045,
        "labels_seconds_per_image": 3.682,
        "edge_share": 0.12,
        "interior_share": 0.3,
        "unknown_share": 0.58,
        "guarded": 4,
        "kept_tau": 374,
    }


def test_without_such_runs_there_is_no_number() -> None:
    row = seed_run({"seconds_per_image": None})
    assert {row.value(column) for column in RECORD_COLUMNS} == {None}
    # A backbone without time keeps no step.
    assert seed_run({}, labels={"kept": {}, "guarded": 0}).value("kept_tau") is None


def test_a_protocol_that_passes_images_over_covers_them_all_the_same() -> None:
    scores = {"images": {"scored": 3, "of": 10}, "ap": {"value": 0.5}}
    some = Evaluation("a", Path("a"), "1", 1, {}, {"adjacent_ap": 0.5}, scores, 3)
    every = Evaluation("b", Path("b"), "2", 1, {}, {"ap": 0.5}, {}, 10)
    row = SeedRun(0, Path("predict"), {"id": "0", "n_images": 10}, None, {"a": some, "b": every})
    assert (row.n_images("adjacent_ap"), row.covers("adjacent_ap")) == (3, 10)
    assert (row.n_images("ap"), row.covers("ap")) == (10, 10)


@pytest.mark.parametrize(
    ("column", "title"),
    [
        ("ap", "AP"),
        ("ap50", "AP50"),
        ("ap_small", "AP small"),
        ("ar100", "AR100"),
        ("class_ap75", "Per-class AP75"),
        ("adjacent_ar100", "Adjacent AR100"),
        ("apart_ap", "Apart AP"),
        ("pq", "PQ"),
        ("sq_things", "SQ things"),
        ("edge_ods", "Edge ODS"),
        ("edge_cldice", "Edge clDice"),
        ("edge_cldice_plain", "Edge clDice plain"),
        ("outline_ois", "Outline OIS"),
        ("edges_seconds_per_image", "Seconds per image of the edges"),
        ("kept_tau", "Mean kept step"),
        ("seval_ap", "SEval AP"),
        ("edge_mae", "Edge MAE"),
    ],
)
def test_columns_have_readable_titles(column: str, title: str) -> None:
    assert column_title(column) == title


def test_every_column_has_a_title_of_its_own() -> None:
    columns = [each for names in (*COLUMNS_OF.values(), RECORD_COLUMNS) for each in names if each]
    assert len({column_title(each) for each in columns}) == len(set(columns))
    assert not any("_" in column_title(each) for each in columns)


def test_numbers_of_records() -> None:
    assert number(374.2, "kept_tau") == "374"
    assert number(4, "guarded") == "4"
    assert number(0.04512, "edges_seconds_per_image") == "0.0451"
    assert number(0.1234, "edge_share") == "0.123"
