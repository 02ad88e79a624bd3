"""The edges between segments pixel by pixel, as they are defined."""

from __future__ import annotations

import numpy as np
from skimage.morphology import skeletonize


def segment_edges(ids: np.ndarray, void: bool = False) -> np.ndarray:
    height, width = ids.shape
    wide = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            for other in ((y, x + 1), (y + 1, x)):
                if other[0] == height or other[1] == width or ids[other] == ids[y, x]:
                    continue
                if void or (ids[other] != 0 and ids[y, x] != 0):
                    wide[y, x] = wide[other] = True
    return skeletonize(wide)
