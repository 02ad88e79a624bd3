from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from edgebench.metrics.panoptic import (
    PANOPTIC_METRICS,
    Counts,
    add_counts,
    class_quality,
    count_segments,
    panoptic_quality,
    resampled_quality,
)
from tests.unit.metrics import plain_panoptic
from tests.unit.panoptic_files import disturbed, random_drawn

PERSON, DOG, SKY = 1, 18, 187
TRUTH = np.array([[1, 1, 1, 1, 3, 3, 3, 3], [2, 2, 2, 2, 3, 3, 3, 3]])
CLASSES = {1: PERSON, 2: PERSON, 3: SKY}


def test_perfect():
    renamed = np.array([0, 70, 9, 16_000_000])[TRUTH]
    counts = count_segments(renamed, TRUTH, {70: PERSON, 9: PERSON, 16_000_000: SKY}, CLASSES)
    assert counts == {PERSON: Counts(2.0, 2), SKY: Counts(1.0, 1)}
    scores = panoptic_quality(counts, {PERSON, DOG})
    perfect = {"pq": 1.0, "sq": 1.0, "rq": 1.0}
    assert scores == {
        "all": perfect | {"n": 2},
        "things": perfect | {"n": 1},
        "stuff": perfect | {"n": 1},
        "per_class": {PERSON: perfect, SKY: perfect},
    }


def test_a_swapped_class_is_missed_in_one_and_false_in_the_other():
    counts = count_segments(TRUTH, TRUTH, {1: PERSON, 2: DOG, 3: SKY}, CLASSES)
    assert counts == {PERSON: Counts(1.0, 1, 0, 1), DOG: Counts(0.0, 0, 1, 0), SKY: Counts(1.0, 1)}
    scores = panoptic_quality(counts, {PERSON, DOG})
    assert scores["per_class"][PERSON] == {"pq": 2 / 3, "sq": 1.0, "rq": 2 / 3}
    assert scores["per_class"][DOG] == {"pq": 0.0, "sq": 0.0, "rq": 0.0}
    assert scores["things"] == {"pq": 1 / 3, "sq": 0.5, "rq": 1 / 3, "n": 2}


def test_a_shift_costs_its_share():
    truth = np.array([[1] * 6 + [0, 2, 2, 2]])
    moved = np.array([[0] + [1] * 6 + [2, 2, 2]])
    counts = count_segments(moved, truth, {1: PERSON, 2: SKY}, {1: PERSON, 2: SKY})
    assert counts[PERSON] == Counts(5 / 6, 1)  # the pixel on void is not in the union
    truth = np.array([[1] * 6 + [2] * 4])
    moved = np.array([[0] + [1] * 6 + [2] * 3])
    counts = count_segments(moved, truth, {1: PERSON, 2: SKY}, {1: PERSON, 2: SKY})
    assert counts == {PERSON: Counts(5 / 7, 1), SKY: Counts(3 / 4, 1)}


@pytest.mark.parametrize(("pixels", "expected"), [(3, Counts(0.0, 0, 2, 1)), (4, Counts(4 / 6, 1, 1, 0))])
def test_a_split_matches_only_with_more_than_half(pixels, expected):
    truth = np.ones((1, 6), int)
    cut = np.where(np.arange(6) < pixels, 1, 2)[None]
    assert count_segments(cut, truth, {1: DOG, 2: DOG}, {1: DOG}) == {DOG: expected}


@pytest.mark.parametrize(("inside", "false"), [(2, 1), (3, 0)])
def test_a_prediction_mostly_in_a_crowd_of_its_class_is_ignored(inside, false):
    truth = np.array([[5] * inside + [3] * (9 - inside)])
    prediction = np.array([[1] * 4 + [2] * 5])
    expected = {SKY: Counts(5 / (9 - inside), 1)} | ({PERSON: Counts(fp=1)} if false else {})
    assert count_segments(prediction, truth, {1: PERSON, 2: SKY}, {5: PERSON, 3: SKY}, {5}) == expected
    # A crowd of another class forgives nothing, and is not missed either.
    other = count_segments(prediction, truth, {1: PERSON, 2: SKY}, {5: DOG, 3: SKY}, {5})
    assert other == {SKY: Counts(5 / (9 - inside), 1), PERSON: Counts(fp=1)}


def test_a_crowd_is_never_matched():
    whole = np.ones((2, 3), int)
    assert count_segments(whole, whole, {1: PERSON}, {1: PERSON}, {1}) == {}
    assert count_segments(whole, whole, {1: DOG}, {1: PERSON}, {1}) == {DOG: Counts(fp=1)}


def test_of_several_crowds_of_a_class_the_last_listed_forgives():
    truth = np.array([[5, 5, 5, 6]])
    prediction = np.ones((1, 4), int)
    for crowds, expected in (({5: DOG, 6: DOG}, {DOG: Counts(fp=1)}), ({6: DOG, 5: DOG}, {})):
        assert count_segments(prediction, truth, {1: DOG}, crowds, {5, 6}) == expected


