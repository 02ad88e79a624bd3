"""Where SAM's automatic mask generator looks: point grids, overlapping crops, boxes and their suppression.

Boxes are (left, top, right, bottom). Those of crops end beside their last pixel, those of masks at it, as in the
authors' code (facebookresearch/segment-anything and sam2, `utils/amg.py`).
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EDGE_DISTANCE = 20.0

Boxes = NDArray[np.float32]


class Crop(NamedTuple):
    """A part of the image, and the layer that it belongs to: 0 for the whole image."""

    left: int
    top: int
    right: int
    bottom: int
    layer: int

    @property
    def area(self) -> int:
        """Number of pixels."""
        return (self.right - self.left) * (self.bottom - self.top)


def point_grid(side: int) -> NDArray[np.float64]:
    """Centres of side x side equal cells of the unit square: (side * side, 2) of x and y, row by row."""
    centres = (np.arange(side) + 0.5) / side
    return np.stack([np.tile(centres, side), np.repeat(centres, side)], axis=1)


def crop_boxes(height: int, width: int, layers: int, overlap_ratio: float) -> list[Crop]:
    """The whole image, then per layer i from 1 the 2^i x 2^i crops that overlap.

    Args:
        height: Of the image, pixels.
        width: Of the image, pixels.
        layers: Layers besides the whole image.
        overlap_ratio: Overlap of the first layer's crops, as a share of the shorter side; halved per layer.

    Returns:
        The crops, column by column within a layer.
    """
    crops = [Crop(0, 0, width, height, 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / count))
        across, down = (math.ceil((overlap * (count - 1) + size) / count) for size in (width, height))
        for i, j in product(range(count), range(count)):
            left, top = (across - overlap) * i, (down - overlap) * j
            crops.append(Crop(left, top, min(left + across, width), min(top + down, height), layer))
    return crops


def cut_by_crop(boxes: Boxes, crop: Crop, height: int, width: int) -> NDArray[np.bool_]:
    """Which masks lie at an edge of their crop that is no edge of the image, within 20 pixels.

    Args:
        boxes: float32 (N, 4) of masks, in pixels of the image.
        crop: The crop in which they were found.
        height: Of the image, pixels.
        width: Of the image, pixels.

    Returns:
        bool (N,).
    """
    at_crop = np.abs(boxes - np.array(crop[:4], np.float32)) <= EDGE_DISTANCE
    at_image = np.abs(boxes - np.array([0, 0, width, height], np.float32)) <= EDGE_DISTANCE
    return np.asarray((at_crop & ~at_image).any(axis=1))


def suppress_boxes(boxes: Boxes, scores: NDArray[np.floating], threshold: float) -> NDArray[np.int64]:
    """Greedy suppression: a box goes when its IoU with a kept one of higher score exceeds `threshold`.

    Args:
        boxes: float32 (N, 4); areas are (right - left) * (bottom - top).
        scores: (N,); of equal ones the first wins.
        threshold: Largest IoU that is let pass.

    Returns:
        Indices of the boxes that stay, by descending score.
    """
    boxes = boxes.astype(np.float32)
    left, top, right, bottom = boxes.T
    areas = (right - left) * (bottom - top)
    order = np.argsort(-np.asarray(scores), kind="stable")
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        across = np.minimum(right[best], right[order]) - np.maximum(left[best], left[order])
        down = np.minimum(bottom[best], bottom[order]) - np.maximum(top[best], top[order])
        shared = np.clip(across, 0, None) * np.clip(down, 0, None)
        with np.errstate(invalid="ignore"):  # two boxes without area have no overlap
            iou = shared / (areas[best] + areas[order] - shared)
        order = order[~(iou.astype(np.float64) > threshold)]
    return np.array(kept, dtype=np.int64)
