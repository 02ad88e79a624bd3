from __future__ import annotations

import numpy as np
import pytest
from skimage.morphology import thin

from edgebench.metrics.edges import count_image, threshold_grid


def smooth_noise(shape, seed):
    rng = np.random.default_rng(seed)
    field = np.cumsum(np.cumsum(rng.normal(size=shape), 0), 1)
    steep = np.hypot(*np.gradient(field))
    return steep / steep.max()


def test_the_grid_of_the_benchmark():
    grid = threshold_grid(99)
    assert grid[0] == 0.01
    assert grid[-1] == 0.99
    assert grid.size == 99
    np.testing.assert_allclose(grid, np.arange(1, 100) / 100, atol=1e-15)


@pytest.mark.parametrize(("level", "threshold"), [(51, 0.2), (102, 0.4), (153, 0.6), (204, 0.8)])
def test_8_bit_levels_meet_the_thresholds_they_are_equal_to(level, threshold):
    prediction = np.zeros((3, 9))
    prediction[1] = level / 255
    counts = count_image(prediction, [prediction > 0], 99, thin=False)
    at = np.argmin(abs(counts.thresholds - threshold))
    assert counts.sumP[at] == 9
    assert counts.sumP[at + 1] == 0
    assert counts.cntR[at] == 9


def test_a_third_is_not_85_of_255_on_the_grid_of_five():
    prediction = np.full((1, 4), 85 / 255)
    assert count_image(prediction, [], 5, thin=False).sumP.tolist() == [4, 0, 0, 0, 0]


def test_a_threshold_does_not_depend_on_its_neighbours():
    prediction = smooth_noise((60, 80), 1)
    annotators = [smooth_noise((60, 80), seed) > 0.3 for seed in (2, 3)]
    together = count_image(prediction, annotators, 40, max_distance=0.03)
    for index in (0, 7, 20, 39):
        alone = count_image(prediction, annotators, [together.thresholds[index]], max_distance=0.03)
        assert alone.cntP[0] == together.cntP[index]
        np.testing.assert_array_equal(alone.cntR_per_annotator[0], together.cntR_per_annotator[index])


def test_totals_are_of_the_thinned_map_and_the_annotations_as_they_are():
    prediction = smooth_noise((50, 40), 4)
    thick = smooth_noise((50, 40), 5) > 0.2
    counts = count_image(prediction, [thick, ~thick], 9)
    for index, threshold in enumerate(counts.thresholds):
        assert counts.sumP[index] == thin(prediction >= threshold).sum()
    assert (counts.sumR == thick.size).all()
    assert counts.sumR_per_annotator.tolist() == [thick.sum(), (~thick).sum()]
    np.testing.assert_array_equal(counts.cntR, counts.cntR_per_annotator.sum(axis=1))
    raw = count_image(prediction, [thick], 9, thin=False)
    np.testing.assert_array_equal(raw.sumP, [(prediction >= t).sum() for t in raw.thresholds])


def test_a_transposed_image_has_the_same_pairs():
    prediction = smooth_noise((30, 70), 6)
    truth = smooth_noise((30, 70), 7) > 0.3
    upright = count_image(prediction, [truth], 9, thin=False)
    lying = count_image(prediction.T, [truth.T], 9, thin=False)
    np.testing.assert_array_equal(upright.cntR, lying.cntR)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1), (2, 3)])
def test_tiny_and_empty(shape):
    blank = np.zeros(shape)
    for prediction, annotators in ((blank, [blank > 0]), (blank, []), (blank + 1, []), (blank, [blank == 0])):
        counts = count_image(prediction, annotators)
        assert counts.cntR.tolist() == counts.cntP.tolist() == [0] * 99
    perfect = count_image(blank + 1, [blank == 0], thin=False)
    assert (perfect.cntR == blank.size).all()


def test_bad_input_is_refused():
    good = np.zeros((3, 4))
    with pytest.raises(ValueError, match="shape"):
        count_image(good, [np.zeros((4, 3), bool)])
    with pytest.raises(ValueError, match="finite"):
        count_image(good + np.nan, [])
    with pytest.raises(ValueError, match="two dimensions"):
        count_image(np.zeros(3), [])
    for thresholds in (0, [], [0.5, 0.2]):
        with pytest.raises(ValueError, match="thresholds"):
            count_image(good, [], thresholds)