@pytest.mark.parametrize(("void", "expected"), [(2, {PERSON: Counts(fp=1)}), (3, {})])
def test_a_prediction_mostly_on_void_is_ignored(void, expected):
    truth = np.array([[0] * void + [3] * (4 - void) + [3] * 8])
    prediction = np.array([[1] * 4 + [2] * 8])
    counts = count_segments(prediction, truth, {1: PERSON, 2: SKY}, {3: SKY})
    assert counts == {SKY: Counts(8 / (12 - void), 1)} | expected


def test_what_is_not_predicted_is_missed_and_void_takes_part_in_no_match():
    nothing = np.zeros_like(TRUTH)
    assert count_segments(nothing, TRUTH, {}, CLASSES) == {PERSON: Counts(fn=2), SKY: Counts(fn=1)}
    assert count_segments(TRUTH, nothing, CLASSES, {}) == {}
    assert count_segments(nothing, nothing, {}, {}) == {}


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_one_pair_at_a_time(seed):
    truth = random_drawn(seed, cells=20)
    prediction = disturbed(truth)
    arguments = prediction.ids, truth.ids, prediction.classes, truth.classes, truth.crowds
    counts, expected = count_segments(*arguments), plain_panoptic.count_segments(*arguments)
    assert counts.keys() == expected.keys()
    assert sum(each.tp for each in counts.values()) > 2
    assert sum(each.fp + each.fn for each in counts.values()) > 2
    for category, count in counts.items():
        assert astuple(count) == pytest.approx(expected[category], rel=0, abs=1e-12)


def test_counts_add_up_over_images():
    one = {PERSON: Counts(1.5, 2, 1, 0)}
    two = {PERSON: Counts(0.75, 1, 0, 3), SKY: Counts(fn=1)}
    total = add_counts([one, two, {}])
    assert total == {PERSON: Counts(2.25, 3, 1, 3), SKY: Counts(fn=1)}
    assert class_quality(total[PERSON]) == {"pq": 2.25 / 5, "sq": 0.75, "rq": 0.6}


def test_classes_weigh_the_same_and_absent_ones_do_not_enter():
    counts = {SKY: Counts(0.5, 1, 1, 1), PERSON: Counts(90.0, 100), DOG: Counts()}
    scores = panoptic_quality(counts, {PERSON, DOG})
    assert list(scores["per_class"]) == [PERSON, SKY]
    assert scores["all"] == pytest.approx({"pq": (0.9 + 0.25) / 2, "sq": (0.9 + 0.5) / 2, "rq": 0.75, "n": 2})
    nothing = {"pq": None, "sq": None, "rq": None, "n": 0}
    assert panoptic_quality({SKY: Counts(fn=1)}, {PERSON})["things"] == nothing
    assert panoptic_quality({}, ())["all"] == nothing


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prediction": np.ones((2, 7), int)}, "differ in size"),
        ({"predicted": {1: PERSON, 2: PERSON}}, r"has the segments \[1, 2, 3\]"),
        ({"true": CLASSES | {4: SKY}}, r"listed are \[1, 2, 3, 4\]"),
        ({"truth": TRUTH / 2}, "integers"),
        ({"truth": -TRUTH}, "from 0 on"),
        ({"prediction": TRUTH + 2**32}, "32 bits"),
        ({"prediction": TRUTH[0]}, r"not int64 \(8,\)"),
    ],
)
def test_maps_that_make_no_sense_are_refused(change, words):
    arguments = {"prediction": TRUTH, "truth": TRUTH, "predicted": CLASSES, "true": CLASSES} | change
    with pytest.raises(ValueError, match=words):
        count_segments(**arguments)


def test_quality_of_images_drawn_again_is_that_of_their_copies():
    generator = np.random.default_rng(4)
    classes, things = [1, 2, 5, 9], {1, 5}
    images = [
        {
            key: Counts(float(tp) * generator.uniform(0.5, 1), tp, *generator.integers(0, 3, 2).tolist())
            for key, tp in zip(classes, generator.integers(0, 3, 4).tolist(), strict=True)
            if generator.random() < 0.5
        }
        for _ in range(6)
    ]
    counts = {
        name: np.array([[getattr(image.get(key, Counts()), name) for key in classes] for image in images])
        for name in ("iou", "tp", "fp", "fn")
    }
    weights = np.vstack([np.ones(6, int), generator.multinomial(6, np.full(6, 1 / 6), size=20), [6, 0, 0, 0, 0, 0]])
    ours = resampled_quality(counts, np.array([key in things for key in classes]), weights)
    assert tuple(ours) == PANOPTIC_METRICS
    for at, weight in enumerate(weights):
        copies = [image for image, count in zip(images, weight, strict=True) for _ in range(count)]
        theirs = panoptic_quality(add_counts(copies), things)
        for name, values in ours.items():
            quality, _, group = name.partition("_")
            expected = theirs[group or "all"][quality]
            assert values[at] == pytest.approx(np.nan if expected is None else expected, abs=1e-12, nan_ok=True), name
