from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

from edgebench.metrics.masks import (
    DIFFDIS,
    METRICS,
    STANDARD,
    adaptive_f,
    e_curve,
    e_measure,
    f_curve,
    prepare,
    s_measure,
    score_mask,
    set_scores,
    tally_mask,
    weighted_f,
)
from tests.unit.metrics.masks import plain


def pair(seed, shape=(40, 50)):
    rng = np.random.default_rng(seed)
    truth = gaussian_filter(rng.random(shape), 4)
    truth = truth > np.quantile(truth, 0.7)
    soft = np.clip(gaussian_filter(truth + rng.normal(0, 0.4, shape), 1.5), 0, 1)
    return np.floor(255 * soft) / 255, truth


def curves_and_means(values, truth):
    """What `score_mask` makes of the tally, without the metrics that need more."""
    tally = tally_mask(values, truth)
    f, e = f_curve(tally.histogram, STANDARD), e_curve(tally.histogram, STANDARD)
    foreground = int(truth.sum())
    wrong = tally.pixels[:, 0] @ tally.mean[:, 0] + tally.pixels[:, 1] @ (1 - tally.mean[:, 1])
    return {
        "max_f": f.max(),
        "mean_f": f.mean(),
        "adaptive_f": adaptive_f(tally.adaptive, foreground),
        "max_e": e.max(),
        "mean_e": e.mean(),
        "adaptive_e": float(e_measure(tally.adaptive[1], tally.adaptive[0], foreground, truth.size, STANDARD)),
        "s_measure": s_measure(tally, truth, STANDARD),
        "mae": wrong / truth.size,
    }


small_masks = hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 51, 127, 128, 129, 200, 255])),
        hnp.arrays(bool, shape),
    )
)


@settings(max_examples=120, deadline=None)
@given(small_masks)
def test_one_pass_equals_one_threshold_at_a_time(drawn):
    values, truth = drawn[0] / 255, drawn[1]
    expected = plain.curves_and_means(values, truth)
    for name, value in curves_and_means(values, truth).items():
        assert value == pytest.approx(expected[name], rel=0, abs=1e-9), name


@pytest.mark.parametrize("seed", range(4))
def test_one_pass_equals_one_threshold_at_a_time_on_images(seed):
    values, truth = pair(seed)
    expected = plain.curves_and_means(values, truth)
    for name, value in curves_and_means(values, truth).items():
        assert value == pytest.approx(expected[name], rel=0, abs=1e-12), name


def test_a_constant_quarter_has_no_spread_whatever_its_value():
    """Means by summation are off by rounding, which would turn a similarity of 1 into 0."""
    truth = np.zeros((60, 60), bool)
    truth[10:30, 10:30] = True
    for level in (0.1, 0.3, 0.7):
        tally = tally_mask(np.full(truth.shape, level), truth)
        assert (tally.squares == 0).all()
        assert set(tally.mean[tally.pixels > 0]) == {level}


def test_quarters_without_pixels_do_not_count():
    truth = np.zeros((12, 12), bool)
    truth[:, -1] = True
    score = s_measure(tally_mask(truth.astype(float), truth), truth, STANDARD)
    assert score == pytest.approx(1)


def test_prepare_standard():
    prediction = np.array([[10, 127, 128, 210]]) / 255
    ready = prepare(prediction, np.array([[0, 128, 129, 255]]) / 255, STANDARD)
    assert ready.truth.tolist() == [[False, False, True, True]]
    np.testing.assert_allclose(ready.values, [[0, 117 / 200, 118 / 200, 1]])
    assert ready.cut.tolist() == [[False, True, True, True]]  # after stretching
    assert ready.outlined.tolist() == [[False, False, True, True]]  # before
    constant = prepare(np.full((2, 2), 128 / 255), np.ones((2, 2)), STANDARD)
    assert (constant.values == 128 / 255).all()


def test_prepare_diffdis():
    prediction, truth = np.array([[0, 100, 101, 200]]) / 255, np.array([[0, 50, 51, 100]]) / 255
    ready = prepare(prediction, truth, DIFFDIS)
    assert ready.truth.tolist() == [[False, False, True, True]]  # above half of the brightest
    assert ready.values.tolist() == [[0, 0, 1, 1]]  # exactly half is not above half
    assert prepare(np.full((2, 2), 128 / 255), truth[:, :2].repeat(2, 0), DIFFDIS).values.all()
    assert not prepare(np.full((2, 2), 127 / 255), truth[:, :2].repeat(2, 0), DIFFDIS).values.any()


def test_halves_are_decided_by_levels_not_by_rounding():
    for low in range(0, 200, 3):
        levels = np.array([[low, low + 25, low + 26, low + 50]])
        assert prepare(levels / 255, np.ones((1, 4)), DIFFDIS).values.tolist() == [[0, 0, 1, 1]]


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        prepare(np.zeros((2, 3)), np.zeros((3, 2)), STANDARD)


