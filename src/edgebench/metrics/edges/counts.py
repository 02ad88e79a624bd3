"""The counts of one image: matched and total pixels, of the annotators and of the map, per threshold."""

# ruff: noqa: N815 - cntR and its like are the benchmark's own names
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgebench.metrics.edges.matching import Matcher
from edgebench.metrics.edges.thinning import thin as thin_mask


@dataclass(frozen=True)
class ImageCounts:
    """Counts of one image over T thresholds and A annotators, int64.

    Attributes:
        thresholds: float64 (T,).
        cntR: (T,) annotated pixels with a partner, summed over annotators.
        sumR: (T,) annotated pixels, summed over annotators; the same at every threshold.
        cntP: (T,) map pixels with a partner for at least one annotator.
        sumP: (T,) map pixels.
        cntR_per_annotator: (T, A).
        sumR_per_annotator: (A,).
    """

    thresholds: NDArray[np.float64]
    cntR: NDArray[np.int64]
    sumR: NDArray[np.int64]
    cntP: NDArray[np.int64]
    sumP: NDArray[np.int64]
    cntR_per_annotator: NDArray[np.int64]
    sumR_per_annotator: NDArray[np.int64]


def threshold_grid(thresholds: int | ArrayLike) -> NDArray[np.float64]:
    """The thresholds meant by a number (K equally spaced inside (0, 1), as the BSDS benchmark has them).

    Args:
        thresholds: K, or the thresholds themselves.

    Returns:
        float64 (T,), ascending.

    Raises:
        ValueError: there is none, or they do not ascend.
    """
    if isinstance(thresholds, int | np.integer):
        if thresholds < 1:
            raise ValueError(f"thresholds: at least 1 is needed, not {thresholds}")
        # float64, and in this form: 8-bit levels such as 51/255 lie exactly on 0.2 and must pass it.
        return np.linspace(1 / (thresholds + 1), 1 - 1 / (thresholds + 1), int(thresholds))
    grid = np.atleast_1d(np.asarray(thresholds, np.float64))
    if grid.ndim != 1 or grid.size == 0 or not np.all(np.diff(grid) > 0):
        raise ValueError("thresholds: a number, or one or more ascending values")
    return grid


def count_image(
    prediction: ArrayLike,
    annotators: Sequence[NDArray[np.bool_]],
    thresholds: int | ArrayLike = 99,
    max_distance: float = 0.0075,
    thin: bool = True,
) -> ImageCounts:
    """Count what a soft edge map and its annotators have in common (BSDS500 boundary benchmark).

    At each threshold t the map `prediction >= t` is thinned to one-pixel lines (when `thin`) and matched with
    each annotator, one pixel to one pixel, within `max_distance` of the image diagonal. Annotations are used
    as they are.

    Args:
        prediction: float (H, W) in [0, 1].
        annotators: A masks, bool (H, W); A may be 0.
        thresholds: A number K, or ascending values.
        max_distance: Largest distance of a pair, as a fraction of the diagonal.
        thin: Thin after thresholding (SEval) or not (CEval).

    Raises:
        ValueError: an annotator's size differs from the map's, or the map is not finite.
    """
    prediction = np.asarray(prediction, np.float64)
    grid = threshold_grid(thresholds)
    if prediction.ndim != 2:
        raise ValueError(f"an edge map has two dimensions, not {prediction.ndim}")
    if not np.isfinite(prediction).all():
        raise ValueError("the edge map holds values that are not finite")
    for index, annotator in enumerate(annotators):
        if annotator.shape != prediction.shape:
            raise ValueError(f"annotator {index} has the shape {annotator.shape}, the edge map {prediction.shape}")
    masks = np.zeros((len(annotators), *prediction.shape), bool)
    for index, annotator in enumerate(annotators):
        masks[index] = annotator

    # A threshold of 0 must not turn the empty background into edges.
    levels = np.maximum(grid, np.finfo(np.float64).eps)
    sumP = np.zeros(grid.size, np.int64)
    cntP = np.zeros(grid.size, np.int64)
    cntR = np.zeros((grid.size, len(annotators)), np.int64)
    radius = max_distance * float(np.hypot(*prediction.shape))
    matcher = Matcher(masks, prediction >= levels[0], radius)
    # From high to low the map mostly grows, which suits the matcher; its results do not depend on the order.
    for index in range(grid.size - 1, -1, -1):
        edges = prediction >= levels[index]
        if thin:
            edges = thin_mask(edges)
        sumP[index] = edges.sum()
        cntR[index], cntP[index] = matcher.match(edges)
    sumR = masks.sum(axis=(1, 2), dtype=np.int64)
    return ImageCounts(
        thresholds=grid,
        cntR=cntR.sum(axis=1),
        sumR=np.full(grid.size, sumR.sum(), np.int64),
        cntP=cntP,
        sumP=sumP,
        cntR_per_annotator=cntR,
        sumR_per_annotator=sumR,
    )
