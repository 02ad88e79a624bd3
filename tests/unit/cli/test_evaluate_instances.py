from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from edgebench.cli.evaluate import app
from edgebench.errors import EdgebenchError
from edgebench.metrics.instances import INSTANCE_METRICS

pytest.importorskip("faster_coco_eval")


@pytest.fixture
def arguments(tmp_path):
    """Two images; both instances are found, one under the name of the other category, and one mask is false."""
    square = [[2, 2, 12, 2, 12, 12, 2, 12]]
    truth = {
        "images": [{"id": each, "height": 30, "width": 40} for each in (1, 2, 3)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": square, "area": 100, "iscrowd": 0},
            {"id": 2, "image_id": 2, "category_id": 2, "segmentation": square, "area": 100, "iscrowd": 0},
            {"id": 3, "image_id": 2, "category_id": 2, "segmentation": [[20, 0, 40, 0, 40, 30]], "iscrowd": 1},
        ],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    results = [
        {"image_id": 1, "category_id": 1, "segmentation": square, "score": 0.9},
        {"image_id": 2, "category_id": 1, "segmentation": square, "score": 0.8},
    ]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    return [
        "instances",
        "--predictions",
        f"{tmp_path / 'results.json'}",
        "--ground-truth",
        f"{tmp_path / 'truth.json'}",
    ]


def test_scores_are_written_and_shown(arguments, tmp_path):
    output = tmp_path / "out" / "scores.json"
    result = CliRunner().invoke(app, [*arguments, "--output", str(output)], catch_exceptions=False)
    assert result.exit_code == 0
    for word in (
        "ar100",
        "1.0000",
        "class-agnostic",
        "Instances: 2",
        "crowds, which count neither way: 1",
        "Images: 3 (without a prediction: 1)",
        "sizes by mask",
    ):
        assert word in result.stdout
    assert any(line.split()[-2:] == ["-", "│"] for line in result.stdout.splitlines() if "ap_large" in line)
    scores = json.loads(output.read_text())
    assert tuple(scores["dataset"]) == INSTANCE_METRICS
    assert scores["dataset"]["ap"] == pytest.approx(1)
    assert scores["dataset"]["ap_large"] is None
    counts = ("n_images", "n_instances", "n_crowds", "n_predictions", "n_images_without_predictions")
    assert [scores[name] for name in counts] == [3, 2, 1, 2, 1]
    assert (scores["class_agnostic"], scores["sizes_by"], scores["version"]) == (True, "mask", 1)
    assert scores["evaluator"].startswith("faster-coco-eval ")


def test_categories_count_only_when_asked_to(arguments, tmp_path):
    output = tmp_path / "scores.json"
    result = CliRunner().invoke(app, [*arguments, "--per-class", "--output", str(output)], catch_exceptions=False)
    assert "per class" in result.stdout
    scores = json.loads(output.read_text())
    assert scores["class_agnostic"] is False
    assert scores["dataset"]["ap"] == pytest.approx(0.5)


def test_an_empty_list_of_results_is_scored_and_remarked(arguments, tmp_path):
    (tmp_path / "results.json").write_text("[]")
    output = tmp_path / "scores.json"
    result = CliRunner().invoke(app, [*arguments, "--output", str(output)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "holds no mask" in result.stderr
    assert json.loads(output.read_text())["dataset"]["ap"] == 0


def says(arguments, output):
    result = CliRunner().invoke(app, [*arguments, "--output", str(output)])
    assert isinstance(result.exception, EdgebenchError)
    return str(result.exception)


def test_mistakes_are_for_people_and_nothing_is_written(arguments, tmp_path):
    results = json.loads((tmp_path / "results.json").read_text())
    del results[1]["score"]
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert "entry 1 (counted from 0), image 2: has no score" in says(arguments, tmp_path / "scores.json")
    assert not (tmp_path / "scores.json").exists()


def test_what_cannot_be_written_is_found_before_the_work(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr("edgebench.stages.evaluate_instances.evaluate_instances", lambda *_: pytest.fail("in vain"))
    assert "is a folder" in says(arguments, tmp_path)
    before = (tmp_path / "truth.json").read_bytes()
    assert "Give another name" in says(arguments, tmp_path / "truth.json")
    assert (tmp_path / "truth.json").read_bytes() == before


def test_help_teaches():
    text = CliRunner().invoke(app, ["instances", "--help"], env={"COLUMNS": "200"}).stdout
    for word in ("Example", "--per-class", "100 masks", "bbox", "polygons"):
        assert word in text
