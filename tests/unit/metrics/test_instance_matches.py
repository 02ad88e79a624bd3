"""AP and AR of images drawn again, beside COCO's evaluator on as many copies of each image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgebench.metrics.instance_matches import RANGES, RECALLS, THRESHOLDS, match_instances, resampled_scores
from edgebench.metrics.instances import INSTANCE_METRICS, instance_scores

pytest.importorskip("faster_coco_eval")

SIZE = (130, 140)
Entries = list[dict[str, Any]]


def runs(mask: np.ndarray) -> dict[str, Any]:
    import faster_coco_eval

    found = faster_coco_eval.mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": found["counts"].decode()}


def rectangle(generator: np.random.Generator) -> np.ndarray:
    """A rectangle that is small, medium or large."""
    side = np.array([8, 50, 110])[generator.integers(3)]
    height, width = np.minimum(side + generator.integers(0, 15, 2), SIZE)
    top, left = generator.integers(0, SIZE[0] - height + 1), generator.integers(0, SIZE[1] - width + 1)
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def scene(image: int, seed: int, *, ties: bool, boxes: bool = False, extra: int = 0) -> tuple[Entries, Entries]:
    """Truths and detections of an image: moved truths, some twice, false ones, and crowds."""
    generator = np.random.default_rng([seed, image])
    truths: Entries = []
    found: Entries = []
    for number in range(generator.integers(0, 7)):
        mask = rectangle(generator)
        crowd = int(number % 5 == 4)
        entry = {"image_id": image, "category_id": 1 + number % 3, "segmentation": runs(mask), "iscrowd": crowd}
        if generator.random() < 0.3:  # annotators count otherwise than the mask says
            entry["area"] = float(mask.sum() * generator.uniform(0.5, 1.5))
        truths.append(entry)
        for _ in range(generator.integers(0, 3 if not crowd else 6)):
            moved = np.roll(mask, generator.integers(-3, 4, 2), (0, 1))
            found.append({"segmentation": runs(moved), "category_id": 1 + (number + (generator.random() < 0.2)) % 3})
    found += [{"segmentation": runs(rectangle(generator)), "category_id": 4} for _ in range(2 + extra)]
    for entry in found:
        score = generator.random()
        entry |= {"image_id": image, "score": float(np.round(score, 1) if ties else score)}
        if boxes:
            entry["bbox"] = [0.0, 0.0, float(generator.integers(5, 130)), float(generator.integers(5, 130))]
    generator.shuffle(found)
    return truths, found


def scenes(n: int, **how: Any) -> tuple[dict[int, tuple[int, int]], Entries, Entries]:
    both = [scene(image, **how) for image in range(n)]
    return (
        dict.fromkeys(range(n), SIZE),
        [entry for truths, _ in both for entry in truths],
        [entry for _, found in both for entry in found],
    )


def agree(ours: dict[str, np.ndarray], at: int, theirs: dict[str, float | None]) -> None:
    assert tuple(ours) == INSTANCE_METRICS
    for name, value in theirs.items():
        assert ours[name][at] == pytest.approx(np.nan if value is None else value, rel=0, abs=1e-9, nan_ok=True), name


def test_the_settings_are_coco_s() -> None:
    from faster_coco_eval import COCOeval_faster

    params = COCOeval_faster(iouType="segm").params
    assert np.array_equal(params.iouThrs, THRESHOLDS)
    assert np.array_equal(params.recThrs, RECALLS)
    assert np.array_equal(params.areaRng, RANGES)
    assert list(params.maxDets) == [1, 10, 100]


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_all_images_once_score_as_coco_scores_them(seed: int, per_class: bool) -> None:
    sizes, truths, found = scenes(25, seed=seed, ties=seed % 2 == 0, boxes=seed == 3)
    assert any(each["iscrowd"] for each in truths)
    matches = match_instances(list(sizes), sizes, truths, found, per_class)
    agree(resampled_scores(matches, np.ones((1, 25))), 0, instance_scores(sizes, truths, found, per_class))


def test_of_more_than_a_hundred_the_best_count() -> None:
    sizes, truths, found = scenes(4, seed=9, ties=False, extra=130)
    matches = match_instances(list(sizes), sizes, truths, found)
    assert len(matches.rank) == 400
    assert matches.rank.max() == 99
    agree(resampled_scores(matches, np.ones((1, 4))), 0, instance_scores(sizes, truths, found))


@pytest.mark.parametrize("per_class", [False, True])
def test_an_image_drawn_twice_counts_as_two(per_class: bool) -> None:
    sizes, truths, found = scenes(9, seed=5, ties=False)
    weights = np.random.default_rng(1).multinomial(9, np.full(9, 1 / 9), size=12)
    ours = resampled_scores(match_instances(list(sizes), sizes, truths, found, per_class), weights)
    for at, weight in enumerate(weights):
        copies = [image for image, count in enumerate(weight) for _ in range(count)]
        again: dict[str, Entries] = {name: [] for name in ("truths", "found")}
        for name, entries in (("truths", truths), ("found", found)):
            for number, image in enumerate(copies):
                again[name] += [each | {"image_id": number} for each in entries if each["image_id"] == image]
        theirs = instance_scores(dict.fromkeys(range(9), SIZE), again["truths"], again["found"], per_class)
        agree(ours, at, theirs)


def test_images_without_truths_and_without_anything() -> None:
    _, truths, found = scenes(2, seed=3, ties=False)
    assert truths
    sizes = dict.fromkeys(range(4), SIZE)
    matches = match_instances(range(4), sizes, truths, found)
    ours = resampled_scores(matches, np.array([[1, 1, 1, 1], [0, 0, 2, 2], [2, 2, 0, 0]]))
    agree(ours, 0, instance_scores(sizes, truths, found))
    assert all(np.isnan(values[1]) for values in ours.values())
    # Twice everything changes no share, and equal scores are counted one after the other in both.
    agree(ours, 2, instance_scores(sizes, truths, found))


@pytest.mark.parametrize("per_class", [False, True])
def test_nothing_at_all_has_no_score_and_nothing_found_scores_zero(per_class: bool) -> None:
    sizes, truths, _ = scenes(6, seed=3, ties=False)
    empty = resampled_scores(match_instances(list(sizes), sizes, [], [], per_class), np.ones((2, 6)))
    assert all(np.isnan(values).all() for values in empty.values())
    nothing = resampled_scores(match_instances(list(sizes), sizes, truths, [], per_class), np.ones((2, 6)))
    assert nothing["ap"].tolist() == [0, 0]
    assert nothing["ar100"].tolist() == [0, 0]