def test_what_people_hold_in_memory():
    """Levels, fractions and booleans mean the same; what could be either is refused."""
    levels, truth = np.array([[3, 90], [200, 255]], np.uint8), np.array([[0, 0], [255, 255]], np.uint8)
    expected = prepare(levels / 255, truth > 0, STANDARD)
    for prediction, mask in ((levels, truth), (levels * np.uint16(257), truth > 0), (levels / 255, truth / 255)):
        for ours, theirs in zip(prepare(prediction, mask, STANDARD), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for wrong in (levels.astype(int), levels.astype(float), -(levels / 255), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="floats in"):
            prepare(wrong, truth, STANDARD)
        with pytest.raises(ValueError, match="floats in"):
            prepare(levels, wrong, STANDARD)
    with pytest.raises(ValueError, match="one"):
        prepare(np.zeros((0, 3)), np.zeros((0, 3)), STANDARD)


@pytest.mark.parametrize("protocol", [STANDARD, DIFFDIS], ids=lambda each: each.name)
@pytest.mark.parametrize("level", [0, 64, 128, 255])
@pytest.mark.parametrize("kind", ["empty", "full", "some"])
def test_degenerate_pairs_have_finite_scores(protocol, level, kind):
    pytest.importorskip("cv2")
    truth = {"empty": np.zeros((30, 40)), "full": np.ones((30, 40)), "some": np.eye(30, 40)}[kind]
    values = score_mask(np.full(truth.shape, level / 255), truth, protocol).values
    assert tuple(values) == METRICS
    undefined = {name for name, value in values.items() if value is None}
    assert all(np.isfinite(value) for value in values.values() if value is not None)
    if kind == "empty" and protocol is DIFFDIS:
        assert undefined - {"biou"} == {"max_f", "mean_f"}  # two blank masks have IoU 1
    else:
        assert undefined <= {"biou", "iou"}
    assert ("biou" in undefined) == (kind == "empty" and level < 128)
    assert ("iou" in undefined) == (kind == "empty" and level < 128 and protocol is STANDARD)


def test_perfect_and_inverted():
    pytest.importorskip("cv2")
    _, truth = pair(0)
    perfect = score_mask(truth, truth).values
    for name in ("max_f", "adaptive_f", "weighted_f", "s_measure", "biou", "iou"):
        assert perfect[name] == pytest.approx(1)
    assert perfect["max_e"] == pytest.approx(truth.size / (truth.size - 1))
    assert perfect["mae"] == perfect["hce"] == 0
    inverted: dict[str, Any] = dict(score_mask(~truth, truth).values)
    assert inverted["s_measure"] == 0
    assert inverted["weighted_f"] < 0.1
    assert inverted["adaptive_f"] == 0
    assert inverted["mae"] == 1
    ready = prepare(~truth, truth, DIFFDIS)
    assert s_measure(tally_mask(ready.values, ready.truth), truth, DIFFDIS) < 0  # not clipped there


def test_the_set_averages_curves_before_their_maximum():
    first, second = np.zeros((2, 2, 256), int)
    first[0, 0], first[1, 100], first[0, 150] = 50, 30, 20  # best below level 100
    second[0, 0], second[1, 200], second[0, 120] = 50, 30, 20  # best above level 120
    per_image = [dict.fromkeys(METRICS, 0.5) for _ in range(2)]
    scores = set_scores(per_image, np.stack([first, second]), STANDARD)
    curves = [f_curve(each, STANDARD) for each in (first, second)]
    assert scores["max_f"] == pytest.approx(np.mean(curves, axis=0).max())
    assert scores["max_f"] < np.mean([curve.max() for curve in curves]) - 0.05
    assert scores["mean_f"] == pytest.approx(np.mean(curves))
    assert scores["mae"] == 0.5


def test_blank_images_enter_the_curve_of_the_standard_protocol_only():
    blank, good = np.zeros((2, 2, 256), int)
    blank[0, 0], good[0, 0], good[1, 255] = 100, 60, 40
    per_image: list[dict[str, float | None]] = [dict.fromkeys(METRICS, 0.0), dict.fromkeys(METRICS, 1.0)]
    per_image[0]["biou"] = None
    histograms = np.stack([blank, good])
    assert set_scores(per_image, histograms, STANDARD)["max_f"] == pytest.approx(0.5)
    scores = set_scores(per_image, histograms, DIFFDIS)
    assert scores["max_f"] == pytest.approx(1)
    assert scores["biou"] == 1
    per_image[0]["max_f"] = None
    assert set_scores(per_image[:1], histograms[:1], DIFFDIS)["max_f"] is None


def test_a_map_against_any_truth_has_the_precision_of_chance_at_least():
    """The lowest threshold predicts everything, so a blank map still scores."""
    histogram = np.zeros((2, 256), int)
    histogram[0, 0], histogram[1, 0] = 80, 20
    for protocol in (STANDARD, DIFFDIS):
        curve = f_curve(histogram, protocol)
        assert curve.shape == (protocol.levels,)
        assert curve[0] == pytest.approx(1.3 * 0.2 / (0.3 * 0.2 + 1))
        assert not curve[1:].any()


def test_the_two_brightest_levels_are_one_of_255():
    histogram = np.zeros((2, 256), int)
    histogram[0, 254], histogram[1, 255] = 10, 10
    assert f_curve(histogram, STANDARD)[255] == 1
    assert f_curve(histogram, DIFFDIS)[254] == pytest.approx(f_curve(histogram, STANDARD)[254])


def test_weighted_f_is_part_of_the_scores():
    pytest.importorskip("cv2")
    values, truth = pair(1)
    ready = prepare(values, truth, STANDARD)
    assert score_mask(values, truth).values["weighted_f"] == weighted_f(ready.values, truth, STANDARD)
