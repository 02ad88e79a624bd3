"""Intersection over union of masks, and of the bands along their outlines (Cheng et al., CVPR 2021)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


def boundary_iou(prediction: NDArray[np.bool_], truth: NDArray[np.bool_], ratio: float = 0.02) -> float | None:
    """Intersection over union of two masks' inner boundaries.

    Args:
        prediction: bool (H, W).
        truth: bool (H, W).
        ratio: Width of the boundary as a share of the diagonal.

    Returns:
        In [0, 1]; None where neither mask has a boundary.
    """
    width = max(1, round(ratio * math.hypot(*truth.shape)))
    ours, theirs = inner_boundary(prediction, width), inner_boundary(truth, width)
    union = np.count_nonzero(ours | theirs)
    return float(np.count_nonzero(ours & theirs) / union) if union else None


def plain_iou(prediction: NDArray[np.bool_], truth: NDArray[np.bool_], small: float = 0.0) -> float | None:
    """Intersection over union of two masks.

    Args:
        prediction: bool (H, W).
        truth: bool (H, W).
        small: Added to intersection and union.

    Returns:
        In [0, 1]; None where both masks are blank and nothing is added.
    """
    shared, union = np.count_nonzero(prediction & truth) + small, np.count_nonzero(prediction | truth) + small
    return float(shared / union) if union else None


def inner_boundary(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels of a mask that are at most `width` rows or columns from what lies outside it or the image.

    Args:
        mask: bool (H, W).
        width: Pixels, at least 1.
    """
    return mask & ~_inside(np.ascontiguousarray(mask), width)


@njit(cache=True)
def _inside(mask, width):  # pragma: no cover - compiled
    """Erosion by a square of side 2 width + 1, by runs: first along rows, then along columns."""
    height, columns = mask.shape
    along = np.zeros(mask.shape, np.bool_)
    inside = np.zeros(mask.shape, np.bool_)
    side = 2 * width + 1
    for i in range(height):
        run = 0
        for j in range(columns):
            run = run + 1 if mask[i, j] else 0
            if run >= side:
                along[i, j - width] = True
    runs = np.zeros(columns, np.int32)
    for i in range(height):
        for j in range(columns):
            runs[j] = runs[j] + 1 if along[i, j] else 0
            if runs[j] >= side:
                inside[i - width, j] = True
    return inside
