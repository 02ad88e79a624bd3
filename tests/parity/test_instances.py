"""Agreement with pycocotools 2.0.11 on 106 real images with 943 instances."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgebench.stages.evaluate_instances import evaluate_instances

pytest.importorskip("faster_coco_eval")

THEIRS = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "APs",
    "ap_medium": "APm",
    "ap_large": "APl",
    "ar1": "AR1",
    "ar10": "AR10",
    "ar100": "AR100",
    "ar_small": "ARs",
    "ar_medium": "ARm",
    "ar_large": "ARl",
}


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "fixtures" / "metrics" / "coco_ap"


@pytest.mark.parametrize("class_agnostic", [True, False])
def test_agrees_with_pycocotools(folder: Path, class_agnostic: bool) -> None:
    """All instances are of one category there, so both ways give the same."""
    reference = json.loads((folder / "coco_ap_reference.json").read_text())
    evaluation = evaluate_instances(folder / "dt_segm.json", folder / "gt_class_agnostic.json", class_agnostic)
    for ours, theirs in THEIRS.items():
        assert evaluation.scores[ours] == pytest.approx(reference["pycocotools_segm"][theirs], rel=0, abs=1e-9), ours
    counts = reference["counts"]
    assert evaluation.n_images == counts["images"]
    assert evaluation.n_instances + evaluation.n_crowds == counts["gt"]
    assert evaluation.n_crowds == counts["crowd"]
    assert evaluation.n_predictions == counts["dt"]
    assert evaluation.sizes_by == "box"


def test_without_boxes_masks_decide_on_sizes(folder: Path, tmp_path: Path) -> None:
    """Against pycocotools on the same results without their boxes."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    results = json.loads((folder / "dt_segm.json").read_text())
    for each in results:
        del each["bbox"]
    (tmp_path / "results.json").write_text(json.dumps(results))
    ours = evaluate_instances(tmp_path / "results.json", folder / "gt_class_agnostic.json")
    truth = coco.COCO(folder / "gt_class_agnostic.json")
    run = cocoeval.COCOeval(truth, truth.loadRes(results), "segm")
    run.evaluate()
    run.accumulate()
    run.summarize()
    assert ours.sizes_by == "mask"
    for (name, value), theirs in zip(ours.scores.items(), run.stats, strict=True):
        assert value == pytest.approx(theirs, rel=0, abs=1e-9), name
