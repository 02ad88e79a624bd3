"""Mask proposals without a trained model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.segmentation import felzenszwalb

from edgebench.methods.sam.masks import PackedMask, pack

SCALES = (200.0, 600.0)
BLUR = 0.8
SMALLEST_SHARE = 0.005
LARGEST_SHARE = 0.9


def classical_masks(
    image: NDArray[np.uint8],
    scales: Sequence[float] = SCALES,
    smallest_share: float = SMALLEST_SHARE,
    largest_share: float = LARGEST_SHARE,
) -> list[PackedMask]:
    """Segments of the graph-based segmenter at several scales, as overlapping masks.

    A stand-in for a promptable segmenter where none is at hand. It groups by colour (CIELAB), so it
    follows coarse texture where a trained one would not.

    Args:
        image: uint8 (H, W, 3).
        scales: How readily segments grow, each by itself.
        smallest_share: Least share of the image that a mask covers; smaller segments join a neighbour.
        largest_share: Largest share of the image that a mask covers.

    Returns:
        The masks; a segment found at several scales is there once. Source of the segmenter: Felzenszwalb and
        Huttenlocher 2004.
    """
    pixels = image.shape[0] * image.shape[1]
    smallest = max(int(smallest_share * pixels), 1)
    colour = rgb2lab(image) / 100
    masks: dict[PackedMask, None] = {}
    for scale in scales:
        segments = felzenszwalb(colour, scale=scale, sigma=BLUR, min_size=smallest)
        areas = np.bincount(segments.ravel())
        for number in np.nonzero((areas >= smallest) & (areas <= largest_share * pixels))[0]:
            masks.setdefault(pack(segments == number))
    return list(masks)


def object_masks(
    image: NDArray[np.uint8],
    scales: Sequence[float] = SCALES,
    smallest: float = SMALLEST_SHARE,
    largest: float = 0.5,
    border: float = 0.25,
) -> NDArray[np.bool_]:
    """`classical_masks` without what looks like background: base masks of objects where no network is at hand.

    Args:
        image: uint8 (H, W, 3).
        scales: How readily segments grow, each by itself.
        smallest: Least share of the image that a mask covers.
        largest: Largest share of the image that a mask covers.
        border: Largest share of the pixels along the image's border that a mask covers.

    Returns:
        bool (n, H, W).
    """
    height, width = image.shape[:2]
    rim = np.ones((height, width), dtype=bool)
    rim[1:-1, 1:-1] = False
    found = []
    for packed in classical_masks(image, scales, smallest, largest):
        mask = np.zeros((height, width), dtype=bool)
        mask[packed.window] = packed.unpack()
        if np.count_nonzero(mask & rim) <= border * np.count_nonzero(rim):
            found.append(mask)
    return np.stack(found) if found else np.zeros((0, height, width), dtype=bool)
