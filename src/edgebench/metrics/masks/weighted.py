"""Weighted F-measure (Margolin et al., CVPR 2014)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from edgebench.metrics.masks.protocols import MaskProtocol

_REACH = 3  # the smoothing window has 7 x 7 pixels
_SIGMA = 5.0
_DECAY = math.log(0.5) / 5


def weighted_f(values: NDArray[np.float64], truth: NDArray[np.bool_], protocol: MaskProtocol) -> float:
    """F with errors weighted by place: beta = 1.

    An error on foreground counts no more than its neighbourhood's (7 x 7 Gaussian, sigma 5), in which
    background pixels stand for their nearest foreground pixel; an error on background counts up to twice as
    much with growing distance from the foreground.

    Args:
        values: float64 (H, W) in [0, 1].
        truth: bool (H, W).
        protocol: Which conventions.

    Returns:
        In [0, 1]; 0 without foreground.
    """
    foreground = np.count_nonzero(truth)
    if not foreground:
        return 0.0
    window = np.exp(-(np.arange(-_REACH, _REACH + 1) ** 2) / (2 * _SIGMA**2))
    values, truth = np.ascontiguousarray(values), np.ascontiguousarray(truth)
    missed, false = _weighted_errors(values, truth, window / window.sum(), _DECAY)
    hits = foreground - missed
    recall = 1 - missed / foreground
    precision = hits / (hits + false + protocol.small_weighted)
    return float(2 * recall * precision / (recall + precision + protocol.small_weighted))


def nearest_foreground(truth: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Row and column of each pixel's nearest foreground pixel, exactly.

    Of several at one distance it is the one furthest left, then furthest up, as in SciPy's distance transform.

    Args:
        truth: bool (H, W) with some foreground.

    Returns:
        Two int32 (H, W).

    Raises:
        ValueError: there is no foreground.
    """
    if not truth.any():
        raise ValueError("a mask without foreground")
    truth = np.ascontiguousarray(truth)
    vertical = _nearest_in_column(truth)
    columns = np.empty(truth.shape, np.int32)
    for row, out in enumerate(columns):
        _nearest_column(vertical[row], row, out)
    return np.take_along_axis(vertical, columns.astype(np.int64), axis=1), columns


@njit(cache=True)
def _nearest_in_column(truth):  # pragma: no cover - compiled
    """Row of the nearest foreground pixel in the same column, int32 (H, W); -1 where the column has none."""
    height, width = truth.shape
    nearest = np.empty((height, width), np.int32)
    last = np.full(width, -1, np.int32)
    for i in range(height):
        for j in range(width):
            if truth[i, j]:
                last[j] = i
            nearest[i, j] = last[j]
    last[:] = -1
    for i in range(height - 1, -1, -1):
        for j in range(width):
            if truth[i, j]:
                last[j] = i
            if last[j] >= 0 and (nearest[i, j] < 0 or last[j] - i < i - nearest[i, j]):
                nearest[i, j] = last[j]
    return nearest


@njit(cache=True)
def _nearest_column(vertical, row, out):  # pragma: no cover - compiled
    """For each pixel of a row the column whose candidate is nearest (Meijster, Roerdink and Hesselink, 2000).

    The lower envelope of one parabola per column, in integers; at equal distance the column further left.
    """
    width = vertical.size
    column = np.empty(width, np.int64)
    height = np.empty(width, np.int64)
    start = np.empty(width, np.int64)
    top = -1
    for u in range(width):
        if vertical[u] < 0:
            continue
        h = (np.int64(vertical[u]) - row) ** 2
        while top >= 0 and (start[top] - column[top]) ** 2 + height[top] > (start[top] - u) ** 2 + h:
            top -= 1
        begin = np.int64(0)
        if top >= 0:
            c = column[top]
            begin = 1 + (u * u - c * c + h - height[top]) // (2 * (u - c))
        if begin < width:
            top += 1
            column[top], height[top], start[top] = u, h, begin
    for u in range(width - 1, -1, -1):
        while start[top] > u:
            top -= 1
        out[u] = column[top]


@njit(cache=True)
def _weighted_errors(values, truth, window, decay):  # pragma: no cover - compiled
    """Sums of the weighted errors on foreground and on background."""
    height, width = truth.shape
    reach = window.size // 2
    vertical = _nearest_in_column(truth)
    nearest = np.empty(width, np.int32)
    # Errors as the window sees them, with a frame of zeros; then smoothed along rows.
    seen = np.zeros(width + 2 * reach)
    smooth = np.zeros((height + 2 * reach, width))
    false = 0.0
    for i in range(height):
        _nearest_column(vertical[i], i, nearest)
        in_row = 0.0
        for j in range(width):
            if truth[i, j]:
                seen[j + reach] = 1 - values[i, j]
                continue
            r, c = vertical[i, nearest[j]], nearest[j]
            seen[j + reach] = 1 - values[r, c]
            if values[i, j] > 0:
                far = np.sqrt(float((r - i) * (r - i) + (c - j) * (c - j)))
                in_row += values[i, j] * (2 - np.exp(decay * far))
        false += in_row
        for k in range(window.size):
            weight = window[k]
            for j in range(width):
                smooth[i + reach, j] += weight * seen[j + k]
    missed = 0.0
    for i in range(height):
        in_row = 0.0
        for j in range(width):
            if truth[i, j] and values[i, j] < 1:
                around = 0.0
                for k in range(window.size):
                    around += window[k] * smooth[i + k, j]
                in_row += min(1 - values[i, j], around)
        missed += in_row
    return missed, false
