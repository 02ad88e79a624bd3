"""Otsu's threshold as a foreground mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def otsu_mask(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Split the grey image by Otsu's threshold; the side that is rarer along the border is the foreground.

    What stands out seldom touches the border. Where both sides have half of it, the brighter one is the
    foreground. An image of one grey has no foreground.

    Args:
        image: uint8 (H, W, 3), RGB.

    Returns:
        float64 (H, W), 0 or 1.
    """
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    bright = grey > threshold
    border = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    return (bright if border.mean() <= 0.5 else ~bright).astype(np.float64)
