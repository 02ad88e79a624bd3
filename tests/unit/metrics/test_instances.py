from __future__ import annotations

import contextlib
import copy
import io
import sys

import numpy as np
import pytest

from edgebench.errors import EdgebenchError
from edgebench.metrics.instances import INSTANCE_METRICS, instance_scores

pytest.importorskip("faster_coco_eval")

SIZES = {7: (40, 50), 3: (40, 50)}


def box(top, left, height, width, size=(40, 50)):
    """Plain run lengths of a rectangle, column by column as COCO counts."""
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    flat = mask.T.ravel().astype(int)
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, flat.size]).tolist()
    return {"size": list(size), "counts": [0, *runs] if flat[0] else runs}


def truth(image, mask, **more):
    return {"image_id": image, "category_id": 1, "segmentation": mask, "iscrowd": 0, **more}


def found(image, mask, score, **more):
    return {"image_id": image, "category_id": 1, "segmentation": mask, "score": score, **more}


def test_the_truth_itself_scores_one():
    masks = [box(2, 3, 10, 10), box(20, 20, 15, 25)]
    scores = instance_scores(SIZES, [truth(7, each) for each in masks], [found(7, each, 0.5) for each in masks])
    assert tuple(scores) == INSTANCE_METRICS
    assert {name: scores[name] for name in ("ap", "ap50", "ap75", "ap_small", "ar10", "ar100", "ar_small")} == {
        name: pytest.approx(1) for name in ("ap", "ap50", "ap75", "ap_small", "ar10", "ar100", "ar_small")
    }
    assert scores["ar1"] == pytest.approx(0.5)
    assert scores["ap_large"] is None


def test_counted_by_hand():
    """One hit at IoU 0.8, and a false mask with a higher score: precision 1/2 at the seven thresholds up to 0.80."""
    truths = [truth(7, box(0, 0, 10, 10))]
    predictions = [found(7, box(0, 0, 8, 10), 0.4), found(7, box(20, 20, 10, 10), 0.9)]
    scores = instance_scores(SIZES, truths, predictions)
    assert scores["ap"] == pytest.approx(0.5 * 7 / 10)
    assert (scores["ap50"], scores["ap75"]) == (pytest.approx(0.5), pytest.approx(0.5))
    assert scores["ar100"] == pytest.approx(0.7)
    assert scores["ar1"] == 0


def test_what_lies_in_a_crowd_counts_neither_way():
    truths = [truth(7, box(0, 0, 10, 10)), truth(7, box(20, 0, 20, 40), iscrowd=1)]
    predictions = [found(7, box(20, 5, 8, 8), 0.9), found(7, box(0, 0, 10, 10), 0.4)]
    assert instance_scores(SIZES, truths, predictions)["ap"] == pytest.approx(1)
    truths[1]["iscrowd"] = 0
    # A false mask before a hit that is half of the truth: precision 1/2 at 51 of the 101 recalls.
    assert instance_scores(SIZES, truths, predictions)["ap"] == pytest.approx(0.5 * 51 / 101)


def test_categories_count_only_when_asked_to():
    truths = [truth(7, box(0, 0, 10, 10)), truth(7, box(20, 20, 10, 10), category_id=2)]
    predictions = [found(7, box(0, 0, 10, 10), 0.9), found(7, box(20, 20, 10, 10), 0.8)]
    assert instance_scores(SIZES, truths, predictions)["ap"] == pytest.approx(1)
    assert instance_scores(SIZES, truths, predictions, per_class=True)["ap"] == pytest.approx(0.5)
    predictions.append(found(7, box(30, 30, 5, 5), 0.9, category_id=3))
    assert instance_scores(SIZES, truths, predictions, per_class=True)["ap"] == pytest.approx(0.5)


def test_boxes_decide_on_the_size_of_false_masks():
    """A thin false mask is small, its box is not."""
    truths = [truth(7, box(0, 0, 10, 10))]
    predictions = [found(7, box(0, 0, 10, 10), 0.4), found(7, box(20, 0, 1, 50), 0.9)]
    assert instance_scores(SIZES, truths, predictions)["ap_small"] == pytest.approx(0.5)
    for each, size in zip(predictions, ([0, 0, 10, 10], [0, 0, 40, 50]), strict=True):
        each["bbox"] = size
    assert instance_scores(SIZES, truths, predictions)["ap_small"] == pytest.approx(1)


