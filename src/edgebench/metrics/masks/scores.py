"""All mask metrics of a pair, and over a set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgebench.metrics.masks.boundary import boundary_iou, plain_iou
from edgebench.metrics.masks.curves import adaptive_f, e_curve, e_measure, f_curve, image_curves
from edgebench.metrics.masks.effort import correction_effort, mask_skeleton
from edgebench.metrics.masks.protocols import STANDARD, MaskProtocol, prepare
from edgebench.metrics.masks.structure import s_measure
from edgebench.metrics.masks.tally import tally_mask
from edgebench.metrics.masks.weighted import weighted_f

METRICS = (
    "max_f",
    "mean_f",
    "adaptive_f",
    "weighted_f",
    "s_measure",
    "max_e",
    "mean_e",
    "adaptive_e",
    "mae",
    "hce",
    "biou",
    "iou",
)
"""Keys of the scores. Larger is better except for `mae` and `hce`."""


class MaskScores(NamedTuple):
    """One image.

    Attributes:
        values: Each of `METRICS`; None where a metric is not defined for this image.
        histogram: int32 (2, 256), from which the curves of the set are made; see `Tally`.
    """

    values: dict[str, float | None]
    histogram: NDArray[np.int32]


def score_mask(
    prediction: ArrayLike,
    truth: ArrayLike,
    protocol: MaskProtocol = STANDARD,
    draw_skeleton: Callable[[NDArray[np.bool_]], NDArray[np.bool_]] = mask_skeleton,
) -> MaskScores:
    """Score one prediction with every metric.

    Args:
        prediction: (H, W), floats in [0, 1] (levels of 8 bits as exactly level / 255), uint8, uint16 or bool.
        truth: (H, W) likewise.
        protocol: Which conventions.
        draw_skeleton: Gives the skeleton of the foreground, the slow part; a place to keep it.

    Raises:
        ValueError: the two differ in size, or hold something else.
        EdgebenchError: OpenCV is missing or of another version.
    """
    pair = prepare(prediction, truth, protocol)
    tally = tally_mask(pair.values, pair.truth)
    pixels = pair.truth.size
    foreground = int(tally.pixels[:, 1].sum())
    counted = bool(foreground) or protocol.blank_counts
    f = f_curve(tally.histogram, protocol)
    e = e_curve(tally.histogram, protocol)
    false, missed = tally.pixels[:, 0] @ tally.mean[:, 0], tally.pixels[:, 1] @ (1 - tally.mean[:, 1])
    values = {
        "max_f": float(f.max()) if counted else None,
        "mean_f": float(f.mean()) if counted else None,
        "adaptive_f": adaptive_f(tally.adaptive, foreground),
        "weighted_f": weighted_f(pair.values, pair.truth, protocol),
        "s_measure": s_measure(tally, pair.truth, protocol),
        "max_e": float(e.max()),
        "mean_e": float(e.mean()),
        "adaptive_e": float(e_measure(tally.adaptive[1], tally.adaptive[0], foreground, pixels, protocol)),
        "mae": float((false + missed) / pixels),
        "hce": float(correction_effort(pair.cut, pair.truth, draw_skeleton(pair.truth))),
        "biou": boundary_iou(pair.outlined, pair.truth),
        "iou": plain_iou(pair.outlined, pair.truth, protocol.small_iou),
    }
    return MaskScores(values, tally.histogram.astype(np.int32))


def set_scores(
    per_image: Sequence[Mapping[str, float | None]], histograms: NDArray[np.integer], protocol: MaskProtocol
) -> dict[str, float | None]:
    """Score a set of images.

    `max_f mean_f max_e mean_e` are the greatest and the mean value of the curve averaged over the images, not
    averages of the images' own; all others are averages over the images for which they are defined.

    Args:
        per_image: `MaskScores.values` of n images, at least one.
        histograms: Integers (n, 2, 256), their histograms.
        protocol: With which conventions they were scored.

    Returns:
        Each of `METRICS`; None where no image defines it.
    """
    scores: dict[str, float | None] = {}
    for name in METRICS:
        known = [each[name] for each in per_image if each[name] is not None]
        scores[name] = float(np.mean(np.array(known, np.float64))) if known else None
    for letter, curves in image_curves(histograms, protocol).items():
        entering = curves[~np.isnan(curves[:, 0])]
        if len(entering):
            mean = entering.mean(axis=0)
            scores[f"max_{letter}"], scores[f"mean_{letter}"] = float(mean.max()), float(mean.mean())
    return scores
