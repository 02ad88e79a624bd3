"""Agreement with pycocotools 2.0.11 on 106 real images with 943 instances."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgebench.data.adapters import open_dataset
from edgebench.data.coco import read_instance_results, read_instance_truth
from edgebench.data.instances import Instance, Instances, compress
from edgebench.metrics.instance_matches import match_instances, resampled_scores
from edgebench.stages.evaluate_instances import InstancePair, evaluate_instances, evaluate_pairs

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


def test_matches_kept_per_image_give_the_same_scores(folder: Path) -> None:
    """Of every image once; boxes decide on sizes as in the reference."""
    reference = json.loads((folder / "coco_ap_reference.json").read_text())["pycocotools_segm"]
    truth = read_instance_truth(folder / "gt_class_agnostic.json")
    found = read_instance_results(folder / "dt_segm.json", truth)
    matches = match_instances(sorted(truth.sizes), truth.sizes, truth.annotations, found)
    for name, values in resampled_scores(matches, np.ones((1, len(truth.sizes)))).items():
        assert values[0] == pytest.approx(reference[THEIRS[name]], rel=0, abs=1e-9), name


def test_files_of_a_run_score_as_the_results_they_came_from(shared: Path, folder: Path, tmp_path: Path) -> None:
    """The photographs of COCO_Tiny as the data set gives them, and results without boxes, as runs keep them."""
    truth = read_instance_truth(folder / "gt_class_agnostic.json")
    results = json.loads((folder / "dt_segm.json").read_text())
    for each in results:
        del each["bbox"]
    (tmp_path / "results.json").write_text(json.dumps(results))
    expected = evaluate_instances(tmp_path / "results.json", folder / "gt_class_agnostic.json")
    pairs = {}
    for split in ("train2017", "val2017"):
        dataset = open_dataset("coco", shared / "data" / "COCO_Tiny", split)
        for image_id in dataset.ids:
            number = int(image_id)
            found = [each for each in results if each["image_id"] == number]
            size = truth.sizes[number]
            items = [Instance(compress(each["segmentation"], size), each["score"]) for each in found]
            pairs[number] = InstancePair(image_id, Instances(size, items), dataset.instances(image_id))
    evaluation, matches = evaluate_pairs([pairs[number] for number in sorted(pairs)])
    assert evaluation.scores == pytest.approx(expected.scores, rel=0, abs=1e-9)
    counts = ("n_images", "n_instances", "n_crowds", "n_predictions", "n_images_without_predictions", "sizes_by")
    assert {name: getattr(evaluation, name) for name in counts} == {name: getattr(expected, name) for name in counts}
    for name, values in resampled_scores(matches, np.ones((1, len(pairs)))).items():
        assert values[0] == pytest.approx(expected.scores[name], rel=0, abs=1e-9), name