def test_the_given_area_of_a_truth_counts():
    truths = [truth(7, box(0, 0, 10, 10), area=1e4)]
    scores = instance_scores(SIZES, truths, [found(7, box(0, 0, 10, 10), 0.4)])
    assert scores["ap_small"] is None
    assert scores["ap_large"] == pytest.approx(1)


@pytest.mark.parametrize("per_class", [False, True])
def test_nothing_found_is_zero_and_nothing_to_find_undefined(per_class):
    nothing = instance_scores(SIZES, [truth(7, box(0, 0, 10, 10))], [], per_class)
    assert (nothing["ap"], nothing["ar100"], nothing["ap_large"]) == (0, 0, None)
    for predictions in ([], [found(7, box(0, 0, 10, 10), 0.5)]):
        assert set(instance_scores(SIZES, [], predictions, per_class).values()) == {None}
    crowd = [truth(7, box(0, 0, 10, 10), iscrowd=1)]
    assert instance_scores(SIZES, crowd, [found(7, box(0, 0, 10, 10), 0.5)], per_class)["ap"] is None


def test_all_forms_of_a_mask_score_alike():
    from faster_coco_eval import mask

    plain = box(5, 5, 10, 20)
    packed = {"size": plain["size"], "counts": mask.frPyObjects(plain, *plain["size"])["counts"].decode()}
    polygon = [[5, 5, 25, 5, 25, 15, 5, 15]]
    for form in (plain, packed, polygon):
        for other in (plain, packed, polygon):
            assert instance_scores(SIZES, [truth(7, form)], [found(7, other, 0.5)])["ap"] == pytest.approx(1)


def random_set(seed):
    """Rectangles and triangles over several images and categories; some crowds, some ids that are awkward."""
    draw = np.random.default_rng(seed)
    sizes = {int(each): (int(draw.integers(60, 300)), int(draw.integers(60, 300))) for each in (5, 0, 2**40, 9)}
    truths, predictions = [], []
    for image, (height, width) in sizes.items():
        for _ in range(12):
            top, left = int(draw.integers(0, height - 20)), int(draw.integers(0, width - 20))
            tall, wide = int(draw.integers(8, height - top)), int(draw.integers(8, width - left))
            kind = int(draw.integers(1, 4))
            polygon = [[left, top, left + wide, top, left + wide / 3, top + tall]]
            rectangle = box(top, left, tall, wide, (height, width))
            truths.append(
                {
                    "image_id": image,
                    "category_id": kind,
                    "segmentation": rectangle if draw.random() < 0.5 else polygon,
                    "iscrowd": int(draw.random() < 0.1),
                    "area": float(tall * wide),
                }
            )
            if truths[-1]["iscrowd"]:
                truths[-1]["segmentation"] = rectangle
            for shift in draw.integers(0, 8, 3):
                near = box(top, left, max(tall - int(shift), 1), wide, (height, width))
                predictions.append(
                    {"image_id": image, "category_id": kind, "segmentation": near, "score": float(draw.random())}
                )
    return sizes, truths, predictions


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("per_class", [False, True])
def test_agrees_with_pycocotools(seed, per_class):
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    sizes, truths, predictions = random_set(seed)
    if seed % 2:
        for each in predictions:
            each["bbox"] = [0.0, 0.0, 1.2 * each["segmentation"]["size"][1] / 3, 90.0]
    ours = instance_scores(sizes, truths, predictions, per_class)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs, results = coco.COCO(), copy.deepcopy(predictions)
        theirs.dataset = {
            "images": [{"id": key, "height": size[0], "width": size[1]} for key, size in sizes.items()],
            "annotations": [{**each, "id": index} for index, each in enumerate(truths, start=1)],
            "categories": [{"id": key} for key in (1, 2, 3)],
        }
        theirs.createIndex()
        for each in results:
            each["segmentation"] = theirs.annToRLE(each)
        run = cocoeval.COCOeval(theirs, theirs.loadRes(results), "segm")
        run.params.useCats = int(per_class)
        run.evaluate()
        run.accumulate()
        run.summarize()
    assert 0.05 < run.stats[0] < 0.95
    for name, value in zip(INSTANCE_METRICS, run.stats, strict=True):
        assert ours[name] == (None if value < 0 else pytest.approx(value, rel=0, abs=1e-9)), name


def test_a_missing_evaluator_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(EdgebenchError, match="pip install 'faster-coco-eval"):
        instance_scores(SIZES, [], [])
