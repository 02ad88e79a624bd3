"""Morphological thinning to one-pixel lines, as `bwmorph(map, 'thin', inf)` does it."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# The eight neighbours counter-clockwise from east, as (row, column) steps; bit k of a neighbourhood code is
# neighbour k.
_STEPS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def _deletable(sub_iteration: int) -> NDArray[np.bool_]:
    """For each of the 256 neighbourhoods: may the centre pixel go in this sub-iteration?"""
    codes = np.arange(256)
    x = [(codes >> k & 1).astype(bool) for k in range(8)]
    crossings = sum((~x[2 * k] & (x[2 * k + 1] | x[(2 * k + 2) % 8])).astype(int) for k in range(4))
    pairs_ahead = sum((x[2 * k] | x[2 * k + 1]).astype(int) for k in range(4))
    pairs_behind = sum((x[2 * k + 1] | x[(2 * k + 2) % 8]).astype(int) for k in range(4))
    fewest = np.minimum(pairs_ahead, pairs_behind)
    side = (x[1] | x[2] | ~x[7]) & x[0] if sub_iteration == 0 else (x[5] | x[6] | ~x[3]) & x[4]
    return (crossings == 1) & (fewest >= 2) & (fewest <= 3) & ~side


_DELETABLE = np.stack([_deletable(0), _deletable(1)])


def thin(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Thin a binary map until nothing changes.

    The two-sub-iteration parallel thinning of Lam, Lee and Suen (1992), equal pixel by pixel to MATLAB's
    `bwmorph(mask, 'thin', inf)` and to `skimage.morphology.thin`. Pixels outside the map count as empty.

    Args:
        mask: bool (H, W).

    Returns:
        bool (H, W), a subset of `mask`.
    """
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    steps = np.array([row * (width + 2) + column for row, column in _STEPS], np.int64)
    _thin_in_place(padded.ravel(), steps, _DELETABLE)
    return padded[1:-1, 1:-1].astype(bool)


@njit(cache=True)
def _thin_in_place(pixels, steps, deletable):
    """Only pixels beside a deletion can become deletable, so each sub-iteration looks at those alone."""
    count = 0
    for p in range(pixels.size):
        if pixels[p]:
            count += 1
    # Per sub-iteration: the pixels to look at, and bit s of `queued` for those already on list s.
    todo = np.empty((2, count), np.int64)
    sizes = np.zeros(2, np.int64)
    queued = np.zeros(pixels.size, np.uint8)
    for p in range(pixels.size):
        if pixels[p]:
            todo[0, sizes[0]] = p
            todo[1, sizes[1]] = p
            sizes[0] += 1
            sizes[1] += 1
            queued[p] = 3
    gone = np.empty(count, np.int64)
    while sizes[0] or sizes[1]:
        for s in range(2):
            n_gone = 0
            for index in range(sizes[s]):
                p = todo[s, index]
                queued[p] &= ~(1 << s)
                if not pixels[p]:
                    continue
                code = 0
                for k in range(8):
                    code |= pixels[p + steps[k]] << k
                if deletable[s, code]:
                    gone[n_gone] = p
                    n_gone += 1
            sizes[s] = 0
            for index in range(n_gone):
                pixels[gone[index]] = 0
            for index in range(n_gone):
                for k in range(8):
                    q = gone[index] + steps[k]
                    if pixels[q]:
                        for later in range(2):
                            if not queued[q] >> later & 1:
                                queued[q] |= 1 << later
                                todo[later, sizes[later]] = q
                                sizes[later] += 1
