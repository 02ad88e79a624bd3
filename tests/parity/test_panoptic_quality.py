"""Agreement with panopticapi on its own sample of COCO."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from edgebench.data.adapters import open_dataset
from edgebench.data.panoptic import Segmentation, read_ids, read_panoptic, read_segments, write_segmentation
from edgebench.files import read_json, write_json
from edgebench.metrics.panoptic import resampled_quality
from edgebench.stages.evaluate_panoptic import evaluate_panoptic
from edgebench.stages.run import carry_out

PREDICTIONS = ["A_perfect", "B_class", "C_shift"]


@pytest.fixture(scope="module")
def fixture(shared):
    return shared / "fixtures" / "metrics" / "panoptic"


@pytest.fixture(scope="module")
def sample(shared):
    return shared / "data" / "coco_panoptic_sample" / "sample_data"


@pytest.mark.parametrize("name", PREDICTIONS)
def test_agrees_with_panopticapi(fixture, sample, name):
    expected = json.loads((fixture / "pq_reference.json").read_text())[name]
    evaluation = evaluate_panoptic(
        fixture / f"pred_{name}.json", fixture / f"pred_{name}", fixture / "gt_used.json", sample / "panoptic_examples"
    )
    scores = evaluation.scores()
    for group in ("All", "Things", "Stuff"):
        assert scores[group.lower()] == pytest.approx(expected[group], rel=0, abs=1e-9)
    assert scores["per_class"].keys() == expected["per_class_nonzero"].keys()
    for key, quality in expected["per_class_nonzero"].items():
        found = {letter: scores["per_class"][key][letter] for letter in quality}
        assert found == pytest.approx(quality, rel=0, abs=1e-9), key
    for key, counts in expected["stat"].items():
        if any(counts.values()):
            found = {letter: scores["per_class"][key][letter] for letter in counts}
            assert found == pytest.approx(counts, rel=0, abs=1e-9), key


@pytest.mark.parametrize("name", PREDICTIONS)
def test_a_run_agrees_with_panopticapi(shared, fixture, sample, tmp_path, name):
    """As above, from the files that a predict run keeps, and again from the counts that the evaluation keeps."""
    expected = json.loads((fixture / "pq_reference.json").read_text())[name]
    dataset = open_dataset("coco_panoptic_sample", shared / "data" / "coco_panoptic_sample", "val")
    predicted = read_panoptic(fixture / f"pred_{name}.json", fixture / f"pred_{name}", dataset.categories)
    for image_id in dataset.ids:
        image = predicted.images[str(int(image_id))]
        record = tmp_path / "predict" / "panoptic" / f"{image_id}.json"
        write_segmentation(record, Segmentation(read_segments(image), image.segments))
    for folder in (tmp_path / "predict", tmp_path / "fetched"):
        write_json(folder / "run.json", {})
    for each in ("sample_data", "panoptic_coco_categories.json"):
        (tmp_path / "fetched" / each).symlink_to(shared / "data" / "coco_panoptic_sample" / each)
    protocol = {"name": "panoptic", "title": "PQ", "method": "panoptic", "columns": ""}
    spec = {
        **{"id": "1", "label": "test", "version": 1, "scale": "paper", "seed": None, "resources": {}},
        "stage": "evaluate",
        "role": "evaluate",
        "folder": str(tmp_path / "evaluate"),
        "settings": {"method": "panoptic", "dataset": "coco_panoptic_sample", "split": "val", "limit": None},
        "inputs": {"dataset": str(tmp_path / "fetched"), "predictions": str(tmp_path / "predict")},
        "dataset": {"name": "coco_panoptic_sample", "layout": "coco_panoptic_sample"},
        "protocol": protocol,
    }
    write_json(tmp_path / "plan.json", spec)
    folder = carry_out(tmp_path / "plan.json")
    columns = read_json(folder / "scores.json")["columns"]
    close = partial(pytest.approx, rel=0, abs=1e-9)
    with np.load(folder / "counts.npz") as file:
        counts = {key: file[key] for key in ("iou", "tp", "fp", "fn")}
        again = resampled_quality(counts, file["things"], np.ones((1, len(dataset.ids))))
    for group, suffix in (("All", ""), ("Things", "_things"), ("Stuff", "_stuff")):
        for quality in ("pq", "sq", "rq"):
            assert columns[f"{quality}{suffix}"] == close(expected[group][quality])
            assert again[f"{quality}{suffix}"][0] == close(expected[group][quality])


def test_reads_the_sample(sample):
    """Of 50 segments 3 are crowds; areas and ids agree with the colours, which reading checks."""
    found = read_panoptic(sample / "panoptic_examples.json", sample / "panoptic_examples")
    assert len(found.categories) == 133
    segments = [each for image in found.images.values() for each in image.segments.values()]
    assert len(segments) == 50
    assert sum(each.crowd for each in segments) == 3
    for image in found.images.values():
        np.testing.assert_array_equal(read_segments(image), read_ids(image.png))
