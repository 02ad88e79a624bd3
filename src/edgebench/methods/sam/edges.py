"""From segment masks to an edge map of one-pixel lines, as MEMO's training data are made.

Follows the authors' code: masks are made disjoint and their small gaps closed, each leaves its inner border,
the borders are joined, thinned, and freed of small components.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import dilation, disk, thin

GAP = 2
SMALLEST_COMPONENT = 8

Mask = NDArray[np.bool_]


def polish_masks(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Make masks disjoint and close the narrow gaps between them.

    Larger masks are painted first, so that a smaller one keeps its pixels; pixels of no mask within 2 px
    of one go to the nearest.

    Args:
        masks: (N, H, W).

    Returns:
        (N, H, W), from the largest mask (before polishing) to the smallest; masks that were painted over
        completely stay, empty.
    """
    if len(masks) == 0:
        return masks
    order = np.argsort(-masks.sum((1, 2)), kind="stable")
    labels = np.zeros(masks.shape[1:], dtype=np.int32)
    for number, index in enumerate(order, start=1):
        labels[masks[index]] = number
    assigned = labels > 0
    gap = dilation(assigned, disk(GAP)) & ~assigned
    if gap.any():
        nearest = ndimage.distance_transform_edt(~assigned, return_distances=False, return_indices=True)
        labels[gap] = labels[nearest[0][gap], nearest[1][gap]]
    return labels == np.arange(1, len(masks) + 1)[:, None, None]


def mask_edges(masks: NDArray[np.bool_], width: int = 1) -> Mask:
    """The inner borders of `masks` (N, H, W), joined to one map (H, W).

    A border is what an erosion with the 3x3 cross takes away; the image's own border is none. Two masks that
    touch give a line of two pixels. A `width` above 1 dilates the map by a disk of half of it.
    """
    edges = np.zeros(masks.shape[1:], dtype=bool)
    for mask in masks:
        edges |= mask & ~ndimage.binary_erosion(mask, border_value=1)
    return dilation(edges, disk(width // 2)) if width > 1 else edges


def prune(edges: Mask, smallest: int = SMALLEST_COMPONENT) -> Mask:
    """`edges` (H, W) without the 8-connected components of fewer than `smallest` pixels."""
    labels = label(edges, connectivity=2)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return sizes[labels] >= smallest


def edges_from_masks(masks: NDArray[np.bool_]) -> Mask:
    """Masks (N, H, W), overlapping or not, -> edge map (H, W) of thin lines, specks removed."""
    return prune(thin(mask_edges(polish_masks(masks))))
