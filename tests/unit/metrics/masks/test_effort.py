from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from edgebench.errors import EdgebenchError
from edgebench.metrics.masks import correction_effort, mask_skeleton, opencv


def effort(prediction, truth):
    pytest.importorskip("cv2")
    return correction_effort(prediction, truth, mask_skeleton(truth))


@pytest.fixture
def square():
    truth = np.zeros((120, 120), bool)
    truth[30:90, 30:90] = True
    return truth


def test_nothing_to_correct(square):
    assert effort(square, square) == 0
    assert effort(~square & False, square & False) == 0


def test_a_border_that_is_a_little_off_is_forgiven(square):
    for rows, columns in ((4, 0), (0, -4), (3, 3)):
        assert effort(np.roll(square, (rows, columns), (0, 1)) | square, square) == 0


def test_a_false_region_of_its_own_costs_one_click(square):
    prediction = square.copy()
    prediction[100:115, 5:20] = True
    assert effort(prediction, square) == 1
    prediction[5:20, 95:115] = True
    assert effort(prediction, square) == 2


def test_a_hole_costs_one_click(square):
    prediction = square.copy()
    prediction[40:55, 40:55] = False
    assert effort(prediction, square) == 1
    prediction[65:80, 65:80] = False
    assert effort(prediction, square) == 2


def test_a_missed_part_costs_the_points_of_its_border(square):
    truth = square.copy()
    truth[100:116, 40:56] = True
    assert 4 <= effort(square, truth) <= 10


def test_a_false_region_at_the_mask_costs_the_points_of_its_border(square):
    prediction = square.copy()
    prediction[50:70, 90:112] = True
    clicks = effort(prediction, square)
    assert 2 <= clicks <= 6
    for top in (31, 75):
        prediction[top : top + 14, 90:112] = True
    assert effort(prediction, square) >= 3 * clicks - 2


def test_a_gap_that_cuts_the_skeleton_is_not_forgiven():
    truth = np.zeros((60, 160), bool)
    truth[29:32, 10:150] = True
    cut = truth.copy()
    cut[:, 70:73] = False
    assert effort(cut, truth) > 0
    beside = square_with_notch()
    assert effort(*beside) == 0


def square_with_notch():
    truth = np.zeros((60, 160), bool)
    truth[15:45, 10:150] = True
    prediction = truth.copy()
    prediction[15:18, 70:73] = False
    return prediction, truth


def test_opencv_that_counts_otherwise_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="4.13.0"))
    with pytest.raises(EdgebenchError, match=r"4\.13\.0.*pip install 'opencv-python-headless>=4\.10,<4\.12'"):
        opencv()
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="4.12.0-dev"))
    assert opencv().__version__ == "4.12.0-dev"
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(EdgebenchError, match=r"needs OpenCV.*pip install"):
        opencv()
