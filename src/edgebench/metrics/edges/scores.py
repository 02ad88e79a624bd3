"""ODS, OIS, AP and R50 from counts, as the BSDS500 benchmark and its successors compute them.

`n` is the number of images and `T` of thresholds; counts are arrays (..., T), thresholds ascend.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

_POINTS = 100  # interpolated points between neighbouring thresholds, both ends included


def recall_precision(cntR: ArrayLike, sumR: ArrayLike, cntP: ArrayLike, sumP: ArrayLike) -> tuple[Float, Float]:
    """Recall and precision, 0 where there is nothing to divide by; any common shape."""
    cntR, sumR, cntP, sumP = (np.asarray(a, np.float64) for a in (cntR, sumR, cntP, sumP))
    return cntR / (sumR + (sumR == 0)), cntP / (sumP + (sumP == 0))


def f_measure(recall: ArrayLike, precision: ArrayLike) -> Float:
    """Harmonic mean of recall and precision, 0 where both are 0; any common shape."""
    recall, precision = np.asarray(recall, np.float64), np.asarray(precision, np.float64)
    total = recall + precision
    return 2 * precision * recall / (total + (total == 0))


def _best_of_curve(thresholds: Float, recall: Float, precision: Float) -> tuple[Float, Float, Float, Float]:
    """Best F, its threshold, recall and precision on curves (m, T), searched between thresholds too."""
    if thresholds.size == 1:
        return (
            f_measure(recall, precision)[:, 0],
            np.full(len(recall), thresholds[0]),
            recall[:, 0],
            precision[:, 0],
        )
    weight = np.linspace(0, 1, _POINTS)
    t, r, p = (
        (curve[..., :-1, None] * (1 - weight) + curve[..., 1:, None] * weight).reshape(*curve.shape[:-1], -1)
        for curve in (thresholds, recall, precision)
    )
    f = f_measure(r, p)
    best = f.argmax(axis=-1)
    rows = np.arange(len(recall))
    return f[rows, best], t[best], r[rows, best], p[rows, best]


def ods_f(thresholds: ArrayLike, cntR: ArrayLike, sumR: ArrayLike, cntP: ArrayLike, sumP: ArrayLike) -> Any:
    """F at the best threshold for the whole data set (ODS).

    Args:
        thresholds: (T,), ascending.
        cntR: Counts summed over images, (..., T); so are the others. Leading axes are independent data sets,
            for example bootstrap resamples.
        sumR: (..., T).
        cntP: (..., T).
        sumP: (..., T).

    Returns:
        float64 (...), a scalar array for one data set.
    """
    grid = np.asarray(thresholds, np.float64)
    recall, precision = recall_precision(cntR, sumR, cntP, sumP)
    shape = recall.shape[:-1]
    recall, precision = recall.reshape(-1, grid.size), precision.reshape(-1, grid.size)
    best = f_measure(recall, precision).max(axis=1)
    # F grows with both, so a stretch whose larger recall and precision together do not beat the best threshold
    # holds no better point; few are left to search.
    higher = f_measure(np.maximum(recall[:, :-1], recall[:, 1:]), np.maximum(precision[:, :-1], precision[:, 1:]))
    curve, k = np.nonzero(higher > best[:, None])
    weight = np.linspace(0, 1, _POINTS)
    r, p = (each[curve, k, None] * (1 - weight) + each[curve, k + 1, None] * weight for each in (recall, precision))
    np.maximum.at(best, curve, f_measure(r, p).max(axis=1, initial=0))
    return best.reshape(shape)


def average_precision(recall: ArrayLike, precision: ArrayLike) -> float:
    """Area under a precision-recall curve, as the benchmark has it.

    Precision is interpolated at the 101 recalls 0, 0.01 .. 1, taken as 0 outside the curve, and the sum is
    divided by 100, not 101: kept, because every published value has it. 0 with fewer than two recalls.

    Args:
        recall: (T,).
        precision: (T,).
    """
    distinct, first = np.unique(np.asarray(recall, np.float64), return_index=True)
    if distinct.size < 2:
        return 0.0
    at = np.linspace(0, 1, 101)
    values = np.interp(at, distinct, np.asarray(precision, np.float64)[first], left=0.0, right=0.0)
    return float(values.sum() / 100)


def recall_at_half_precision(recall: ArrayLike, precision: ArrayLike) -> float:
    """R50, the recall where precision is 0.5 (Dollar's evaluation); 0 where the curve does not reach it.

    Args:
        recall: (T,), of the whole data set.
        precision: (T,).
    """
    distinct, last = np.unique(np.asarray(precision, np.float64), return_index=True)
    if distinct.size < 2:
        return 0.0
    return float(np.interp(0.5, distinct, np.asarray(recall, np.float64)[last], left=0.0, right=0.0))


def edge_scores(
    thresholds: ArrayLike, cntR: ArrayLike, sumR: ArrayLike, cntP: ArrayLike, sumP: ArrayLike
) -> dict[str, dict[str, float]]:
    """Scores of a data set from the counts of its images.

    Args:
        thresholds: (T,), ascending.
        cntR: (n, T) annotated pixels with a partner; the other counts likewise.
        sumR: (n, T) annotated pixels.
        cntP: (n, T) map pixels with a partner.
        sumP: (n, T) map pixels.

    Returns:
        `ods`: f, threshold, recall, precision at the best threshold of the data set, searched between
        thresholds too. `ois`: f, recall, precision of the counts taken at each image's own best threshold of
        the grid. `ap` and `r50`: value.

    Raises:
        ValueError: the counts are not (n, T).
    """
    grid = np.asarray(thresholds, np.float64)
    counts = [np.atleast_2d(np.asarray(a, np.float64)) for a in (cntR, sumR, cntP, sumP)]
    if any(a.shape != counts[0].shape or a.shape[1] != grid.size for a in counts):
        raise ValueError(f"counts must be (n, {grid.size}), not {[a.shape for a in counts]}")
    recall, precision = recall_precision(*(a.sum(axis=0) for a in counts))
    ods = [float(a[0]) for a in _best_of_curve(grid, recall[None], precision[None])]

    best = f_measure(*recall_precision(*counts)).argmax(axis=1)
    ois_recall, ois_precision = recall_precision(*(a[np.arange(len(a)), best].sum() for a in counts))
    return {
        "ods": {"f": ods[0], "threshold": ods[1], "recall": ods[2], "precision": ods[3]},
        "ois": {
            "f": float(f_measure(ois_recall, ois_precision)),
            "recall": float(ois_recall),
            "precision": float(ois_precision),
        },
        "ap": {"value": average_precision(recall, precision)},
        "r50": {"value": recall_at_half_precision(recall, precision)},
    }
