from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from edgebench.metrics.cldice import CenterlineDice, cldice


def line(row, start=5, stop=35):
    mask = np.zeros((30, 40), bool)
    mask[row, start:stop] = True
    return mask


def test_a_mask_covers_itself():
    for mask in (line(10), binary_dilation(line(10), iterations=3), np.ones((9, 9), bool)):
        assert cldice(mask, mask) == CenterlineDice(1.0, 1.0, 1.0)


def test_half_a_line_by_hand():
    """All of the predicted half lies in the truth, half of the truth's line in the prediction."""
    assert cldice(line(10, 5, 20), line(10)) == pytest.approx((2 / 3, 1.0, 0.5))
    assert cldice(line(10), line(10, 5, 20)) == pytest.approx((2 / 3, 0.5, 1.0))


def test_width_does_not_matter_but_the_distance_of_thin_lines_does():
    wide = binary_dilation(line(10), iterations=2)
    assert cldice(wide, binary_dilation(line(11), iterations=2)).value == pytest.approx(1)
    assert cldice(line(12), line(10)) == CenterlineDice(0.0, 0.0, 0.0)


def test_empty_masks():
    empty = np.zeros((30, 40), bool)
    assert cldice(empty, empty) == CenterlineDice(None, None, None)
    assert cldice(empty, line(10)) == CenterlineDice(0.0, None, 0.0)
    assert cldice(line(10), empty) == CenterlineDice(0.0, 0.0, None)


def test_within_a_tolerance_lines_apart_cover_each_other():
    """Two lines two pixels apart: as if both masks had been grown by so much, but not their centre lines."""
    assert cldice(line(12), line(10), 1.9).value == 0
    assert cldice(line(12), line(10), 2.0) == CenterlineDice(1.0, 1.0, 1.0)
    # Half of the line is out of reach of the other: its 15 pixels and the two that the tolerance adds.
    assert cldice(line(12), line(10, 5, 20), 2.0) == pytest.approx((2 / (1 + 30 / 15), 15 / 30, 1.0))
    assert cldice(line(10), line(10, 5, 20), 2.0) == pytest.approx((2 / (1 + 30 / 17), 17 / 30, 1.0))


def test_a_tolerance_makes_nothing_of_nothing():
    empty = np.zeros((30, 40), bool)
    assert cldice(empty, empty, 3.0) == CenterlineDice(None, None, None)
    assert cldice(empty, line(10), 3.0) == CenterlineDice(0.0, None, 0.0)
