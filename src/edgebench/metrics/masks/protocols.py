"""The two ways in which masks are scored, and what each makes of a prediction first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SPACING = float(np.spacing(1.0))


@dataclass(frozen=True)
class MaskProtocol:
    """Conventions of one evaluator. The small numbers keep its denominators from zero and change last digits.

    Attributes:
        name: `standard` or `diffdis`.
        binarise: Whether the stretched prediction is cut at 0.5 before every metric, and foreground of the
            ground truth is what exceeds half its brightest level (else level 128).
        resize: Whether a prediction of another size is brought to that of the ground truth (else refused).
        small_f: Added to the number of predicted pixels in precision.
        small_e: Added to the denominators of E.
        small_s: Added to the denominators of S.
        small_weighted: Added to the denominators of weighted F.
        small_iou: Added to intersection and union of the plain IoU, so that two blank masks have 1 (else None).
        sample_spread: Whether variances in S are divided by n - 1 (else by n).
        clip_s: Whether a negative S becomes 0.
        single_truth: Whether S takes mean and variance of the ground truth in single precision.
        levels: Thresholds of the F curve; with 255 the two brightest levels count as one.
        blank_counts: Whether images without foreground enter the set's F curve.
    """

    name: Literal["standard", "diffdis"]
    binarise: bool
    resize: bool
    small_f: float
    small_e: float
    small_s: float
    small_weighted: float
    small_iou: float
    sample_spread: bool
    clip_s: bool
    single_truth: bool
    levels: Literal[255, 256]
    blank_counts: bool


STANDARD = MaskProtocol(
    "standard",
    binarise=False,
    resize=False,
    small_f=0.0,
    small_e=_SPACING,
    small_s=_SPACING,
    small_weighted=_SPACING,
    small_iou=0.0,
    sample_spread=True,
    clip_s=True,
    single_truth=False,
    levels=256,
    blank_counts=True,
)
"""The conventions of PySODMetrics, which follow the metrics' MATLAB originals."""

DIFFDIS = MaskProtocol(
    "diffdis",
    binarise=True,
    resize=True,
    small_f=1e-8,
    small_e=1e-8,
    small_s=1e-8,
    small_weighted=1e-6,
    small_iou=1e-5,
    sample_spread=False,
    clip_s=False,
    single_truth=True,
    levels=255,
    blank_counts=False,
)
"""The conventions of the scorer released with DiffDIS (`test_score.py`)."""

PROTOCOLS = {protocol.name: protocol for protocol in (STANDARD, DIFFDIS)}
"""By name, which is the `rule` of a protocol's definition."""


class Prepared(NamedTuple):
    """A pair as the metrics want it.

    Attributes:
        values: The prediction, float64 (H, W) in [0, 1]: stretched, and cut where the protocol says so.
        truth: The foreground, bool (H, W).
        cut: The prediction as a mask for the correction effort, bool (H, W).
        outlined: The prediction as a mask for both IoU, bool (H, W).
    """

    values: NDArray[np.float64]
    truth: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    outlined: NDArray[np.bool_]


def prepare(prediction: ArrayLike, truth: ArrayLike, protocol: MaskProtocol) -> Prepared:
    """Stretch a prediction, and decide what is foreground.

    A prediction is stretched to [0, 1] unless it is constant. Foreground of the ground truth is what lies
    above level 128 (`standard`), or above half of its brightest level (`diffdis`). Both IoU take the
    prediction above level 127, unstretched (`standard`), or the mask that all metrics see (`diffdis`).

    Args:
        prediction: (H, W), floats in [0, 1] (levels of 8 bits as exactly level / 255), uint8, uint16 or bool.
        truth: (H, W) likewise.
        protocol: Which conventions.

    Raises:
        ValueError: the two differ in size, are not (H, W), or hold something else.
    """
    soft, hard = _unit(np.asarray(prediction)), np.asarray(truth)
    if soft.ndim != 2 or not soft.size or soft.shape != hard.shape:
        raise ValueError(f"a prediction {soft.shape} and a mask {hard.shape}; one (H, W) is expected")
    if not protocol.binarise:
        values = _stretch(soft)
        return Prepared(values, foreground(hard, protocol), values > 0.5, soft > 127 / 255)
    cut = _stretch(_levels(soft), 255.0) > 0.5
    return Prepared(cut.astype(np.float64), foreground(hard, protocol), cut, cut)


def foreground(truth: ArrayLike, protocol: MaskProtocol) -> NDArray[np.bool_]:
    """What counts as foreground of a ground truth, bool (H, W); see `prepare`.

    Args:
        truth: (H, W), floats in [0, 1], uint8, uint16 or bool.
        protocol: Which conventions.

    Raises:
        ValueError: it holds something else.
    """
    hard = _unit(np.asarray(truth))
    if not protocol.binarise:
        return hard > 128 / 255
    levels = _levels(hard)
    return levels / (levels.max() + 1e-8) > 0.5


def _unit(values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype in (np.uint8, np.uint16):
        return values / np.float64(np.iinfo(values.dtype).max)
    if values.dtype == bool:
        return values.astype(np.float64)
    # Compared in this order NaN fails, too.
    if values.dtype.kind != "f" or (values.size and not 0 <= values.min() <= values.max() <= 1):
        raise ValueError(f"{values.dtype} values; floats in [0, 1], uint8, uint16 or bool are expected")
    return values.astype(np.float64, copy=False)


def _stretch(values: NDArray[np.float64], full: float = 1.0) -> NDArray[np.float64]:
    low, high = values.min(), values.max()
    if high == low:
        return values / full
    stretched = values - low
    stretched /= high - low
    return stretched


def _levels(unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """255 times `unit`, exactly where that is a level of 8 bits: halfway levels are decided by equality."""
    scaled = unit * 255
    levels = np.rint(scaled)
    return levels if np.array_equal(levels / 255, unit) else scaled
