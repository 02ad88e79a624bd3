"""Large-scale jitter (Ghiasi et al., CVPR 2021), with which Mask2Former trains: scale, crop and flip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PADDING = 128
"""Grey level of what lies outside the picture, as in the authors' code."""


def jitter(
    image: NDArray[np.uint8],
    ids: NDArray[np.int32],
    rng: np.random.Generator,
    size: int,
    smallest: float = 0.1,
    largest: float = 2.0,
    flip: bool = True,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Scale a picture at random, and cut a square of it, or fill up to one.

    The longer side is resized to `size` times a scale drawn uniformly, aspect kept. Where the result is larger than
    the square, a place of it is drawn for each side; where it is smaller, grey without segments follows at the right
    and at the bottom.

    Args:
        image: uint8 (H, W, 3).
        ids: int32 (H, W), 0 for no segment; resized by the nearest neighbour.
        rng: All randomness comes from it.
        size: Side of the square, pixels.
        smallest: Least scale.
        largest: Largest scale.
        flip: Exchange left and right with probability one half.

    Returns:
        uint8 (size, size, 3) and int32 (size, size).
    """
    height, width = ids.shape
    side = size * rng.uniform(smallest, largest)
    factor = side / max(height, width)
    inner = max(1, round(height * factor)), max(1, round(width * factor))
    picture = Image.fromarray(image).resize(inner[::-1], Image.Resampling.BILINEAR)
    segments = Image.fromarray(ids).resize(inner[::-1], Image.Resampling.NEAREST)
    top, left = (int(rng.integers(max(0, length - size) + 1)) for length in inner)
    bottom, right = min(inner[0], top + size), min(inner[1], left + size)
    square = np.full((size, size, 3), PADDING, np.uint8)
    cut = np.zeros((size, size), np.int32)
    square[: bottom - top, : right - left] = np.asarray(picture)[top:bottom, left:right]
    cut[: bottom - top, : right - left] = np.asarray(segments)[top:bottom, left:right]
    if flip and rng.random() < 0.5:
        square, cut = square[:, ::-1], cut[:, ::-1]
    return np.ascontiguousarray(square), np.ascontiguousarray(cut)
