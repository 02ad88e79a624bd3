"""Masks that need no learning."""

from __future__ import annotations

import numpy as np
import pytest

from edgebench.methods.baselines.foreground import all_foreground
from edgebench.methods.baselines.otsu import otsu_mask


def disc(inside: int, outside: int, height: int = 40, width: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A disc of one grey on another with a little noise, and where it is."""
    y, x = np.mgrid[:height, :width]
    where = np.hypot(y - height / 2, x - width / 2) < 12
    grey = np.where(where, inside, outside) + np.random.default_rng(0).integers(-5, 6, where.shape)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2), where


@pytest.mark.parametrize(("inside", "outside"), [(200, 60), (60, 200)])
def test_otsu_takes_the_side_that_is_rarer_along_the_border(inside: int, outside: int) -> None:
    image, where = disc(inside, outside)
    mask = otsu_mask(image)
    assert mask.dtype == np.float64
    np.testing.assert_array_equal(mask, where)
    np.testing.assert_array_equal(otsu_mask(image), mask)


def test_otsu_weighs_colours_as_the_eye_does() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[..., 2] = 255  # blue around, which is dark
    image[6:14, 6:14] = (0, 255, 0)
    np.testing.assert_array_equal(otsu_mask(image)[6:14, 6:14], 1)
    assert otsu_mask(image).sum() == 64


def test_otsu_counts_each_pixel_of_the_border_once() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[0] = image[1, 0] = image[1, 3] = 255  # 6 of 12: a tie, so the bright ones are the foreground
    np.testing.assert_array_equal(otsu_mask(image), image[..., 0] == 255)
    image[2, 0] = 255  # 7 of 12
    np.testing.assert_array_equal(otsu_mask(image), image[..., 0] == 0)


@pytest.mark.parametrize("level", [0, 100, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (9, 9)])
def test_one_grey_has_no_foreground(level: int, size: tuple[int, int]) -> None:
    assert otsu_mask(np.full((*size, 3), level, np.uint8)).sum() == 0


def test_everything_is_foreground() -> None:
    np.testing.assert_array_equal(all_foreground(3, 5), np.ones((3, 5)))
