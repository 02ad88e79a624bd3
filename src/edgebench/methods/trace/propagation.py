"""Masks grown by a random walk that edges hold back.

The walk's matrix has 69 entries in a row at IRNet's radius. It is never built: every step reads the affinities of one
half of the neighbours, row by row of the grid, for several masks at once. Nor are all steps taken. A power of the
matrix is a short sum of its Chebyshev polynomials: 256 steps need 123 products for all digits of a double, and 85 for
those of a float (Sachdeva and Vishnoi, 2014).
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from math import comb, inf
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

Pooling = Literal["max", "mean"]
Grid = NDArray[np.float64]

_TOGETHER = 16
"""Masks that walk at the same time; `_BLOCK` cells of each stay in a processor's cache."""
_BLOCK = 1024


class Cells:
    """A grid over an image: which pixels each cell covers.

    Args:
        size: (H, W) of the image.
        stride: Pixels per cell along each side; the last cells of a row or column may be smaller.
        side: Cells along each side instead, whatever the image's shape; cells share pixels where it does not divide.
    """

    def __init__(self, size: tuple[int, int], stride: int = 4, side: int | None = None) -> None:
        self.size, self.stride, self.side = size, stride, side
        self._bounds = [_bounds(length, stride, side) for length in size]
        self.shape = tuple(len(starts) for starts, _ in self._bounds)

    def strongest(self, values: NDArray[Any]) -> Grid:
        """The largest value of each cell, of an array (..., H, W)."""
        return self._reduce(np.maximum, values.astype(np.float64), -inf)

    def mean(self, values: NDArray[Any]) -> Grid:
        """The mean of each cell, of an array (..., H, W)."""
        sums = self._reduce(np.add, values, 0, dtype=np.float64)
        rows, columns = (ends - starts for starts, ends in self._bounds)
        return sums / np.outer(rows, columns)

    def to_image(self, values: Grid) -> NDArray[np.float32]:
        """A grid (h, w) at the image's size, float32 (H, W), bilinear between the cells' centres."""
        import cv2

        height, width = self.size
        rows, columns = self.shape
        # Cells of a fixed width end where the image does or beyond it, those of a fixed number always with it.
        wide = (columns * self.stride, rows * self.stride) if self.side is None else (width, height)
        grown = cv2.resize(values.astype(np.float32), wide, interpolation=cv2.INTER_LINEAR)
        return np.asarray(grown, dtype=np.float32).reshape(wide[::-1])[:height, :width]

    def _reduce(self, how: np.ufunc, values: NDArray[Any], filler: float, dtype: Any = None) -> Grid:
        for axis, (starts, ends) in zip((-2, -1), self._bounds, strict=True):
            # Every second result is of a cell, the others of what lies between it and the next. The last cell ends
            # beyond the array, which is hence one longer.
            border = [(0, 0)] * values.ndim
            border[axis] = (0, 1)
            longer = np.pad(values, border, constant_values=filler)
            both = how.reduceat(longer, np.stack([starts, ends], 1).ravel(), axis=axis, dtype=dtype)
            values = both[..., ::2, :] if axis == -2 else both[..., ::2]
        return np.asarray(values, dtype=np.float64)


