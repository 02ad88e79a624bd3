"""Masks cut along edges into connected components."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
_NEIGHBOURS = {4: ndimage.generate_binary_structure(2, 1), 8: ndimage.generate_binary_structure(2, 2)}


def cut_by_edges(
    mask: Mask,
    edges: NDArray[np.floating],
    threshold: float = 0.5,
    connectivity: Literal[4, 8] = 4,
    smallest: float = 0.001,
) -> list[Mask]:
    """Connected components of what a mask leaves where edges are taken out of it.

    The pixels of the edges themselves belong to none of them; propagation gives them back.

    Args:
        mask: bool (H, W).
        edges: (H, W) in [0, 1].
        threshold: Edges from here on separate.
        connectivity: Neighbours of a pixel: 4 or 8.
        smallest: Share of the image; components of fewer pixels are dropped, and so may be the whole mask.

    Returns:
        Components, bool (H, W) each, in the order of their first pixels, row by row.

    Source: TRACE (DiffEGG v1, algorithm 4); it names no threshold, connectivity or smallest size.
    """
    window = bounding_box(mask)
    if window is None:
        return []
    inside = mask[window] & (edges[window] < threshold)
    labels, count = ndimage.label(inside, _NEIGHBOURS[connectivity])
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    found = []
    for number in range(1, count + 1):
        if areas[number] >= smallest * mask.size:
            component = np.zeros_like(mask)
            component[window] = labels == number
            found.append(component)
    return found


def bounding_box(mask: Mask, margin: int = 0) -> tuple[slice, slice] | None:
    """Rows and columns of the box around a mask, `margin` pixels wider as far as the image goes; None if empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + 1 + margin),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + 1 + margin),
    )
