"""Agreement with the code released with clDice, on 35 pairs of real edges and masks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from edgebench.metrics.cldice import cldice

CASES = [
    "davis_bmx-trees",
    "davis_kite-surf",
    "ecssd_0101",
    "uded_02-0868x4",
    "uded_03-35028",
    "uded_04-0896x4",
    "uded_06-elephant_3",
]


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_released_code(shared, case):
    folder = shared / "fixtures" / "metrics" / "cldice"
    reference = json.loads((folder / "cldice_reference.json").read_text())["cases"]
    assert sorted(reference) == CASES

    def read(kind):
        return np.asarray(Image.open(folder / f"{case}_{kind}.png")) > 127

    predictions = reference[case]["pred"]
    assert len(predictions) == 5
    for kind, expected in predictions.items():
        value, precision, sensitivity = cldice(read(kind), read("gt"))
        assert value == pytest.approx(expected["clDice"], rel=0, abs=1e-9), kind
        assert precision == pytest.approx(expected["gt_on_skel_p"], rel=0, abs=1e-9), kind
        assert sensitivity == pytest.approx(expected["p_on_skel_gt"], rel=0, abs=1e-9), kind


def test_the_stage_agrees_with_the_released_code(shared):
    """Binary maps are the same at every threshold, so the evaluator's own threshold changes nothing."""
    from functools import partial

    from edgebench.stages.evaluate_edges import EdgeItem, edge_protocol
    from edgebench.stages.evaluate_instance_edges import evaluate_edges_of_segments

    folder = shared / "fixtures" / "metrics" / "cldice"
    reference = json.loads((folder / "cldice_reference.json").read_text())["cases"]
    pairs = [(case, kind) for case in ("ecssd_0101", "uded_04-0896x4") for kind in reference[case]["pred"]]
    items = [
        EdgeItem(f"{case} {kind}", partial(_soft, folder / f"{case}_{kind}.png"), partial(_truth, folder, case))
        for case, kind in pairs
    ]
    evaluation = evaluate_edges_of_segments(items, edge_protocol("seval", "none", thresholds=3))
    for (case, kind), value, near in zip(pairs, evaluation.cldice_plain, evaluation.cldice, strict=True):
        assert value == pytest.approx(reference[case]["pred"][kind]["clDice"], rel=0, abs=1e-9), (case, kind)
        assert near >= value


def _soft(path):
    return (np.asarray(Image.open(path)) > 127).astype(float)


def _truth(folder, case):
    return [np.asarray(Image.open(folder / f"{case}_gt.png")) > 127]
