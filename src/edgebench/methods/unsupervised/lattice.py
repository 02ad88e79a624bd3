"""Gaussian filtering of values at points of a space of several dimensions, by the permutohedral lattice.

Each point hands its value to the corners of the simplex of the lattice that it lies in, the lattice is blurred along
each of its axes, and the points collect what came to their corners. The time grows with the number of points, not with
its square. The kernel is approximate: close to a Gaussian, and not the same everywhere.

Source: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from edgebench.errors import ConfigError

LARGEST_DIMENSION, LARGEST_SPAN = 5, 100
_BITS = 12  # of a coordinate in a packed key: five of them fill 60 bits
_EMPTY = np.int64(-1)


class Lattice:
    """The lattice of one set of points, built once and used for any number of filterings."""

    def __init__(self, points: NDArray[np.floating]) -> None:
        """Find the corners and neighbours.

        Args:
            points: (n, d), d at most 5, in units of the kernel's standard deviation; each axis spans less than 100.

        Raises:
            ConfigError: the points do not fit the packed keys of the lattice.
        """
        placed: NDArray[np.float64] = np.ascontiguousarray(points - points.min(axis=0), dtype=np.float64)
        if points.shape[1] > LARGEST_DIMENSION or placed.max(initial=0) >= LARGEST_SPAN:
            raise ConfigError(
                f"A lattice of {points.shape[1]} dimensions, up to {placed.max(initial=0):.0f} deviations long, is too "
                f"large. Take at most {LARGEST_DIMENSION} dimensions and {LARGEST_SPAN} deviations: a wider kernel."
            )
        keys, self._shares = _corners(placed)
        self._corner, unique = _numbered(keys)
        self._before, self._after = _neighbours(unique, points.shape[1])

    def filter(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Sums of `values` weighted by the kernel, up to one constant factor for all.

        Args:
            values: (n, c).

        Returns:
            float32 (n, c).
        """
        return _filtered(
            np.ascontiguousarray(values, dtype=np.float32), self._corner, self._shares, self._before, self._after
        )


