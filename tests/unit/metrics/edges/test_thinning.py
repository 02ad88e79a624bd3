from __future__ import annotations

import numpy as np
import pytest
from skimage.morphology import thin as reference

from edgebench.metrics.edges import thin


@pytest.mark.parametrize("density", [0.05, 0.3, 0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (5, 4), (60, 47), (128, 150)])
def test_equals_the_reference(density, shape):
    mask = np.random.default_rng(7).random(shape) < density
    np.testing.assert_array_equal(thin(mask), reference(mask))


def test_equals_the_reference_on_thick_strokes():
    rows, columns = np.mgrid[:90, :120]
    waves = np.sin(rows / 7) * np.cos(columns / 9) + 0.4 * np.sin((rows + 2 * columns) / 11)
    for level in np.linspace(-0.8, 0.8, 9):
        mask = waves > level
        np.testing.assert_array_equal(thin(mask), reference(mask))


def test_empty_map_stays_empty_and_input_is_untouched():
    assert not thin(np.zeros((5, 6), bool)).any()
    mask = np.ones((8, 8), bool)
    thin(mask)
    assert mask.all()
