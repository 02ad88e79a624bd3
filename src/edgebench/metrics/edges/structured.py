"""Orientation and suppression as OpenCV's structured edge detector has them, to clean edge maps for training.

OpenCV's `StructuredEdgeDetection` differs from the suppression of the evaluations (`edgebench.metrics.edges.nms`)
in how it finds the orientation: by second Sobel derivatives of the smoothed map, with other borders. The
comparison across the edge is the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.measure import label

from edgebench.metrics.edges.nms import suppress

Float32 = NDArray[np.float32]
_Combine = Callable[[Float32, Float32, Float32], Float32]

RADIUS = 4
"""Radius of the smoothing: the gradient normalisation radius of OpenCV's published forest."""
KEPT = 0.01
SMALLEST_COMPONENT = 8


def structured_orientation(image: ArrayLike) -> Float32:
    """Direction across the edge at every pixel, bit for bit as OpenCV 5 computes it with fused multiply-add.

    Args:
        image: float (H, W).

    Returns:
        float32 (H, W), radians in [0, pi), from the x axis towards growing rows.
    """
    smooth = _smooth(np.asarray(image, np.float32))
    xx = _along(_along(smooth, 1, _second), 0, _weighted)
    yy = _along(_along(smooth, 1, _weighted), 0, _second)
    xy = _along(_along(smooth, 1, _first), 0, _first)
    # In float64, as OpenCV's 1e-5 makes it.
    angle = np.arctan(yy.astype(np.float64) * -np.sign(xy) / (xx.astype(np.float64) + 1e-5))
    return np.fmod(np.where(angle > 0, angle, angle + np.pi), np.pi).astype(np.float32)


def structured_nms(image: ArrayLike) -> Float32:
    """Non-maximum suppression of a map float (H, W), as `edgesNms` with OpenCV's defaults: float32 (H, W).

    Compared are distances 1 and 2 on either side, without tolerance; the frame does not fade. A binary map
    stays as it is, because no neighbour exceeds 1.
    """
    image = np.asarray(image, np.float32)
    return suppress(image, structured_orientation(image), radius=2, border=0, multiplier=1)


def crest(image: ArrayLike) -> NDArray[np.bool_]:
    """Where a soft map float (H, W) in [0, 1] survives the suppression with more than 0.01: bool (H, W).

    Source: the authors' code of MEMO, which makes its BIPED labels so.
    """
    return structured_nms(image) > KEPT


def drop_small_components(edges: NDArray[np.bool_], smallest: int = SMALLEST_COMPONENT) -> NDArray[np.bool_]:
    """`edges` bool (H, W) without the 8-connected components of fewer than `smallest` pixels."""
    labels = label(edges, connectivity=2)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return sizes[labels] >= smallest


def clean_edges(image: ArrayLike) -> NDArray[np.bool_]:
    """The lines of a map (H, W), soft or binary: the crest of map / maximum, without specks below 8 pixels.

    Source: the post-processing of MEMO's synthetic maps in the authors' code.

    Returns:
        bool (H, W); nothing where the whole map is at most 1e-4.
    """
    image = np.asarray(image, np.float32)
    highest = image.max(initial=0)
    if highest <= 1e-4:
        return np.zeros(image.shape, dtype=bool)
    return drop_small_components(crest(image / highest))


def _smooth(image: Float32) -> Float32:
    """Triangle filter [1 .. 5 .. 1] / 25 along both axes, rows first; rounded where OpenCV rounds."""
    kernel = np.minimum(np.arange(1, 2 * RADIUS + 2), np.arange(2 * RADIUS + 1, 0, -1)).astype(np.float32)
    kernel /= np.float32((RADIUS + 1) ** 2)
    shifted = _shifts(image, 1, RADIUS)
    total = shifted[0] * kernel[0]
    for k in range(1, len(kernel)):
        total = _fused(shifted[k], kernel[k], total)
    shifted = _shifts(total, 0, RADIUS)
    total = shifted[RADIUS] * kernel[RADIUS]
    for k in range(1, RADIUS + 1):
        total = _fused(shifted[RADIUS + k] + shifted[RADIUS - k], kernel[RADIUS + k], total)
    return total


def _fused(image: Float32, weight: np.float32, total: Float32) -> Float32:
    """The product with `weight` plus `total`, rounded once."""
    return (image.astype(np.float64) * np.float64(weight) + total).astype(np.float32)


def _shifts(image: Float32, axis: int, radius: int) -> list[Float32]:
    """The image moved by -radius .. radius along `axis`, mirrored outside without repeating the border pixel."""
    margin = [(0, 0), (0, 0)]
    margin[axis] = (radius, radius)
    padded = np.pad(image, margin, mode="reflect")
    return [padded.take(range(k, k + image.shape[axis]), axis=axis) for k in range(2 * radius + 1)]


def _along(image: Float32, axis: int, combine: _Combine) -> Float32:
    return combine(*_shifts(image, axis, 1))


def _weighted(before: Float32, here: Float32, after: Float32) -> Float32:
    return (before + after) + (here + here)


def _second(before: Float32, here: Float32, after: Float32) -> Float32:
    return (before + after) - (here + here)


def _first(before: Float32, here: Float32, after: Float32) -> Float32:
    return after - before