@njit(cache=True)
def _corners(points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Packed keys (n, d + 1) of the corners of each point's simplex, and its barycentric coordinates in it.

    Points are laid into the plane of d + 1 dimensions whose coordinates sum to zero. The lattice there is that of
    whole numbers which all leave the same remainder by d + 1; a simplex has one corner of each remainder. The nearest
    corner of remainder 0, and the order of the differences to it, say which simplex it is.
    """
    n, d = points.shape
    keys = np.empty((n, d + 1), dtype=np.int64)
    shares = np.empty((n, d + 1), dtype=np.float32)
    scale = np.empty(d)
    for axis in range(d):
        # Splatting and blurring together have this deviation on the lattice.
        scale[axis] = (d + 1) * np.sqrt(2 / 3) / np.sqrt((axis + 1.0) * (axis + 2.0))
    raised = np.empty(d + 1)
    nearest = np.empty(d + 1, dtype=np.int64)
    rank = np.empty(d + 1, dtype=np.int64)
    weight = np.empty(d + 2)
    for point in range(n):
        total = 0.0
        for axis in range(d, 0, -1):
            scaled = points[point, axis - 1] * scale[axis - 1]
            raised[axis] = total - axis * scaled
            total += scaled
        raised[0] = total
        excess = 0
        for axis in range(d + 1):
            steps = int(np.floor(raised[axis] / (d + 1) + 0.5))
            nearest[axis] = steps * (d + 1)
            excess += steps
        rank[:] = 0
        for one in range(d):
            for other in range(one + 1, d + 1):
                if raised[one] - nearest[one] < raised[other] - nearest[other]:
                    rank[one] += 1
                else:
                    rank[other] += 1
        # Rounding each coordinate may leave the plane: those that were rounded most are set back.
        for axis in range(d + 1):
            rank[axis] += excess
            if rank[axis] < 0:
                rank[axis] += d + 1
                nearest[axis] += d + 1
            elif rank[axis] > d:
                rank[axis] -= d + 1
                nearest[axis] -= d + 1
        weight[:] = 0
        for axis in range(d + 1):
            part = (raised[axis] - nearest[axis]) / (d + 1)
            weight[d - rank[axis]] += part
            weight[d + 1 - rank[axis]] -= part
        weight[0] += 1 + weight[d + 1]
        for corner in range(d + 1):
            key = np.int64(0)
            for axis in range(d):
                step = corner if rank[axis] <= d - corner else corner - (d + 1)
                key = (key << _BITS) + (nearest[axis] + step + (1 << (_BITS - 1)))
            keys[point, corner] = key
            shares[point, corner] = weight[corner]
    return keys, shares


@njit(cache=True)
def _find(table: NDArray[np.int64], key: int) -> int:
    """Where a key lies in an open hash table, or the empty place where it would."""
    mask = len(table) - 1
    hashed = key * 0x9E3779B97F4A7C1
    place = (hashed ^ (hashed >> 29)) & mask
    while table[place] not in (_EMPTY, key):
        place = (place + 1) & mask
    return place


@njit(cache=True)
def _table(size: int) -> NDArray[np.int64]:
    places = 64
    while places < 2 * size:
        places *= 2
    return np.full(places, _EMPTY)


@njit(cache=True)
def _numbered(keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Numbers (n, d + 1) of the distinct keys, by first appearance, and these keys."""
    n, corners = keys.shape
    table = _table(n * corners)
    number = np.zeros(len(table), dtype=np.int32)
    unique = np.empty(n * corners, dtype=np.int64)
    result = np.empty((n, corners), dtype=np.int32)
    count = 0
    for point in range(n):
        for corner in range(corners):
            key = keys[point, corner]
            place = _find(table, key)
            if table[place] == _EMPTY:
                table[place], number[place], unique[count] = key, count, key
                count += 1
            result[point, corner] = number[place]
    return result, unique[:count].copy()


@njit(cache=True)
def _neighbours(unique: NDArray[np.int64], d: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Numbers (d + 1, m) of the neighbours on both sides along each axis; m where there is none."""
    m = len(unique)
    table = _table(m)
    number = np.zeros(len(table), dtype=np.int32)
    for index in range(m):
        place = _find(table, unique[index])
        table[place], number[place] = unique[index], index
    before = np.full((d + 1, m), m, dtype=np.int32)
    after = np.full((d + 1, m), m, dtype=np.int32)
    ones = np.int64(0)
    for _ in range(d):
        ones = (ones << _BITS) + 1
    for axis in range(d + 1):
        # One step along an axis: d there and -1 elsewhere. The last coordinate is not part of the key.
        step = -ones
        if axis < d:
            step += np.int64(d + 1) << np.int64(_BITS * (d - 1 - axis))
        for index in range(m):
            place = _find(table, unique[index] - step)
            if table[place] != _EMPTY:
                before[axis, index] = number[place]
            place = _find(table, unique[index] + step)
            if table[place] != _EMPTY:
                after[axis, index] = number[place]
    return before, after


@njit(cache=True)
def _filtered(
    values: NDArray[np.float32],
    corner: NDArray[np.int32],
    shares: NDArray[np.float32],
    before: NDArray[np.int32],
    after: NDArray[np.int32],
) -> NDArray[np.float32]:
    n, channels = values.shape
    axes, m = before.shape
    # One place more, always zero, for neighbours that are not there.
    lattice = np.zeros((m + 1, channels), dtype=np.float32)
    blurred = np.zeros((m + 1, channels), dtype=np.float32)
    for point in range(n):
        for index in range(axes):
            for channel in range(channels):
                lattice[corner[point, index], channel] += shares[point, index] * values[point, channel]
    half, quarter = np.float32(0.5), np.float32(0.25)
    for axis in range(axes):
        for index in range(m):
            for channel in range(channels):
                sides = lattice[before[axis, index], channel] + lattice[after[axis, index], channel]
                blurred[index, channel] = half * lattice[index, channel] + quarter * sides
        lattice, blurred = blurred, lattice
    result = np.zeros((n, channels), dtype=np.float32)
    for point in range(n):
        for index in range(axes):
            for channel in range(channels):
                result[point, channel] += shares[point, index] * lattice[corner[point, index], channel]
    return result
