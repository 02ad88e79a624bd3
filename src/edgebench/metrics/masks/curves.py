"""F and E over thresholds, from counts alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgebench.metrics.masks.protocols import MaskProtocol

BETA_SQUARED = 0.3


def f_curve(histogram: NDArray[np.integer], protocol: MaskProtocol) -> NDArray[np.float64]:
    """F at every threshold: beta^2 = 0.3 (Achanta et al., CVPR 2009).

    Args:
        histogram: Integers (..., 2, 256), pixels of background and foreground by level, of one or more images.
        protocol: Which conventions.

    Returns:
        float64 (..., L) in [0, 1], L the protocol's number of levels; entry k counts levels of k and above as
        predicted. 0 where the image has no foreground.
    """
    if protocol.levels == 255:
        histogram = np.concatenate([histogram[..., :254], histogram[..., 254:].sum(axis=-1, keepdims=True)], axis=-1)
    found = _at_or_above(histogram)
    hits, predicted = found[..., 1, :], found.sum(axis=-2)
    precision = hits / (np.maximum(predicted, 1) + protocol.small_f)
    return _f(precision, hits / np.maximum(hits[..., :1], 1))


def adaptive_f(found: NDArray[np.integer], foreground: int) -> float:
    """F at one threshold.

    Args:
        found: Integers (2,), predicted pixels of background and foreground.
        foreground: Pixels of foreground in all.
    """
    hits = int(found[1])
    return float(_f(hits / max(int(found.sum()), 1), hits / max(foreground, 1)))


def e_curve(histogram: NDArray[np.integer], protocol: MaskProtocol) -> NDArray[np.float64]:
    """E at every threshold (Fan et al., IJCAI 2018).

    Args:
        histogram: Integers (..., 2, 256), pixels of background and foreground by level, of one or more images.
        protocol: Which conventions.

    Returns:
        float64 (..., 256); entry k counts levels of k and above as predicted.
    """
    found = _at_or_above(histogram)
    return e_measure(found[..., 1, :], found[..., 0, :], found[..., 1, :1], found[..., :1].sum(axis=-2), protocol)


def e_measure(
    hits: ArrayLike,
    false: ArrayLike,
    foreground: ArrayLike,
    pixels: ArrayLike,
    protocol: MaskProtocol,
) -> NDArray[np.float64]:
    """E of binary maps: the alignment takes four values only, so four counts decide it.

    Args:
        hits: Predicted pixels that are foreground.
        false: Predicted pixels that are background.
        foreground: Pixels of foreground.
        pixels: Pixels in all; the four arrays are broadcast together.
        protocol: Which conventions.

    Returns:
        float64; up to N / (N - 1) on N pixels, as in the authors' code.
    """
    true, wrong, positive, size = (np.asarray(each, np.float64) for each in (hits, false, foreground, pixels))
    predicted = true + wrong
    total = np.zeros(np.broadcast(predicted, positive, size).shape)
    mean_predicted, mean_truth = predicted / size, positive / size
    for number, is_predicted, is_truth in (
        (true, 1, 1),
        (wrong, 1, 0),
        (positive - true, 0, 1),
        (size - predicted - positive + true, 0, 0),
    ):
        a, b = is_predicted - mean_predicted, is_truth - mean_truth
        aligned = 2 * a * b / (a * a + b * b + protocol.small_e)
        total = total + number * (aligned + 1) ** 2 / 4
    # Without foreground, or with nothing else, what counts is how much is predicted.
    total = np.where(positive == 0, size - predicted, total)
    total = np.where(positive == size, predicted, total)
    return total / (size - 1 + protocol.small_e)


def image_curves(histograms: NDArray[np.integer], protocol: MaskProtocol) -> dict[str, NDArray[np.float64]]:
    """The curves whose average over the images is the set's.

    Args:
        histograms: Integers (n, 2, 256), pixels of background and foreground by level.
        protocol: With which conventions.

    Returns:
        `f`, float64 (n, L) with L the protocol's number of levels, and `e`, float64 (n, 256). NaN in the rows of
        images that the set's curve leaves out.
    """
    histograms = np.asarray(histograms)
    f = f_curve(histograms, protocol)
    if not protocol.blank_counts:
        f[~histograms[:, 1].any(axis=1)] = np.nan
    return {"f": f, "e": e_curve(histograms, protocol)}


def _at_or_above(histogram: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.cumsum(histogram[..., ::-1], axis=-1, dtype=np.int64)[..., ::-1]


def _f(precision, recall):
    both = precision * recall
    return (1 + BETA_SQUARED) * both / np.where(both == 0, 1, BETA_SQUARED * precision + recall)
