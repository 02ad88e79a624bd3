"""Maps made of objects: their classes, and each of them as a segment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgebench.data import panoptic as panoptic_files  # the module, not its names: it imports this package
from edgebench.data.instances import Instance, Instances, decode


def painted(instances: Instances, largest: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A map of classes from objects: crowds first, then from the largest to the smallest.

    Args:
        instances: The objects.
        largest: Largest id of a class; above 254 the map has 16 bits.

    Returns:
        uint8 or uint16 (H, W), 0 where no object is.
    """
    classes = np.zeros(instances.size, dtype=np.int64)
    for each, mask in _from_below(instances):
        classes[mask] = each.category
    return as_classes(classes, largest)


def segmented(instances: Instances, ground: int) -> tuple[NDArray[np.uint32], dict[int, panoptic_files.Segment]]:
    """Each object as a segment, painted as `painted` does, over a ground that is a segment, too.

    Args:
        instances: The objects; those that others hide are left out.
        ground: Class of what no object covers.

    Returns:
        The segment of each pixel, uint32 (H, W), with 1 for the ground; and the segments by their numbers.
    """
    ids = np.ones(instances.size, dtype=np.uint32)
    known = {1: panoptic_files.Segment(ground)}
    for number, (each, mask) in enumerate(_from_below(instances), 2):
        ids[mask] = number
        known[number] = panoptic_files.Segment(each.category, each.crowd)
    present, areas = np.unique(ids, return_counts=True)
    seen = zip(present.tolist(), areas.tolist(), strict=True)
    return ids, {number: known[number]._replace(area=area) for number, area in seen}


def as_classes(classes: NDArray[np.int64], largest: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A map of classes (H, W) with 8 bits, or with 16 where an id of a class is above 254."""
    return classes.astype(np.uint8) if largest < 255 else classes.astype(np.uint16)


def _from_below(instances: Instances) -> list[tuple[Instance, NDArray[np.bool_]]]:
    """The objects with their masks: crowds, then from the largest to the smallest."""
    masks = [(each, decode(each.mask)) for each in instances.items]
    return sorted(masks, key=lambda pair: (not pair[0].crowd, -int(pair[1].sum())))
