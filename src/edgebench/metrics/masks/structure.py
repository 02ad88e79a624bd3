"""S-measure: how alike two maps are as objects and as regions (Fan et al., ICCV 2017)."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgebench.metrics.masks.protocols import MaskProtocol
from edgebench.metrics.masks.tally import Tally


class _Group(NamedTuple):
    """Pixels, their mean, and their squared differences from it."""

    size: int
    mean: float
    squares: float


def s_measure(tally: Tally, truth: NDArray[np.bool_], protocol: MaskProtocol) -> float:
    """The mean of object and region similarity, from the moments of quarters and classes.

    Where the centre of mass lies in the last row or column, quarters are empty; they count for nothing (the
    public evaluators give NaN there).

    Args:
        tally: Counts of the pair.
        truth: bool (H, W), its ground truth.
        protocol: Which conventions.

    Returns:
        At most about 1; at least 0 where the protocol clips.
    """
    background, foreground = (
        reduce(_join, (_Group(int(n), float(m), float(q)) for n, m, q in zip(*columns, strict=True)))
        for columns in zip(tally.pixels.T, tally.mean.T, tally.squares.T, strict=True)
    )
    pixels = background.size + foreground.size
    if not foreground.size:
        return 1 - background.mean
    if not background.size:
        return foreground.mean
    share = foreground.size / pixels
    dark = background._replace(mean=1 - background.mean)
    objects = share * _object(foreground, protocol) + (1 - share) * _object(dark, protocol)
    row, column = tally.centre
    quarters = (truth[:row, :column], truth[:row, column:], truth[row:, :column], truth[row:, column:])
    regions = 0.0
    for part, count, mean, squares in zip(quarters, tally.pixels, tally.mean, tally.squares, strict=True):
        if part.size:
            groups = [_Group(int(n), float(m), float(q)) for n, m, q in zip(count, mean, squares, strict=True)]
            regions += part.size / pixels * _region(groups[0], groups[1], part, protocol)
    score = float(0.5 * objects + 0.5 * regions)
    return max(score, 0.0) if protocol.clip_s else score


def _join(a: _Group, b: _Group) -> _Group:
    """Chan, Golub and LeVeque's update; exact when both have the same mean."""
    if not a.size or not b.size:
        return b if not a.size else a
    count, apart = a.size + b.size, b.mean - a.mean
    return _Group(count, a.mean + apart * b.size / count, a.squares + b.squares + apart**2 * a.size * b.size / count)


def _object(group: _Group, protocol: MaskProtocol) -> float:
    spread = (group.squares / _freedom(group.size, protocol)) ** 0.5
    return 2 * group.mean / (group.mean**2 + 1 + spread + protocol.small_s)


def _region(background: _Group, foreground: _Group, part: NDArray[np.bool_], protocol: MaskProtocol) -> float:
    """Structural similarity of one quarter; of a binary mask the covariance needs only the classes' means."""
    count, x, squares = _join(background, foreground)
    freedom = _freedom(count, protocol)
    if protocol.single_truth:
        single = part.astype(np.float32)
        mean = single.mean()
        y, above, y_squared, spread = float(mean), float(1 - mean), float(mean * mean), float(single.var())
    else:
        y = foreground.size / count
        above, y_squared, spread = 1 - y, y * y, foreground.size * background.size / count / freedom
    together = foreground.size * (foreground.mean - x) * above - background.size * (background.mean - x) * y
    similar = 4 * x * y * together / max(count - 1, 1)
    different = (x**2 + y_squared) * (squares / freedom + spread)
    if similar != 0:
        return similar / (different + protocol.small_s)
    return 1.0 if different == 0 else 0.0


def _freedom(count: int, protocol: MaskProtocol) -> int:
    return max(count - 1, 1) if protocol.sample_spread else count
