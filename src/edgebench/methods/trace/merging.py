"""Masks that overlap much are joined, until none do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Joined(NamedTuple):
    """Masks after joining.

    Attributes:
        masks: bool (n, H, W).
        scores: float64 (n,), the highest of the masks that went into each.
        members: Indices of these masks, in rising order.
    """

    masks: NDArray[np.bool_]
    scores: NDArray[np.float64]
    members: list[list[int]]


def merge_masks(
    masks: NDArray[np.bool_],
    scores: Sequence[float] | NDArray[np.floating],
    above: float = 0.5,
    groups: Sequence[int] | NDArray[np.integer] | None = None,
) -> Joined:
    """Join the two masks of highest IoU, again and again, while that is above a threshold.

    Of equal IoUs the pair of the lowest indices comes first; what was joined takes the lower index. So the result
    has no pair above the threshold, and where no two IoUs are equal it does not depend on the order of the masks.
    Only the IoUs of a new mask are computed anew, on 64 pixels at a time.

    Args:
        masks: bool (n, H, W); an empty mask has IoU 0 with all others.
        scores: One per mask.
        above: IoU in [0, 1]; 1 joins nothing.
        groups: Only masks of the same group are joined, if given.

    Source: TRACE (DiffEGG v1, algorithm 4), with its threshold; it names no order.
    """
    count, best = len(masks), np.array(scores, dtype=np.float64)
    members = [[index] for index in range(count)]
    if count < 2:
        return Joined(masks.copy(), best, members)
    words = _packed(masks)
    areas = np.bitwise_count(words).sum(1, dtype=np.int64)
    apart = np.ones((count, count), dtype=bool)  # pairs that may not be joined: the diagonal and what is gone
    if groups is None:
        apart[:] = False
    else:
        kinds = np.asarray(groups)
        apart = kinds[:, None] != kinds[None, :]
    np.fill_diagonal(apart, True)
    overlap = np.zeros((count, count))
    for index in range(count):
        overlap[index, index:] = _iou(words, areas, index)[index:]
    overlap = np.maximum(overlap, overlap.T)
    overlap[apart] = -1
    kept = np.ones(count, dtype=bool)
    while True:
        # Of the symmetric matrix the first largest element lies above the diagonal: lowest indices first.
        first, second = divmod(int(overlap.argmax()), count)
        if overlap[first, second] <= above:
            break
        words[first] |= words[second]
        areas[first] = np.bitwise_count(words[first]).sum(dtype=np.int64)
        best[first] = max(best[first], best[second])
        members[first] = sorted(members[first] + members[second])
        kept[second] = False
        apart[second, :] = apart[:, second] = True
        overlap[second, :] = overlap[:, second] = -1
        fresh = np.where(apart[first], -1, _iou(words, areas, first))
        overlap[first, :] = overlap[:, first] = fresh
    left = np.flatnonzero(kept)
    return Joined(_unpacked(words[left], masks.shape[1:]), best[left], [members[index] for index in left])


def _packed(masks: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """64 pixels a number, uint64 (n, words)."""
    count, pixels = len(masks), masks[0].size
    octets = np.zeros((count, -(-pixels // 64) * 8), dtype=np.uint8)
    octets[:, : -(-pixels // 8)] = np.packbits(masks.reshape(count, -1), axis=1)
    return octets.view(np.uint64)


def _unpacked(words: NDArray[np.uint64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    pixels = int(np.prod(shape))
    bits = np.unpackbits(words.view(np.uint8), axis=1, count=pixels)
    return bits.reshape(len(words), *shape).astype(bool)


def _iou(words: NDArray[np.uint64], areas: NDArray[np.int64], index: int) -> NDArray[np.float64]:
    """IoU of one mask with all."""
    shared = np.bitwise_count(words & words[index]).sum(1, dtype=np.int64)
    union = areas + areas[index] - shared
    return np.divide(shared, union, out=np.zeros(len(areas)), where=union > 0)
