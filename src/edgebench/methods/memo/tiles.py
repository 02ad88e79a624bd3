"""Sizes: padding and shrinking images, and cutting large ones into overlapping tiles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

PADDING = 32
"""Images are padded to a multiple of this, as by the authors."""

OVERLAP = 64
"""Pixels that neighbouring tiles share at least."""


def pad_symmetric(image: NDArray[Any], multiple: int) -> NDArray[Any]:
    """Mirror the bottom and the right of `image` (H, W, ...) until both sides are multiples of `multiple`."""
    widths = [(0, -size % multiple) for size in image.shape[:2]]
    return np.pad(image, widths + [(0, 0)] * (image.ndim - 2), mode="symmetric")


def shrunk_size(height: int, width: int, long_side: int | None) -> tuple[int, int]:
    """Height and width of an image after shrinking its long side to `long_side`; it never grows."""
    longest = max(height, width)
    if long_side is None or longest <= long_side:
        return height, width
    return max(1, round(height * long_side / longest)), max(1, round(width * long_side / longest))


def padded_size(height: int, width: int, long_side: int | None = None, multiple: int = PADDING) -> tuple[int, int]:
    """Size at which the network sees an image; images of one such size can share a batch."""
    rows, columns = shrunk_size(height, width, long_side)
    return rows + -rows % multiple, columns + -columns % multiple


def shrink(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale `image` (H, W, 3) down; each new pixel is the mean over the area that it covers.

    This is the definition of OpenCV's INTER_AREA, which the authors use; OpenCV sums in float32 and has a special
    path for whole factors, so that single grey levels may differ by one.
    """
    rows, columns = _area_weights(image.shape[0], height), _area_weights(image.shape[1], width)
    mean = np.einsum("yxc,vx->yvc", np.tensordot(rows, image.astype(np.float32), 1), columns, optimize=True)
    return np.rint(mean).astype(np.uint8)


def _area_weights(old: int, new: int) -> NDArray[np.float32]:
    """(new, old): the share of each old pixel in each new one."""
    edges = np.arange(new + 1) * (old / new)
    pixels = np.arange(old)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(covered, 0, None) * (new / old)).astype(np.float32)


def tile_starts(length: int, tile: int) -> list[int]:
    """Where tiles of `tile` pixels begin that cover `length` pixels evenly and share `OVERLAP` or more."""
    if length <= tile:
        return [0]
    count = math.ceil((length - OVERLAP) / (tile - OVERLAP))
    return [index * (length - tile) // (count - 1) for index in range(count)]


def blend_weights(height: int, width: int) -> NDArray[np.float32]:
    """(H, W): one inside a tile, falling linearly to its border over the overlap."""

    def ramp(length: int) -> NDArray[np.float32]:
        position = np.arange(length) + 0.5
        return np.minimum(np.minimum(position, length - position) / OVERLAP, 1).astype(np.float32)

    return np.outer(ramp(height), ramp(width))
