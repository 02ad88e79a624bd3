"""Agreement with panopticapi on its own sample of COCO."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgebench.data.panoptic import read_ids, read_panoptic, read_segments
from edgebench.stages.evaluate_panoptic import evaluate_panoptic

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


def test_reads_the_sample(sample):
    """Of 50 segments 3 are crowds; areas and ids agree with the colours, which reading checks."""
    found = read_panoptic(sample / "panoptic_examples.json", sample / "panoptic_examples")
    assert len(found.categories) == 133
    segments = [each for image in found.images.values() for each in image.segments.values()]
    assert len(segments) == 50
    assert sum(each.crowd for each in segments) == 3
    for image in found.images.values():
        np.testing.assert_array_equal(read_segments(image), read_ids(image.png))
