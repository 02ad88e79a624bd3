"""Mask proposals without a trained model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.segmentation import felzenszwalb

from edgebench.methods.sam.masks import PackedMask, pack

SCALES = (200.0, 600.0)
BLUR = 0.8
SMALLEST_SHARE = 0.005
LARGEST_SHARE = 0.9


def classical_masks(image: NDArray[np.uint8]) -> list[PackedMask]:
    """Segments of the graph-based segmenter at two scales, as overlapping masks.

    A stand-in for a promptable segmenter where none is at hand. It groups by colour (CIELAB), so it
    follows coarse texture where a trained one would not.

    Args:
        image: uint8 (H, W, 3).

    Returns:
        Masks that cover between 0.5 % and 90 % of the image; a segment found at both scales is
        there once. Source of the segmenter: Felzenszwalb and Huttenlocher 2004.
    """
    pixels = image.shape[0] * image.shape[1]
    smallest = max(int(SMALLEST_SHARE * pixels), 1)
    colour = rgb2lab(image) / 100
    masks: dict[PackedMask, None] = {}
    for scale in SCALES:
        segments = felzenszwalb(colour, scale=scale, sigma=BLUR, min_size=smallest)
        areas = np.bincount(segments.ravel())
        for number in np.nonzero((areas >= smallest) & (areas <= LARGEST_SHARE * pixels))[0]:
            masks.setdefault(pack(segments == number))
    return list(masks)