def _bounds(length: int, stride: int, side: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First pixel of each cell along one side, and the one after its last."""
    if side is None:
        starts = np.arange(0, length, stride)
        return starts, np.minimum(starts + stride, length)
    cells = np.arange(side)
    return cells * length // side, -(-(cells + 1) * length // side)


def neighbours(radius: int) -> list[tuple[int, int]]:
    """(rows, columns) from a cell to its neighbours closer than `radius`, those of one half of the plane.

    Source: IRNet (Ahn et al., CVPR 2019), whose radius 5 gives 34.
    """
    return [
        (down, right)
        for down in range(radius)
        for right in range(1 - radius, radius)
        if (down or right > 0) and down * down + right * right < radius * radius
    ]


def path_to(neighbour: tuple[int, int]) -> list[tuple[int, int]]:
    """Cells on the straight way to a neighbour, both ends included: those of the box between them that are less than
    one cell from the line.

    Source: IRNet (Ahn et al., CVPR 2019).
    """
    down, right = neighbour
    length = down * down + right * right
    columns = range(min(0, right), max(0, right) + 1)
    return [(y, x) for y in range(down + 1) for x in columns if (down * x - right * y) ** 2 < length]


def propagate(
    values: NDArray[Any],
    edges: NDArray[Any],
    steps: int = 256,
    radius: int = 5,
    beta: float = 10.0,
    tolerance: float = 1e-14,
) -> Grid:
    """Where masks get to by a random walk: `T^steps vec(values (1 - edges))`, T row-normalised `A^beta`.

    The affinity A of two cells closer than `radius` is 1 minus the strongest edge on the straight way between them,
    1 of a cell with itself, and 0 beyond, also to what lies outside the grid. A closed line of edges of 1 lets
    nothing through; without edges the walk tends to one value all over.

    Args:
        values: (n, h, w), usually masks in [0, 1].
        edges: (h, w) in [0, 1].
        steps: Steps of the walk.
        radius: Of the neighbourhood, at least 2.
        beta: Exponent of the affinities; more makes weak edges hold better.
        tolerance: How much the Chebyshev polynomials that are left out, each within [-1, 1], add up to; the result
            differs from that of all the steps by some ten times as much of the largest value, or by 1e-12.

    Returns:
        float64 (n, h, w).

    Source: IRNet (Ahn et al., CVPR 2019), which TRACE builds on.
    """
    count, height, width = values.shape
    found = np.empty(values.shape)
    shape, inside = _around((height, width), radius)
    passable = np.zeros(shape)
    # The least of the powers along a way is the power of the least, so powers are taken of cells, not of ways.
    passable[inside] = (1 - edges) ** beta
    first, last = radius * shape[1], (radius + height) * shape[1]
    jumps, ways, ends = _ways(radius, shape[1])
    affinities = _affinities(passable.ravel(), jumps, ways, ends, first, last)
    degrees = _degrees(affinities, jumps)
    weights = np.zeros(shape)
    weights[inside] = (1 / degrees.reshape(shape))[inside]
    coefficients = chebyshev(steps, tolerance)
    for start in range(0, count, _TOGETHER):
        here = slice(start, min(start + _TOGETHER, count))
        walkers = np.zeros((here.stop - start, *shape))
        walkers[:, *inside] = values[here] * (1 - edges)
        ended = _walk(walkers.reshape(len(walkers), -1), affinities, jumps, weights.ravel(), coefficients, first, last)
        found[here] = ended.reshape(walkers.shape)[:, *inside]
    return found


def _around(size: tuple[int, int], radius: int) -> tuple[tuple[int, int], tuple[slice, slice]]:
    """Shape of a grid with a margin that no neighbourhood reaches across, and where the grid lies in it."""
    height, width = size
    inside = slice(radius, radius + height), slice(radius, radius + width)
    return (height + 2 * radius, width + 2 * radius), inside


def _ways(radius: int, row: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Distances in a grid of `row` columns, laid out in one line.

    Returns:
        To each neighbour; to the cells on the ways there, one way after the other; and where each way ends among these.
    """
    halves = neighbours(radius)
    ways = [np.array([y * row + x for y, x in path_to(each)], np.int64) for each in halves]
    jumps = np.array([y * row + x for y, x in halves], np.int64)
    return jumps, np.concatenate(ways), np.array(list(accumulate(map(len, ways))), np.int64)


@cache
def chebyshev(steps: int, tolerance: float) -> NDArray[np.float64]:
    """Coefficients c of `x^steps = sum c_k T_k(x)`, float64, cut where the rest adds up to less than `tolerance`."""
    exact = np.zeros(steps + 1)
    share = comb(steps, steps // 2) / 2**steps  # of a binomial distribution, from its middle outwards
    for degree in range(steps % 2, steps + 1, 2):
        exact[degree] = share * (2 if degree else 1)
        share *= (steps - degree) / (steps + degree + 2)
    rest = np.cumsum(exact[::-1])[::-1]
    return exact[: max(int((rest >= tolerance).sum()), 1)]


@njit(cache=True)
def _affinities(passable, jumps, ways, ends, first, last):
    """The least of `passable` on the way to each neighbour, float64 (neighbours, cells)."""
    found = np.zeros((len(jumps), passable.size))
    begin = 0
    for neighbour in range(len(jumps)):
        line = found[neighbour]
        for cell in range(first, last):
            line[cell] = passable[cell]
        for step in range(begin, ends[neighbour]):
            way = ways[step]
            for cell in range(first, last):
                line[cell] = min(line[cell], passable[cell + way])
        begin = ends[neighbour]
    return found


@njit(cache=True)
def _degrees(affinities, jumps):
    """Sum of the affinities of each cell, its own included."""
    neighbours_, cells = affinities.shape
    found = np.ones(cells)
    for neighbour in range(neighbours_):
        jump = jumps[neighbour]
        line = affinities[neighbour]
        for cell in range(cells - jump):
            found[cell] += line[cell]
            found[cell + jump] += line[cell]
    return found


@njit(cache=True)
def _walk(walkers, affinities, jumps, weights, coefficients, first, last):
    """Sum of the Chebyshev polynomials of the walk's matrix, applied to each row of `walkers` (n, cells)."""
    count = len(walkers)
    now, before = walkers.copy(), np.zeros_like(walkers)
    total = coefficients[0] * walkers
    sums = np.zeros((count, _BLOCK))
    for degree in range(1, len(coefficients)):
        share = coefficients[degree]
        for begin in range(first, last, _BLOCK):
            end = min(begin + _BLOCK, last)
            size = end - begin
            for walker in range(count):
                for place in range(size):
                    sums[walker, place] = now[walker, begin + place]
            # Two neighbours at a time, and the cells opposite: a quarter less time. Half a plane has an even number.
            for neighbour in range(0, len(jumps), 2):
                near, far = jumps[neighbour], jumps[neighbour + 1]
                there, beyond = affinities[neighbour, begin:end], affinities[neighbour + 1, begin:end]
                back = affinities[neighbour, begin - near : end - near]
                behind = affinities[neighbour + 1, begin - far : end - far]
                for walker in range(count):
                    line, cells_ = sums[walker], now[walker]
                    a, b = cells_[begin + near : end + near], cells_[begin + far : end + far]
                    c, d = cells_[begin - near : end - near], cells_[begin - far : end - far]
                    for place in range(size):
                        line[place] += (there[place] * a[place] + back[place] * c[place]) + (
                            beyond[place] * b[place] + behind[place] * d[place]
                        )
            for walker in range(count):
                line = sums[walker]
                for place in range(size):
                    cell = begin + place
                    value = line[place] * weights[cell]
                    if degree > 1:
                        value = 2 * value - before[walker, cell]
                    before[walker, cell] = value
                    total[walker, cell] += share * value
        now, before = before, now
    return total
