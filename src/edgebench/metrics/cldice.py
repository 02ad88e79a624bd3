"""Centre-line Dice (Shit et al., CVPR 2021): whether two masks of thin structures cover each other's centre lines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from edgebench.metrics.masks import mask_skeleton


class CenterlineDice(NamedTuple):
    """clDice and its two terms, all in [0, 1].

    Attributes:
        value: Harmonic mean of the terms; 0 where only one side has a centre line, None where neither has.
        precision: Share of the prediction's centre line that lies in the truth; None without such a line.
        sensitivity: Share of the truth's centre line that lies in the prediction; None without such a line.
    """

    value: float | None
    precision: float | None
    sensitivity: float | None


def cldice(prediction: NDArray[np.bool_], truth: NDArray[np.bool_], tolerance: float = 0.0) -> CenterlineDice:
    """The clDice of two masks, bool (H, W) each, with scikit-image's skeletons as in the authors' code.

    That code calls the terms by each other's names, which leaves clDice the same. It tolerates no distance:
    lines one pixel wide that lie two pixels apart score next to nothing.

    Args:
        prediction: bool (H, W).
        truth: bool (H, W).
        tolerance: How far from a mask a centre line may lie and still count as covered, pixels; 0 as released.
    """
    precision = _share(mask_skeleton(prediction), _grown(truth, tolerance))
    sensitivity = _share(mask_skeleton(truth), _grown(prediction, tolerance))
    if precision is None and sensitivity is None:
        return CenterlineDice(None, None, None)
    if not precision or not sensitivity:
        return CenterlineDice(0.0, precision, sensitivity)
    return CenterlineDice(2 * precision * sensitivity / (precision + sensitivity), precision, sensitivity)


def _grown(mask: NDArray[np.bool_], distance: float) -> NDArray[np.bool_]:
    """The pixels within `distance` of a mask."""
    if distance <= 0 or not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask) <= distance


def _share(line: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float | None:
    length = np.count_nonzero(line)
    return np.count_nonzero(line & mask) / length if length else None
