from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgebench.errors import DataError
from edgebench.report.collect import read_spec
from edgebench.report.columns import column_title, number
from edgebench.report.tables import build_table, verdict
from edgebench.report.words import facts, warning

MakeTable = Callable[..., Path]


def test_values_spread_and_interval(make_table: MakeTable, tmp_path: Path) -> None:
    table = build_table(make_table(seeds=(0, 1, 2)), tmp_path)
    cell = table.cells["locmax,10", "ac"]
    each = [np.load(tmp_path / f"results/runs/crispness/locmax10-s{s}/per_image.npz")["ac"] for s in (0, 1, 2)]
    assert cell.value == pytest.approx(np.mean(each))
    assert cell.spread == pytest.approx(np.std([values.mean() for values in each], ddof=1))
    assert cell.value is not None
    assert cell.low is not None
    assert cell.high is not None
    # Averaging the seeds image by image first gives the same bootstrap distribution of a mean.
    half = 1.96 * np.mean(each, axis=0).std() / np.sqrt(30)
    assert cell.high - cell.low == pytest.approx(2 * half, rel=0.15)
    assert cell.low < cell.value < cell.high
    assert cell.n_images == 30
    assert cell.seeds == (0, 1, 2)
    assert cell.difference == pytest.approx(cell.value - 0.663)
    assert cell.run_ids[:2] == ("predict-locmax10-0", "ac-locmax10-0")


def test_one_seed_has_no_spread_and_times_no_interval(make_table: MakeTable, tmp_path: Path) -> None:
    table = build_table(make_table(), tmp_path)
    assert table.cells["topk,10", "ac"].spread is None
    assert table.cells["topk,10", "seconds_per_image"].value == 0.12
    assert table.cells["topk,10", "seconds_per_image"].low is None


def test_printed_rows_have_nothing_but_the_printed_number(make_table: MakeTable, tmp_path: Path) -> None:
    cell = build_table(make_table(scale="paper"), tmp_path).cells["DiffEdge", "ac"]
    assert (cell.value, cell.published, cell.verdict, cell.run_ids) == (None, 0.476, "", ())


@pytest.mark.parametrize(
    ("value", "spread", "published", "expected"),
    [
        (0.659, None, 0.654, "match"),
        (0.6591, None, 0.654, "differs"),
        (0.649, None, 0.654, "match"),
        (0.670, 0.009, 0.654, "match"),
        (0.670, 0.007, 0.654, "differs"),
        (84.3, None, 83.95, "match"),
        (84.5, None, 83.95, "differs"),
        (0.654, None, None, ""),
    ],
)
def test_verdict(
    make_table: MakeTable, value: float, spread: float | None, published: float | None, expected: str
) -> None:
    spec = read_spec(make_table(scale="paper"))
    assert verdict(value, spread, published, "ac", spec, complete=True) == expected
    if published is not None:
        assert verdict(value, spread, published, "ac", spec, complete=False) == "incomplete"
        overridden = replace(spec, overrides={"finetune.steps": 10})
        assert verdict(value, spread, published, "ac", overridden, complete=True) == "incomplete"
    assert verdict(value, spread, published, "seconds_per_image", spec, complete=True) == ""
    for other in (replace(spec, scale="mini"), replace(spec, stand_ins={"bsds500": "scenes"})):
        assert verdict(value, spread, published, "ac", other, complete=True) == ""


def test_incomplete_when_images_or_seeds_are_missing(make_table: MakeTable, tmp_path: Path) -> None:
    def verdicts(**changes: object) -> set[str]:
        table = build_table(make_table(scale="paper", **changes), tmp_path)
        return {table.cells["locmax,10", column].verdict for column in ("seval_ods", "ceval_ods", "ac")}

    assert "incomplete" not in verdicts()
    spec = make_table(scale="paper")
    content = json.loads(spec.read_text())
    spec.write_text(json.dumps(content | {"seeds": [0, 1]}))
    assert build_table(spec, tmp_path).cells["locmax,10", "ac"].verdict == "incomplete"
    content["rows"][0]["runs"][0]["dataset"] = {"folder": "data", "images": 200, "limit": None}
    spec.write_text(json.dumps(content))
    table = build_table(spec, tmp_path)
    assert table.cells["locmax,10", "ac"].verdict == "incomplete"
    assert table.cells["topk,10", "ac"].verdict == "differs"
    content["rows"][0]["runs"][0]["dataset"] = {"folder": "data", "images": 200, "limit": 30}
    spec.write_text(json.dumps(content))
    assert build_table(spec, tmp_path).cells["locmax,10", "ac"].verdict == "differs"


