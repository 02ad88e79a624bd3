"""Average crispness (AC): how much of an edge map's mass lies on one-pixel lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from edgebench.metrics.edges.nms import orientation, suppress


def average_crispness(image: ArrayLike) -> float:
    """Crispness of one map, sum(NMS(map)) / sum(map); the score of a data set is the mean over its images.

    As in the authors' script of "Delving into Crispness" (Ye et al., 2023): the raw map without smoothing,
    comparison radius 2, border 5, multiplier 1.01. An all-zero map, where the ratio is 0/0, counts as 0.

    Args:
        image: float (H, W) in [0, 1], bright = edge.

    Returns:
        A value in [0, 1].
    """
    raw = np.asarray(image, np.float32)
    total = float(raw.sum(dtype=np.float64))
    if total == 0:
        return 0.0
    kept = suppress(raw, orientation(raw), radius=2, border=5, multiplier=1.01)
    return float(kept.sum(dtype=np.float64)) / total
