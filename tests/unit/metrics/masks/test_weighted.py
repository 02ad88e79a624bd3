from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import distance_transform_edt, gaussian_filter

from edgebench.metrics.masks import DIFFDIS, STANDARD, nearest_foreground, weighted_f
from tests.unit.metrics.masks import plain

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14))


@settings(max_examples=150, deadline=None)
@given(masks)
def test_nearest_pixels_are_those_of_scipy_ties_included(truth):
    assume(truth.any())
    expected = distance_transform_edt(~truth, return_distances=False, return_indices=True)
    np.testing.assert_array_equal(nearest_foreground(truth), expected)


@pytest.mark.parametrize("density", [0.0005, 0.01, 0.3])
def test_nearest_pixels_of_sparse_and_dense_masks(density):
    truth = np.random.default_rng(3).random((150, 201)) < density
    expected = distance_transform_edt(~truth, return_distances=False, return_indices=True)
    np.testing.assert_array_equal(nearest_foreground(truth), expected)


def test_nearest_needs_foreground():
    with pytest.raises(ValueError, match="without foreground"):
        nearest_foreground(np.zeros((3, 3), bool))


@settings(max_examples=100, deadline=None)
@given(masks, st.integers(0, 2**32 - 1))
def test_weighted_f_equals_the_plain_one(truth, seed):
    values = np.random.default_rng(seed).choice([0, 0.2, 0.5, 1], truth.shape)
    assert weighted_f(values, truth, STANDARD) == pytest.approx(plain.weighted_f(values, truth), rel=0, abs=1e-12)


def test_weighted_f_equals_the_plain_one_on_an_image():
    rng = np.random.default_rng(0)
    truth = gaussian_filter(rng.random((80, 90)), 5)
    truth = truth > np.quantile(truth, 0.8)
    values = np.clip(gaussian_filter(truth + rng.normal(0, 0.3, truth.shape), 1), 0, 1)
    for protocol, tiny in ((STANDARD, plain.TINY), (DIFFDIS, 1e-6)):
        assert weighted_f(values, truth, protocol) == pytest.approx(plain.weighted_f(values, truth, tiny), abs=1e-12)


def test_errors_far_from_the_foreground_cost_more():
    truth = np.zeros((60, 60), bool)
    truth[5:20, 5:20] = True
    near, far = truth.astype(float), truth.astype(float)
    near[22:26, 5:20] = 1
    far[52:56, 5:20] = 1
    assert weighted_f(far, truth, STANDARD) < weighted_f(near, truth, STANDARD) < 1
