"""Objects coloured over a photograph."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TINT = 0.6
"""How much of an object's colour covers it."""
TURN = (5**0.5 - 1) / 2  # the golden ratio: hues that follow one another lie far apart


def coloured(photograph: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """A photograph with masks in colours over its grey, each with a dark outline.

    Args:
        photograph: uint8 (H, W, 3).
        masks: bool (H, W) each; larger ones are laid below smaller ones. A mask's colour follows from its place.

    Returns:
        uint8 (H, W, 3).
    """
    grey = np.repeat(photograph.mean(axis=2, keepdims=True), 3, axis=2)
    shown = grey.copy()
    order = sorted(range(len(masks)), key=lambda k: -int(masks[k].sum()))
    for k in order:
        colour = 255 * np.array(colorsys.hsv_to_rgb(k * TURN % 1, 0.75, 1.0))
        shown[masks[k]] = TINT * colour + (1 - TINT) * grey[masks[k]]
        shown[_outline(masks[k])] = 0.35 * colour
    return np.rint(shown).astype(np.uint8)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask that touch its outside on a side; the image's border is no outside."""
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside
