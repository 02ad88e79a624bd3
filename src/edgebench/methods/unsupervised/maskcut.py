"""MaskCut (CutLER; Wang et al., CVPR 2023): several objects, by cutting the graph of patches again and again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgebench.methods.unsupervised.graph import Solver, alike, second_eigenvector, unit_features, without
from edgebench.methods.unsupervised.tokencut import Found, connected, side_of

CORNERS = 3
"""A side of the cut with so many of the image's four corners is the background."""


def maskcut(
    features: NDArray[np.floating],
    tau: float = 0.2,
    rounds: int = 3,
    largest_overlap: float = 0.5,
    smallest: float = 0.01,
    solver: Solver = "lanczos",
) -> Found:
    """The objects, one per round: the features of those found are zeroed, then the rest is cut again.

    The foreground of a cut is the side of the vector's largest absolute value, or the other one if that side holds
    three of the four corners; its object is what is connected to its most extreme patch. The authors reverse by the
    same two conditions but from a side that depends on the vector's sign; ours does not. A mask that is too small, or
    overlaps that of the round before too much, is rejected. The next round would find it again, as features are
    unchanged, so the search ends. What earlier masks cover is taken away from later ones.

    Args:
        features: (h, w, d), of any scale.
        tau: Cosine above which two patches are alike; 0.15 for the authors' pseudo masks of ImageNet.
        rounds: Largest number of masks.
        largest_overlap: IoU with the mask of the round before, itself whole, above which a mask is rejected.
        smallest: Share of the image at which a mask is rejected, or below.
        solver: Of the eigenproblem.

    Returns:
        Disjoint masks, none empty, in the order they were found.
    """
    grid = features.shape[:2]
    close = alike(unit_features(features), tau)
    taken = np.zeros(grid, dtype=bool)
    before: NDArray[np.bool_] | None = None
    masks: list[NDArray[np.bool_]] = []
    fell_back = 0
    for _ in range(rounds):
        if taken.all():
            break
        cut = second_eigenvector(without(close, taken.ravel()), solver)
        fell_back += cut.fell_back
        mask = _object(cut.vector, grid)
        if mask.mean() <= smallest or (before is not None and overlap(mask, before) > largest_overlap):
            break
        if (mask & ~taken).any():
            masks.append(mask & ~taken)
        before = mask
        taken |= mask
    return Found(np.stack(masks) if masks else np.zeros((0, *grid), dtype=bool), fell_back)


def _object(vector: NDArray[np.float64], grid: tuple[int, ...]) -> NDArray[np.bool_]:
    """The object of a cut, bool (h, w)."""
    above = vector > vector.mean()
    foreground = side_of(above, int(np.abs(vector).argmax())).reshape(grid)
    if foreground[[0, 0, -1, -1], [0, -1, 0, -1]].sum() >= CORNERS:
        foreground = ~foreground
    if not foreground.any():
        return foreground
    # The kept side lies wholly above the mean or wholly below: its most extreme patch is the farthest from it.
    away = np.where(foreground.ravel(), np.abs(vector - vector.mean()), -1)
    return connected(foreground, int(away.argmax()))


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """IoU of two masks bool (h, w), from 0 to 1; 0 where both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0
