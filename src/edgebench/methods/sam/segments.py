"""Thin lines as segments between junctions and ends, each of one level."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


def trace_segments(lines: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split thin lines at their junctions.

    In the graph of 8-neighbours, pixels with three or more neighbours are junctions and those with one are
    ends. A segment is a path from one of them to the next, both included; a closed line that meets none is a
    segment too. Single pixels are none.

    Args:
        lines: bool (H, W).

    Returns:
        Flat indices of the segments' pixels in order, int64 (P,), one segment after the other, and where each
        segment ends in them, int64 (S,).
    """
    height, width = lines.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = lines
    stride = width + 2
    steps = np.array([row * stride + column for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column], np.int64)
    pixels, ends = _trace(padded.ravel(), steps)
    rows, columns = np.divmod(pixels, stride)
    return (rows - 1) * width + columns - 1, ends


def majority_levels(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give each segment of the lines `levels > 0` the level that most of its pixels have.

    Of equally frequent levels the lowest is taken; a junction gets the highest of its segments. Single pixels
    go, as in the authors' code.

    Args:
        levels: uint8 (H, W), 0 where there is no line.

    Returns:
        uint8 (H, W).
    """
    pixels, ends = trace_segments(levels > 0)
    segment = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    counts = np.zeros((len(ends), int(levels.max(initial=0)) + 1), dtype=np.int32)
    np.add.at(counts, (segment, levels.ravel()[pixels]), 1)
    result = np.zeros(levels.size, dtype=np.uint8)
    np.maximum.at(result, pixels, counts.argmax(1)[segment].astype(np.uint8))
    return result.reshape(levels.shape)


@njit(cache=True)
def _trace(lines, steps):
    degree = np.zeros(lines.size, np.uint8)
    total = 0
    for p in range(lines.size):
        if lines[p]:
            for step in steps:
                degree[p] += lines[p + step]
            total += 1 if degree[p] == 2 else degree[p]
    pixels = np.empty(total, np.int64)  # the inside of segments once, their ends once per segment
    ends = np.empty(total, np.int64)
    inside = np.zeros(lines.size, np.bool_)
    size = count = 0
    for p in range(lines.size):
        if not lines[p] or degree[p] == 2:
            continue
        for step in steps:
            q = p + step
            # A path of two ends is met from both, any other one is marked by its inside.
            if not lines[q] or inside[q] or (degree[q] != 2 and q < p):
                continue
            pixels[size] = p
            size += 1
            before = p
            while degree[q] == 2:
                inside[q] = True
                pixels[size] = q
                size += 1
                for onward in steps:
                    following = q + onward
                    if lines[following] and following != before:
                        break
                before, q = q, following
            pixels[size] = q
            size += 1
            ends[count] = size
            count += 1
    for first in range(lines.size):
        if not lines[first] or degree[first] != 2 or inside[first]:
            continue
        before = q = first
        while True:
            inside[q] = True
            pixels[size] = q
            size += 1
            for onward in steps:
                following = q + onward
                if lines[following] and following != before and (following == first or not inside[following]):
                    break
            before, q = q, following
            if q == first:
                break
        ends[count] = size
        count += 1
    return pixels[:size], ends[:count]
