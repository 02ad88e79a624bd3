from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgebench.metrics.masks import boundary_iou, inner_boundary, plain_iou
from tests.unit.metrics.masks import plain


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=16)), st.integers(1, 4))
def test_boundary_equals_the_plain_one(mask, width):
    for each in (mask, ~mask, np.ones_like(mask)):
        np.testing.assert_array_equal(inner_boundary(each, width), plain.inner_boundary(each, width))


def test_width_is_two_percent_of_the_diagonal_and_at_least_one():
    full = np.ones((300, 400), bool)
    assert (inner_boundary(full, 10) != inner_boundary(full, 9)).any()
    hole = full.copy()
    hole[10:-10, 10:-10] = False
    assert boundary_iou(hole, full) == 1  # 2 % of 500 pixels: the band is all that counts
    hole[9] = False
    assert boundary_iou(hole, full) != 1
    assert boundary_iou(np.ones((3, 3), bool), np.ones((3, 3), bool)) == 1


def test_without_any_boundary_there_is_no_score():
    blank = np.zeros((20, 20), bool)
    assert boundary_iou(blank, blank) is None
    assert boundary_iou(~blank, blank) == 0


def test_a_shift_costs_more_than_in_plain_iou():
    truth = np.zeros((200, 200), bool)
    truth[50:150, 50:150] = True
    moved = np.roll(truth, 3, axis=1)
    iou = plain_iou(moved, truth)
    assert iou is not None
    assert iou == pytest.approx(97 / 103)
    score = boundary_iou(moved, truth)
    assert score is not None
    assert score < iou - 0.2
    assert score == pytest.approx(boundary_iou(truth, moved))


def test_plain_iou_of_blank_masks_is_what_the_protocol_adds():
    blank, dot = np.zeros((4, 4), bool), np.eye(4, dtype=bool)
    assert plain_iou(blank, blank) is None
    assert plain_iou(blank, blank, small=1e-5) == 1
    assert plain_iou(blank, dot) == 0
    assert plain_iou(dot, dot, small=1e-5) == 1
