"""From segment masks to an edge map of one-pixel lines, as MEMO's training data are made.

Follows the authors' code (`sam_mask_to_edge.py`): masks are made disjoint and their small gaps closed, each
leaves its inner border, the borders are joined and thinned; then non-maxima and specks go, the rest is thinned
again and traced. Disjoint masks are one label map, so that nothing here grows with their number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import dilation, disk

from edgebench.methods.sam.masks import Mask, PackedMask
from edgebench.methods.sam.segments import majority_levels
from edgebench.metrics.edges import thin
from edgebench.metrics.edges.structured import clean_edges, drop_small_components

GAP = 2
VOTES_PER_LEVEL = 3

Labels = NDArray[np.int32]


def polished_labels(masks: Sequence[PackedMask], shape: tuple[int, int]) -> Labels:
    """Make masks disjoint and close the narrow gaps between them.

    Larger masks are painted first, so that a smaller one keeps its pixels; pixels of no mask within 2 px
    of one go to the nearest.

    Args:
        masks: Masks in any order, overlapping or not.
        shape: (H, W) of the image.

    Returns:
        int32 (H, W): 0 for no mask, k for the k-th largest. Masks that were painted over are in no pixel.
    """
    labels = np.zeros(shape, dtype=np.int32)
    for number, mask in enumerate(sorted(masks, key=lambda mask: -mask.area), start=1):
        labels[mask.window][mask.unpack()] = number
    assigned = labels > 0
    gap = dilation(assigned, disk(GAP)) & ~assigned
    if gap.any():
        nearest = ndimage.distance_transform_edt(~assigned, return_distances=False, return_indices=True)
        labels[gap] = labels[nearest[0][gap], nearest[1][gap]]
    return labels


def outline(labels: Labels, width: int = 1) -> Mask:
    """The inner borders of all labels, joined to one map (H, W).

    A border is what an erosion with the 3x3 cross takes away; the image's own border is none. Two regions that
    touch give a line of two pixels. A `width` above 1 dilates the map by a disk of half of it.
    """
    edges = np.zeros(labels.shape, dtype=bool)
    for these, those in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = labels[these] != labels[those]
        edges[these] |= differs
        edges[those] |= differs
    edges &= labels > 0
    return dilation(edges, disk(width // 2)) if width > 1 else edges


def vote_levels(maps: Sequence[Mask]) -> NDArray[np.uint8]:
    """Levels from the edge maps of several generator settings: three votes a level, 18 votes for level 6.

    Args:
        maps: One bool (H, W) per setting.

    Returns:
        uint8 (H, W): 0 where no map has an edge.
    """
    votes = np.stack(maps).sum(axis=0, dtype=np.int64)
    return np.asarray(-(-votes // VOTES_PER_LEVEL), dtype=np.uint8)


def edges_from_masks(proposals: Sequence[Sequence[PackedMask]], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Masks of an image -> levels of its thin lines.

    Args:
        proposals: The masks by generator setting, overlapping or not.
        shape: (H, W) of the image.

    Returns:
        uint8 (H, W), 0 for no edge; with one setting 1 is an edge.
    """
    levels = vote_levels([thin(outline(polished_labels(masks, shape))) for masks in proposals])
    # Where all edges are of one level, none exceeds another, and the suppression would change nothing.
    kept = drop_small_components(levels > 0) if len(proposals) == 1 else clean_edges(levels)
    return majority_levels(np.where(thin(kept), levels, 0).astype(np.uint8))
