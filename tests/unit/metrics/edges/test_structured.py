"""The suppression that cleans edge maps for training, on drawings whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from edgebench.metrics.edges.nms import triangle_filter
from edgebench.metrics.edges.structured import clean_edges, crest, drop_small_components, structured_orientation


def blurred(line: np.ndarray) -> np.ndarray:
    soft = triangle_filter(line.astype(np.float32), 2)
    return soft / soft.max()


def test_the_crest_of_a_blurred_line_is_the_line() -> None:
    line = np.zeros((40, 50), dtype=bool)
    line[:, 20] = True
    assert np.array_equal(crest(blurred(line)), line)
    diagonal = np.eye(40, dtype=bool)
    assert np.array_equal(crest(blurred(diagonal))[5:35, 5:35], diagonal[5:35, 5:35])


def test_orientation_is_across_the_line() -> None:
    line = np.zeros((40, 40))
    line[:, 20] = 1
    across = structured_orientation(blurred(line))[10:30, 20]
    assert np.minimum(across, np.pi - across).max() < 1e-3  # along x, whichever way
    diagonal = structured_orientation(blurred(np.eye(40)))
    assert np.abs(np.diag(diagonal)[8:32] - 3 * np.pi / 4).max() < 1e-3
    # As in OpenCV, a vanishing mixed derivative leaves no sign to tell a level line from an upright one.
    assert (structured_orientation(blurred(line.T))[20, 10:30] == 0).all()


def test_a_binary_map_has_no_crest_of_its_own() -> None:
    drawn = np.random.default_rng(0).random((30, 40)) < 0.3
    assert np.array_equal(crest(drawn), drawn)


def test_specks_go_and_lines_stay() -> None:
    drawn = np.zeros((30, 30), dtype=bool)
    drawn[5, 2:10] = True  # 8 pixels
    drawn[20, 2:9] = True  # 7 pixels
    drawn[range(15, 25), range(15, 25)] = True  # diagonal: one component of 10
    expected = drawn.copy()
    expected[20, 2:9] = False
    assert np.array_equal(drop_small_components(drawn), expected)
    assert np.array_equal(clean_edges(drawn), expected)
    assert np.array_equal(clean_edges(drawn * 0.02), expected)  # relative to the map's own maximum


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (12, 12)])
def test_blank_and_tiny_maps(shape: tuple[int, int]) -> None:
    assert not clean_edges(np.zeros(shape)).any()
    assert crest(np.ones(shape)).shape == shape
    assert np.isfinite(structured_orientation(np.random.default_rng(0).random(shape))).all()
