"""One pass over a pair that counts all that F, E, S and the mean absolute error are made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Tally(NamedTuple):
    """What one pass over a prediction and its ground truth finds.

    Background comes before foreground. The quarters lie around the foreground's centre of mass: upper left,
    upper right, lower left, lower right.

    Attributes:
        centre: Row and column at which the lower right quarter begins.
        histogram: int64 (2, 256), pixels of background and foreground by `floor(255 * value)`.
        adaptive: int64 (2,), pixels at or above the adaptive threshold.
        pixels: int64 (4, 2), pixels per quarter and class.
        mean: float64 (4, 2), their mean value; 0 without pixels.
        squares: float64 (4, 2), sum of squared differences from that mean.
    """

    centre: tuple[int, int]
    histogram: NDArray[np.int64]
    adaptive: NDArray[np.int64]
    pixels: NDArray[np.int64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]


def tally_mask(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> Tally:
    """Count a prediction against its ground truth.

    The adaptive threshold is twice the mean value, at most 1 (Achanta et al., CVPR 2009). The quarters follow
    the MATLAB original of the S-measure: the centre's row and column belong to the upper left.

    Args:
        values: float64 (H, W) in [0, 1].
        truth: bool (H, W).
    """
    threshold = min(2 * float(values.mean()), 1.0)
    centre = _centre(truth)
    values, truth = np.ascontiguousarray(values), np.ascontiguousarray(truth)
    return Tally(centre, *_count(values, truth, threshold, *centre))


def _centre(truth: NDArray[np.bool_]) -> tuple[int, int]:
    rows, columns = np.count_nonzero(truth, axis=1), np.count_nonzero(truth, axis=0)
    total = int(rows.sum())
    if not total:
        return truth.shape[0] // 2, truth.shape[1] // 2
    return (
        round(int((rows * np.arange(rows.size)).sum()) / total) + 1,
        round(int((columns * np.arange(columns.size)).sum()) / total) + 1,
    )


@njit(cache=True)
def _count(values, truth, threshold, top, left):  # pragma: no cover - compiled
    height, width = values.shape
    histogram = np.zeros((2, 256), np.int64)
    adaptive = np.zeros(2, np.int64)
    count = np.zeros((4, 2), np.int64)
    mean = np.zeros((4, 2))
    squares = np.zeros((4, 2))
    # Differences from a value of the group itself: exact for a constant group, whatever the constant.
    origin = np.zeros((4, 2))
    begun = np.zeros((4, 2), np.bool_)
    for i in range(height):
        for side in range(2):
            quarter = side if i < top else 2 + side
            first, last = (0, left) if side == 0 else (left, width)
            if not begun[quarter].all():
                for j in range(first, last):
                    kind = 1 if truth[i, j] else 0
                    if not begun[quarter, kind]:
                        origin[quarter, kind] = values[i, j]
                        begun[quarter, kind] = True
            # Sums per row before sums of rows lose less to rounding.
            count0 = count1 = 0
            sum0 = sum1 = square0 = square1 = 0.0
            origin0, origin1 = origin[quarter]
            for j in range(first, last):
                value = values[i, j]
                bin = int(value * 255)
                if truth[i, j]:
                    histogram[1, bin] += 1
                    adaptive[1] += value >= threshold
                    away = value - origin1
                    count1 += 1
                    sum1 += away
                    square1 += away * away
                else:
                    histogram[0, bin] += 1
                    adaptive[0] += value >= threshold
                    away = value - origin0
                    count0 += 1
                    sum0 += away
                    square0 += away * away
            count[quarter, 0] += count0
            count[quarter, 1] += count1
            mean[quarter, 0] += sum0
            mean[quarter, 1] += sum1
            squares[quarter, 0] += square0
            squares[quarter, 1] += square1
    for quarter in range(4):
        for kind in range(2):
            if count[quarter, kind] > 0:
                total = mean[quarter, kind]
                away = total / count[quarter, kind]
                squares[quarter, kind] = max(squares[quarter, kind] - total * away, 0.0)
                mean[quarter, kind] = origin[quarter, kind] + away
    return histogram, adaptive, count, mean, squares
