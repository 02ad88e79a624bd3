"""Canny's edge detector, with given parameters or fitted to annotated images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgebench.metrics.edges import Matcher
from edgebench.metrics.edges.scores import f_measure, recall_precision

# A smoothing as wide as the texture makes Canny far better on textured scenes, hence sigmas up to 4. The
# gradient of a step falls as 1 / sigma, hence thresholds over two orders of magnitude.
SIGMAS = (0.7, 1.0, 1.5, 2.0, 3.0, 4.0)
HIGHS = (0.02, 0.03, 0.045, 0.07, 0.1, 0.15, 0.22, 0.33, 0.5, 0.75)
LOWS_OF_HIGH = (0.25, 0.5, 0.9)


class CannyFit(NamedTuple):
    """Parameters fitted to annotated images, and the F they reach there."""

    sigma: float
    low: float
    high: float
    score: float


def canny_edges(image: NDArray[np.uint8], sigma: float, low: float, high: float) -> NDArray[np.float64]:
    """Canny edges of the grey image.

    Args:
        image: uint8 (H, W, 3), RGB.
        sigma: Standard deviation of the smoothing, pixels.
        low: Gradient from which an edge goes on, for grey values in [0, 1].
        high: Gradient from which an edge begins, at least `low`.

    Returns:
        float64 (H, W), 0 or 1.

    Raises:
        ValueError: `low` is above `high`.
    """
    from skimage.color import rgb2gray
    from skimage.feature import canny

    if low > high:
        raise ValueError(f"low ({low:g}) must not be above high ({high:g})")
    if min(image.shape[:2]) < 3:  # too small for a gradient, and scikit-image refuses it
        return np.zeros(image.shape[:2])
    return canny(rgb2gray(image), sigma, low, high).astype(np.float64)


def tune_canny(
    images: Iterable[NDArray[np.uint8]],
    annotators: Iterable[Sequence[NDArray[np.bool_]]],
    max_distance: float = 0.0075,
) -> CannyFit:
    """Fit sigma and both thresholds by searching a fixed grid for the best F over all images.

    F is that of the benchmark (counts added over images) for Canny's lines as they are, without suppression
    or thinning. Of equal settings the first of the grid wins, so the fit is reproducible.

    Args:
        images: uint8 (H, W, 3) each, RGB.
        annotators: For each image its masks, bool (H, W).
        max_distance: Largest distance of a pair, as a fraction of the image diagonal.

    Raises:
        ValueError: there is no image, or not as many lists of masks as images.
    """
    grid = [(sigma, share * high, high) for sigma, high, share in product(SIGMAS, HIGHS, LOWS_OF_HIGH)]
    totals = np.zeros((4, len(grid)), np.int64)  # cntR, sumR, cntP, sumP
    n_images = 0
    for image, masks in zip(images, annotators, strict=True):
        n_images += 1
        found = [canny_edges(image, *parameters) > 0 for parameters in grid]
        truth = np.stack(masks).astype(bool) if masks else np.zeros((0, *image.shape[:2]), bool)
        matcher = Matcher(truth, np.any(found, axis=0), max_distance * float(np.hypot(*image.shape[:2])))
        for index, edges in enumerate(found):
            pairs, explained = matcher.match(edges)
            totals[:, index] += (pairs.sum(), truth.sum(), explained, edges.sum())
    if n_images == 0:
        raise ValueError("there is no image to fit Canny to")
    scores = f_measure(*recall_precision(*totals))
    best = int(scores.argmax())
    return CannyFit(*grid[best], float(scores[best]))
