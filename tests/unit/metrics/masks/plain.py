"""The mask metrics as their papers write them: one threshold at a time, pixel by pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, distance_transform_edt

Map = NDArray[np.float64]
Mask = NDArray[np.bool_]
TINY = float(np.spacing(1.0))


def f_measure(binary: Mask, truth: Mask) -> float:
    """F with beta^2 = 0.3."""
    hits = (binary & truth).sum()
    if hits == 0:
        return 0.0
    precision, recall = hits / binary.sum(), hits / truth.sum()
    return 1.3 * precision * recall / (0.3 * precision + recall)


def e_measure(binary: Mask, truth: Mask, tiny: float = TINY) -> float:
    """The mean of the enhanced alignment matrix."""
    if not truth.any():
        enhanced = 1.0 - binary
    elif truth.all():
        enhanced = binary.astype(float)
    else:
        a, b = binary - binary.mean(), truth - truth.mean()
        enhanced = (2 * a * b / (a * a + b * b + tiny) + 1) ** 2 / 4
    return enhanced.sum() / (truth.size - 1 + tiny)


def s_measure(values: Map, truth: Mask) -> float:
    """Object and region similarity, half and half."""
    share = truth.mean()
    if share in (0, 1):
        return float(values.mean() if share else 1 - values.mean())
    objects = share * _object(values[truth]) + (1 - share) * _object(1 - values[~truth])
    row, column = (int(each) + 1 for each in np.argwhere(truth).mean(axis=0).round())
    regions = 0.0
    for rows in (slice(0, row), slice(row, None)):
        for columns in (slice(0, column), slice(column, None)):
            part = truth[rows, columns]
            if part.size:
                regions += part.size / truth.size * _region(values[rows, columns], part.astype(float))
    return max(0.0, 0.5 * objects + 0.5 * regions)


def weighted_f(values: Map, truth: Mask, tiny: float = TINY) -> float:
    """The steps of Margolin et al. in their order."""
    if not truth.any():
        return 0.0
    far, (rows, columns) = distance_transform_edt(~truth, return_indices=True)
    error = np.abs(values - truth)
    across = np.exp(-(np.arange(-3, 4) ** 2) / 50)
    window = np.outer(across, across) / across.sum() ** 2
    around = convolve(error[rows, columns], window, mode="constant")
    weighted = np.where(truth, np.minimum(error, around), error * (2 - np.exp(np.log(0.5) / 5 * far)))
    hits = truth.sum() - weighted[truth].sum()
    recall = 1 - weighted[truth].mean()
    precision = hits / (hits + weighted[~truth].sum() + tiny)
    return float(2 * recall * precision / (recall + precision + tiny))


def inner_boundary(mask: Mask, width: int) -> Mask:
    """Mask pixels with a pixel outside the mask or the image within the square around them."""
    padded = np.pad(mask, width)
    return mask & ~np.lib.stride_tricks.sliding_window_view(padded, (2 * width + 1, 2 * width + 1)).all(axis=(2, 3))


def curves_and_means(values: Map, truth: Mask) -> dict[str, float]:
    """F and E at 256 thresholds and at the adaptive one, S and MAE."""
    levels = (values * 255).astype(np.uint8)
    f = np.array([f_measure(levels >= level, truth) for level in range(256)])
    e = np.array([e_measure(levels >= level, truth) for level in range(256)])
    adaptive = values >= min(2 * values.mean(), 1)
    return {
        "max_f": f.max(),
        "mean_f": f.mean(),
        "adaptive_f": f_measure(adaptive, truth),
        "max_e": e.max(),
        "mean_e": e.mean(),
        "adaptive_e": e_measure(adaptive, truth),
        "s_measure": s_measure(values, truth),
        "mae": float(np.abs(values - truth).mean()),
    }


def _object(values: Map) -> float:
    mean = values.mean()
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + TINY)


def _region(values: Map, truth: Map) -> float:
    # A constant region has no spread, whatever rounding makes of its mean.
    x = values.mean() if np.ptp(values) else values[0, 0]
    y, freedom = truth.mean(), max(values.size - 1, 1)
    similar = 4 * x * y * ((values - x) * (truth - y)).sum() / freedom
    different = (x**2 + y**2) * (((values - x) ** 2).sum() + ((truth - y) ** 2).sum()) / freedom
    if similar != 0:
        return similar / (different + TINY)
    return float(different == 0)
