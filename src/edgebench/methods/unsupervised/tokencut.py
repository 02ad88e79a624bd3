"""TokenCut (Wang et al., CVPR 2022): the one object of an image, by a normalised cut of its patches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgebench.methods.unsupervised.graph import Solver, alike, second_eigenvector, unit_features


class Found(NamedTuple):
    """What a method says about one image.

    Attributes:
        masks: bool (n, h, w) on the grid of patches; they may overlap.
        fell_back: Eigenproblems that Lanczos left to the dense solver.
    """

    masks: NDArray[np.bool_]
    fell_back: int = 0


def tokencut(features: NDArray[np.floating], tau: float = 0.2, solver: Solver = "lanczos") -> Found:
    """The object: the part of the cut's foreground that is connected to its most certain patch.

    The second eigenvector is split at its mean; the side of its largest absolute value is the foreground. The rule
    does not depend on the vector's sign, which means nothing. Patches are connected by their sides. The published
    bilateral solver, which is optional there, is left out; a dense CRF may refine the mask instead.

    Args:
        features: (h, w, d), of any scale.
        tau: Cosine above which two patches are alike.
        solver: Of the eigenproblem.

    Returns:
        One mask.
    """
    grid = features.shape[:2]
    cut = second_eigenvector(alike(unit_features(features), tau), solver)
    seed = int(np.abs(cut.vector).argmax())
    above = cut.vector > cut.vector.mean()
    return Found(connected(side_of(above, seed).reshape(grid), seed)[None], int(cut.fell_back))


def side_of(above: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """The side of a split, bool (n,), that holds the patch `seed`."""
    return above if above[seed] else ~above


def connected(mask: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """The patches of a mask, bool (h, w), that are connected by their sides to the patch of flat index `seed`."""
    from scipy import ndimage

    parts, _ = ndimage.label(mask)
    return mask & (parts == parts.flat[seed])
