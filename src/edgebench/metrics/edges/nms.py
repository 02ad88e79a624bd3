"""Non-maximum suppression of soft edge maps, as the evaluations of HED, RCF and their successors do it.

All arithmetic is in float32, because the reference code is and the suppression compares near-equal values.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Float32 = NDArray[np.float32]


def triangle_filter(image: ArrayLike, radius: int) -> Float32:
    """Smooth with the separable kernel [1 .. r, r+1, r .. 1] / (r+1)^2, edge pixels repeated outside.

    Args:
        image: float (H, W).
        radius: r; 0 leaves the image as it is.

    Returns:
        float32 (H, W).
    """
    image = np.asarray(image, np.float32)
    if radius == 0:
        return image
    rising = np.arange(1, radius + 2)
    kernel = (np.concatenate([rising, rising[-2::-1]]) / (radius + 1) ** 2).astype(np.float32)
    # Horizontally first, terms left to right, rounded at every step: what the suppression compares later can
    # hang on the last bit.
    for axis in (1, 0):
        margin = [(0, 0), (0, 0)]
        margin[axis] = (radius, radius)
        padded = np.pad(image, margin, mode="symmetric")
        total = np.zeros_like(image)
        for start, weight in enumerate(kernel):
            total += weight * padded.take(range(start, start + image.shape[axis]), axis=axis)
        image = total
    return image


def orientation(image: ArrayLike) -> Float32:
    """Direction across the edge at every pixel, from second derivatives of the map smoothed with radius 4.

    The ratio of second derivatives is the squared tangent of the direction, so only multiples of 45 degrees
    come out exact, and 0 where the mixed derivative vanishes. Every published value has it.

    Args:
        image: float (H, W).

    Returns:
        float32 (H, W), radians in [0, pi), from the x axis towards growing rows.
    """
    smooth = triangle_filter(image, 4)
    along_y, along_x = _gradient(smooth)
    _, xx = _gradient(along_x)
    yy, xy = _gradient(along_y)
    with np.errstate(divide="ignore", invalid="ignore"):  # xx may be exactly -1e-5
        slope = np.nan_to_num(yy * np.sign(-xy) / (xx + np.float32(1e-5)), posinf=np.inf, neginf=-np.inf)
    angle = np.mod(np.arctan(slope), np.float32(np.pi))
    return angle.astype(np.float32)


def _gradient(image: Float32) -> tuple[Float32, Float32]:
    """Central differences, one-sided at the borders; 0 along an axis of one pixel."""
    parts = [np.gradient(image, axis=axis) if image.shape[axis] > 1 else np.zeros_like(image) for axis in (0, 1)]
    return parts[0], parts[1]


def suppress(image: ArrayLike, angle: ArrayLike, radius: int, border: int, multiplier: float) -> Float32:
    """Keep the pixels that no neighbour across the edge exceeds, and fade the frame.

    A pixel e survives unless `multiplier * e` is below the bilinear sample of the map at one of the distances
    1 .. `radius` on either side along `angle`. Then the outermost `border` pixels are multiplied by k /
    `border`, k = 0 at the very edge.

    Args:
        image: float (H, W).
        angle: float (H, W), radians, as `orientation` gives it.
        radius: Distance of comparison, pixels.
        border: Width of the faded frame, pixels; at most half the image is used.
        multiplier: Tolerance of the comparison, 1 or a little more.

    Returns:
        float32 (H, W).
    """
    image = np.ascontiguousarray(image, np.float32)
    kept = _suppress(image, np.ascontiguousarray(angle, np.float32), radius, np.float32(multiplier))
    height, width = image.shape
    border = min(border, height // 2, width // 2)
    for k in range(border):
        factor = np.float32(k / border)
        kept[:, k] *= factor
        kept[:, width - 1 - k] *= factor
    for k in range(border):
        factor = np.float32(k / border)
        kept[k] *= factor
        kept[height - 1 - k] *= factor
    return kept


def dollar_nms(
    image: ArrayLike, radius: int = 1, border: int = 5, multiplier: float = 1.01, smoothing: int = 1
) -> NDArray[np.float64]:
    """Non-maximum suppression of the SEval protocol, after Dollar and Zitnick's structured edge detector.

    The map is smoothed, the orientation taken from it, non-maxima suppressed and the rest rounded to 8 bits.
    Papers differ: HED and most others use radius 1, border 5; RCF radius 2 (4 on NYUD), CATS border 4.

    Args:
        image: float (H, W) in [0, 1].
        radius: Distance of comparison, pixels.
        border: Width of the faded frame, pixels.
        multiplier: Tolerance of the comparison.
        smoothing: Radius of the triangle filter before everything else.

    Returns:
        float64 (H, W), multiples of 1/255 in [0, 1].
    """
    smooth = triangle_filter(image, smoothing)
    kept = suppress(smooth, orientation(smooth), radius, border, multiplier)
    levels = np.floor(kept.astype(np.float64) * 255 + 0.5)
    return np.clip(levels, 0, 255) / 255


@njit(cache=True)
def _suppress(image, angle, radius, multiplier):
    height, width = image.shape
    kept = image.copy()
    for y in range(height):
        for x in range(width):
            value = image[y, x]
            if value == 0:
                continue
            value *= multiplier
            step_x = np.float32(np.cos(angle[y, x]))
            step_y = np.float32(np.sin(angle[y, x]))
            for d in range(-radius, radius + 1):
                if d != 0 and value < _sample(image, x + d * step_x, y + d * step_y):
                    kept[y, x] = 0
                    break
    return kept


@njit(cache=True)
def _sample(image, x, y):
    """Bilinear sample; coordinates are held inside, a hair before the last pixel."""
    height, width = image.shape
    x = np.float32(max(np.float32(0), min(np.float32(x), np.float32(width - 1.001))))
    y = np.float32(max(np.float32(0), min(np.float32(y), np.float32(height - 1.001))))
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    dx, dy = np.float32(x - left), np.float32(y - top)
    one = np.float32(1)
    return np.float32(
        (one - dx) * (one - dy) * image[top, left]
        + dx * (one - dy) * image[top, right]
        + (one - dx) * dy * image[bottom, left]
        + dx * dy * image[bottom, right]
    )
