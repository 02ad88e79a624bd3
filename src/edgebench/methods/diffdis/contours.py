"""Edge targets from masks, by the authors' rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIDE = 5
SMALLEST = 6


def contour(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Outline of a mask: where it varies by 6 or more within 5 x 5 pixels.

    At a hard edge the band is 4 pixels wide; soft masks give a wider one.

    Args:
        mask: uint8 (H, W), 0 to 255, at its full size.

    Returns:
        uint8 (H, W) of 0 and 255.
    """
    # Repeating the border adds no value to a window that it does not hold already.
    highest = ndimage.maximum_filter(mask, SIDE, mode="nearest")
    lowest = ndimage.minimum_filter(mask, SIDE, mode="nearest")
    return np.where(highest - lowest >= SMALLEST, np.uint8(255), np.uint8(0))
