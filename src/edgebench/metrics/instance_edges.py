"""Edges between the segments of a map: the ground truth of instance edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgebench.metrics.masks import mask_skeleton
from edgebench.metrics.panoptic import VOID


def segment_edges(ids: ArrayLike, void: bool = False) -> NDArray[np.bool_]:
    """Lines of one pixel where segments meet.

    Both pixels of every two neighbours (right, below) of different segments are marked, and the lines of two pixels
    that this gives are reduced to their skeleton, which leans to neither side. The paper does not say how its
    ground truth was drawn; this is our reading. A crowd is one segment, so that nothing is drawn inside it.

    Args:
        ids: (H, W) integers, the segment of each pixel; 0 for those of none.
        void: Whether the border of pixels without a segment counts as well.

    Returns:
        bool (H, W).
    """
    ids = np.asarray(ids)
    wide = np.zeros(ids.shape, bool)
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        here, there = ids[first], ids[second]
        apart = here != there
        if not void:
            apart &= here != VOID
            apart &= there != VOID
        wide[first] |= apart
        wide[second] |= apart
    return mask_skeleton(wide)
