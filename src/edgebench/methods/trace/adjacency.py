"""Images whose instances touch others of their class, which is where telling instances apart is hard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from edgebench.methods.trace.components import Mask, bounding_box

Box = tuple[slice, slice] | None


def touching_pairs(
    masks: NDArray[np.bool_],
    categories: Sequence[int] | NDArray[np.integer],
    within: int = 2,
    void: NDArray[np.bool_] | None = None,
    band: int = 5,
) -> Iterator[tuple[int, int]]:
    """Find the pairs of instances of one class that come near each other.

    Two instances do where some pixels of both are at most `within` apart, in rows and in columns. A band of void
    between instances, as VOC draws around its own, does not count: void pixels are first given to the nearest
    instance.

    Args:
        masks: bool (n, H, W).
        categories: Class of each.
        within: Distance in pixels; 1 asks for neighbours, also over a corner, and 0 for an overlap.
        void: bool (H, W), pixels of the border band; they belong to no mask.
        band: Largest distance in pixels between an instance and void that is given to it; what lies farther away is
            an object that nobody annotated.

    Yields:
        Indices of a pair, the lower first; pairs in rising order.
    """
    kinds = np.asarray(categories)
    if void is not None and void.any():
        masks = _with_void(masks, void, band)
    boxes = [bounding_box(mask, within) for mask in masks]
    for first in range(len(masks)):
        for second in range(first + 1, len(masks)):
            if kinds[first] == kinds[second] and _near(
                masks[first], masks[second], boxes[first], boxes[second], within
            ):
                yield first, second


def has_touching_instances(
    masks: NDArray[np.bool_],
    categories: Sequence[int] | NDArray[np.integer],
    within: int = 2,
    void: NDArray[np.bool_] | None = None,
    band: int = 5,
) -> bool:
    """Whether any two instances of one class touch: whether an image belongs to TRACE's problem A, else to B.

    Args:
        masks: bool (n, H, W).
        categories: Class of each.
        within: Distance in pixels that still counts as touching.
        void: bool (H, W), pixels of a border band that is looked through, if there is one.
        band: Width of that band in pixels.

    Source: DiffEGG v1, table 4, which splits VOC2012's validation images 49 to 51; it does not define the split, so
    the distance is ours.
    """
    return any(True for _ in touching_pairs(masks, categories, within, void, band))


def _with_void(masks: NDArray[np.bool_], void: Mask, band: int) -> NDArray[np.bool_]:
    """The masks with the void pixels to which they are nearest, up to a distance."""
    owner = np.full(void.shape, -1, dtype=np.int64)
    for index, mask in enumerate(masks):
        owner[mask] = index
    if (owner < 0).all():
        return masks
    distance, nearest = ndimage.distance_transform_edt(owner < 0, return_indices=True)
    given = void & (owner < 0) & (distance <= band)
    new_owner = owner[tuple(nearest)]
    return np.stack([mask | (given & (new_owner == index)) for index, mask in enumerate(masks)])


def _near(first: Mask, second: Mask, box: Box, other: Box, within: int) -> bool:
    """Whether two masks have pixels at most `within` apart; the boxes are wider than the masks by that much."""
    if box is None or other is None:
        return False
    window = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, other, strict=True))
    if any(each.start >= each.stop for each in window):
        return False
    side = 2 * within + 1
    # What of the first mask lies beyond the window is farther than `within` from the second one's box.
    wide = ndimage.maximum_filter(first[window].view(np.uint8), size=side, mode="constant")
    return bool((wide.astype(bool) & second[window]).any())
