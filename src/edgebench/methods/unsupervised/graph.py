"""Normalised cut of the graph of an image's patches: its affinity, kept as bits, and its second eigenvector.

Two patches are tied with weight 1 where their features have a cosine above a threshold, and with a tiny weight
elsewhere. So the affinity is a rank-one matrix plus a binary one, of which 3600 patches fill 1.6 MB as bits. A product
with it adds, for every eight columns, one of the 256 sums of subsets of the vector's eight values: exact in float64, in
a tenth of the time of the dense product. Lanczos needs nothing but such products.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Solver = Literal["lanczos", "dense"]

WEAK = 1e-5
"""Weight of patches that are not alike (TokenCut, MaskCut)."""
LANCZOS_VECTORS = 40
LANCZOS_RESTARTS = 60
TOLERANCE = 1e-10
_SMALLEST = 64
"""With fewer patches the dense solver is at least as fast."""


class Cut(NamedTuple):
    """The second eigenvector of a graph.

    Attributes:
        vector: float64 (n,), of unit length; its sign means nothing.
        value: Its eigenvalue, of (D - A, D).
        fell_back: Whether Lanczos did not converge, so that the dense solver was asked.
    """

    vector: NDArray[np.float64]
    value: float
    fell_back: bool = False


def unit_features(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Features (h, w, d) as float32 (h * w, d) of unit length; those that are zero stay zero."""
    flat = np.asarray(features, dtype=np.float32).reshape(-1, features.shape[-1])
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.maximum(length, np.finfo(np.float32).tiny)


def alike(features: NDArray[np.float32], tau: float) -> NDArray[np.bool_]:
    """Which patches are alike, bool (n, n): those whose unit features (n, d) have a cosine above `tau`.

    A patch is always alike to itself; one whose feature is zero is like nothing, not even itself.
    """
    close: NDArray[np.bool_] = features @ features.T > tau
    # The product of both orders may differ in the last digit, and the matrix must be symmetric.
    close |= close.T
    np.fill_diagonal(close, True)
    empty: NDArray[np.bool_] = ~np.any(features, axis=1)
    return without(close, empty)


def without(close: NDArray[np.bool_], gone: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The same where the features of the patches `gone`, bool (n,), are zero."""
    if not gone.any():
        return close
    return close & ~gone & ~gone[:, None]


def second_eigenvector(close: NDArray[np.bool_], solver: Solver = "lanczos", weak: float = WEAK) -> Cut:
    """Second smallest generalised eigenvector of (D - A, D), A being 1 where patches are alike and `weak` elsewhere.

    With the normalised affinity N = D^-1/2 A D^-1/2 this is D^-1/2 u, u being the second largest eigenvector of N.
    The largest is known, D^1/2 1; it is projected away, so that one vector is sought. Lanczos starts from a fixed
    vector; where it does not converge, the dense solver answers and the result says so.

    Args:
        close: bool (n, n), symmetric.
        solver: Lanczos, or all by the dense solver.
        weak: Weight of patches that are not alike.
    """
    if solver == "dense" or len(close) < _SMALLEST:
        return _dense(close, weak)
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    bits, n = np.packbits(close, axis=1, bitorder="little"), len(close)
    root = np.sqrt(_product(bits, np.ones(n)) * (1 - weak) + weak * n)
    first = root / np.linalg.norm(root)

    def normalised(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        vector = vector.ravel() - first * (first @ vector.ravel())
        scaled = vector / root
        image = ((1 - weak) * _product(bits, scaled) + weak * scaled.sum()) / root
        return image - first * (first @ image)

    # Eigenvalues of N lie in [-1, 1]; with one added the projected vector's is the smallest, not in the middle.
    def raised(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        flat = vector.ravel()
        return normalised(flat) + flat - first * (first @ flat)

    start = np.random.default_rng(0).standard_normal(n)
    try:
        values, vectors = eigsh(
            LinearOperator((n, n), matvec=raised, dtype=np.float64),
            k=1,
            which="LA",
            v0=start - first * (first @ start),
            ncv=min(LANCZOS_VECTORS, n - 1),
            maxiter=LANCZOS_RESTARTS,
            tol=TOLERANCE,
        )
    except ArpackError:
        return _dense(close, weak)._replace(fell_back=True)
    vector = vectors[:, 0] / root
    return Cut(vector / np.linalg.norm(vector), float(2 - values[0]))


def _dense(close: NDArray[np.bool_], weak: float) -> Cut:
    from scipy.linalg import eigh

    if len(close) < 2:
        return Cut(np.ones(len(close)), 0.0)
    affinity = np.where(close, 1.0, weak)
    root = np.sqrt(affinity.sum(1))
    n = len(close)
    values, vectors = eigh(
        affinity / root[:, None] / root, subset_by_index=(n - 2, n - 2), check_finite=False, overwrite_a=True
    )
    vector = vectors[:, 0] / root
    return Cut(vector / np.linalg.norm(vector), float(1 - values[0]))


@njit(cache=True)
def _product(bits: NDArray[np.uint8], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The product of a binary matrix (n, n), packed along its rows as (n, ceil(n / 8)), with a vector (n,)."""
    n, groups = bits.shape
    sums = np.zeros((groups, 256))
    for group in range(groups):
        for bit in range(min(8, len(vector) - 8 * group)):
            value = vector[8 * group + bit]
            for subset in range(1 << bit):
                sums[group, subset + (1 << bit)] = sums[group, subset] + value
    result = np.empty(n)
    for row in range(n):
        # Four running sums, so that additions need not wait for one another.
        a = b = c = d = 0.0
        group = 0
        while group + 4 <= groups:
            a += sums[group, bits[row, group]]
            b += sums[group + 1, bits[row, group + 1]]
            c += sums[group + 2, bits[row, group + 2]]
            d += sums[group + 3, bits[row, group + 3]]
            group += 4
        while group < groups:
            a += sums[group, bits[row, group]]
            group += 1
        result[row] = (a + b) + (c + d)
    return result