def test_a_reproduced_row_without_a_printed_column_is_incomplete(make_table: MakeTable, tmp_path: Path) -> None:
    table = build_table(make_table(scale="paper", columns=["ac", "fid"], claims=[]), tmp_path)
    assert table.cells["locmax,10", "fid"].verdict == ""
    spec = make_table(scale="paper", columns=["ac", "fid"], claims=[])
    content = json.loads(spec.read_text())
    content["rows"][0]["published"]["fid"] = 83.95
    spec.write_text(json.dumps(content))
    assert build_table(spec, tmp_path).cells["locmax,10", "fid"].verdict == "incomplete"


def test_counts_of_other_images_than_scored_are_refused(make_table: MakeTable, tmp_path: Path) -> None:
    spec = make_table()
    path = tmp_path / "results/runs/crispness/topk10-s0/per_image.npz"
    np.savez(path, ids=np.array(["a"]), ac=np.array([0.5]))
    with pytest.raises(DataError, match="30 images, the per-image numbers of 1"):
        build_table(spec, tmp_path)
    path.write_bytes(b"not an archive")
    with pytest.raises(DataError, match="topk10-s0: the per-image numbers of this run cannot be read"):
        build_table(spec, tmp_path)


def test_machines_and_remarks_of_scores_are_stated(make_table: MakeTable, tmp_path: Path) -> None:
    spec = make_table()
    for name, machine in (("locmax10", {"gpu": "H200", "cpu": "x"}), ("topk10", {"gpu": None, "cpu": "Xeon"})):
        path = tmp_path / f"results/runs/predict/{name}-s0/run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "machine": machine}))
    for path in tmp_path.glob("results/runs/crispness/*/scores.json"):
        scores = {"fid": {"value": 1.0, "note": "few images"}, "lpips": {"value": 0.5}}
        path.write_text(json.dumps({**json.loads(path.read_text()), "scores": scores}))
    stated = facts(build_table(spec, tmp_path))
    assert ("Machine", "H200; Xeon, no GPU") in stated
    assert ("Protocol", "crispness: Average crispness; few images; version 2") in stated


def test_facts_state_what_the_numbers_rest_on(make_table: MakeTable, tmp_path: Path) -> None:
    table = build_table(make_table(seeds=(0, 1), overrides={"predict.steps": 5}), tmp_path)
    stated = facts(table)
    assert ("Scale", "demo (drawn scenes, small network)") in stated
    assert ("Data", "scenes stands in for bsds500") in stated
    assert ("Images", "30") in stated
    assert ("Seeds", "0, 1") in stated
    assert ("Overrides", "predict.steps = 5") in stated
    assert ("Note", "Guidance is 2.") in stated
    assert any(name == "Protocol" and "nms none; thin yes; max_distance 0.0075" in text for name, text in stated)
    assert "Verdict" not in dict(stated)
    assert "Verdict" in dict(facts(build_table(make_table(scale="paper"), tmp_path)))


def test_only_the_papers_scale_goes_without_the_warning(make_table: MakeTable) -> None:
    assert "not comparable" in warning(read_spec(make_table(scale="mini")))
    assert warning(read_spec(make_table(scale="paper"))) == ""


def test_titles_and_numbers() -> None:
    assert [column_title(each) for each in ("seval_ods", "ac", "max_f", "seconds_per_image")] == [
        "SEval ODS",
        "AC",
        "Max F",
        "Seconds per image",
    ]
    assert [number(0.8541), number(None), number(0.01234, "seconds_per_image")] == ["0.854", "–", "0.0123"]
