"""Centre-line Dice (Shit et al., CVPR 2021): whether two masks of thin structures cover each other's centre lines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


def cldice(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> CenterlineDice:
    """The clDice of two masks, bool (H, W) each, with scikit-image's skeletons as in the authors' code.

    That code calls the terms by each other's names, which leaves clDice the same. It tolerates no distance:
    lines one pixel wide that lie two pixels apart score next to nothing, so grow both masks by the distance
    that shall be forgiven.
    """
    precision = _share(mask_skeleton(prediction), truth)
    sensitivity = _share(mask_skeleton(truth), prediction)
    if precision is None and sensitivity is None:
        return CenterlineDice(None, None, None)
    if not precision or not sensitivity:
        return CenterlineDice(0.0, precision, sensitivity)
    return CenterlineDice(2 * precision * sensitivity / (precision + sensitivity), precision, sensitivity)


def _share(line: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float | None:
    length = np.count_nonzero(line)
    return np.count_nonzero(line & mask) / length if length else None
