"""ABDiv: how much the self-attention of a token's opposite neighbours differs.

A map is read once, an image row of queries and a block of keys at a time, so that what is held beside it fits a
processor's cache. Of `sum p log p - sum p log q` the logarithm is taken once per element: the entropy of a query
and its products with the logarithms of its neighbours are all that its divergences need.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from edgebench.errors import ConfigError, DataError, nearest

Grid = tuple[int, int]
MeasureName = Literal["kl", "jsd", "l2", "cosine"]
EPS = 1e-12  # inside the logarithms, where a key got no attention
_BLOCK = 1 << 17  # elements read at once on a processor: the logarithms of three image rows fit the second cache
_ROWS = 32  # of maps that are compared row by row, as many at once
_FULL = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Measure:
    """A divergence of distributions p and q in terms that add up over blocks of keys.

    Attributes:
        prepare: from p (n, keys) and room for as much, what is computed of a row once and used for every pair with it.
        own: from p and its prepared form, a term of each row (n,).
        cross: from p, q and the prepared q, a term of each pair (n,).
        combine: from the own terms of p and q and their cross term, the divergence.
    """

    prepare: Callable[[Tensor, Tensor], Tensor]
    own: Callable[[Tensor, Tensor], Tensor]
    cross: Callable[[Tensor, Tensor, Tensor], Tensor]
    combine: Callable[[Tensor, Tensor, Tensor], Tensor]


def measure_named(name: str) -> Measure:
    """The divergence of this name.

    `kl` is KL(p || q), TRACE's own; the others are those it was compared with: `jsd`, the Jensen-Shannon divergence
    (natural logarithm, at most log 2), `l2`, the Euclidean distance, and `cosine`, one minus the cosine.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in _MEASURES:
        raise ConfigError(f"divergence {name!r} is unknown.{nearest(name, get_args(MeasureName))}")
    return _MEASURES[name]


@torch.no_grad()
def boundary_divergence(attention: Tensor, grid: Grid, measure: str = "kl") -> Tensor:
    """ABDiv of a self-attention map: D(below || above) + D(right || left) of every token.

    Outside the grid the token at the border stands in, so that a border token is compared with its one neighbour
    of that direction, and a direction of one token gives 0.

    Args:
        attention: (height * width, keys), queries in row-major order, rows summing to 1. bfloat16 and float16 are
            computed in float32 and their rows normalised again, because rounding moved their sums.
        grid: height and width in tokens.
        measure: `kl` as published, or `jsd`, `l2`, `cosine`.

    Returns:
        (height, width) in float32 (float64 for a float64 map), at least 0. KL and the entropies are in nats.

    Raises:
        ConfigError: the measure is unknown.
        DataError: the map does not fit the grid, or its rows are no distributions.

    Source: TRACE, ICLR 2026, Attention Boundary Divergence; what happens at borders is not published.
    """
    terms = measure_named(measure)
    height, width = grid
    if min(grid) < 1 or attention.ndim != 2 or len(attention) != height * width:
        raise DataError(
            f"self-attention map of shape {tuple(attention.shape)}: a grid of {height}x{width} tokens needs "
            f"{height * width} rows. Give the grid of this map."
        )
    read = _reader(attention)
    own, sums, beside, above = attention.new_zeros((4, height, width), dtype=_precision(attention))
    pairs = _neighbours(width)
    for keys in _spans(attention.shape[1], _keys_at_once(attention, width)):
        room = own.new_empty((3, width, keys.stop - keys.start))
        rows: deque[tuple[Tensor, Tensor]] = deque(maxlen=3)
        for row in range(height):
            p = read(slice(row * width, (row + 1) * width), keys)
            ready = terms.prepare(p, room[row % 3])
            rows.append((p, ready))
            sums[row].add_(p.sum(1))
            own[row].add_(terms.own(p, ready))
            for after, before, between in pairs:
                beside[row, between].add_(terms.cross(p[after], p[before], ready[before]))
            for offset, middle in _vertical(row, height):
                above[middle].add_(terms.cross(p, *rows[-1 - offset]))
    _check_sums(sums.flatten())
    down, up = _clamped(height, attention.device)
    right, left = _clamped(width, attention.device)
    result = terms.combine(own[down], own[up], above) + terms.combine(own[:, right], own[:, left], beside)
    return _finite(result)


@torch.no_grad()
def row_terms(terms: Measure, attention: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Own terms of a map's rows, and their cross terms with the same rows of another map.

    Both maps are read once, in blocks.

    Args:
        terms: the divergence.
        attention: (queries, keys), rows summing to 1, as for `boundary_divergence`; it is the second argument, q.
        before: map of the same shape, p; None gives no cross terms.

    Returns:
        Own terms of `attention` and cross terms, both (queries,), float32 or float64; cross terms are 0 without
        `before`.

    Raises:
        DataError: the maps differ in shape, or the rows of `attention` are no distributions.
    """
    if before is not None and before.shape != attention.shape:
        raise DataError(
            f"self-attention maps of shapes {tuple(before.shape)} and {tuple(attention.shape)} cannot be compared. "
            "Bring both to one grid."
        )
    read = _reader(attention)
    read_before = None if before is None else _reader(before)
    own, sums, cross = attention.new_zeros((3, len(attention)), dtype=_precision(attention))
    for keys in _spans(attention.shape[1], _keys_at_once(attention, _ROWS)):
        room = own.new_empty((_ROWS, keys.stop - keys.start))
        for rows in _spans(len(attention), _ROWS):
            q = read(rows, keys)
            ready = terms.prepare(q, room[: len(q)])
            sums[rows].add_(q.sum(1))
            own[rows].add_(terms.own(q, ready))
            if read_before is not None:
                cross[rows].add_(terms.cross(read_before(rows, keys), q, ready))
    _check_sums(sums)
    return _finite(own), _finite(cross)


def _precision(attention: Tensor) -> torch.dtype:
    return attention.dtype if attention.dtype in _FULL else torch.float32


def _reader(attention: Tensor) -> Callable[[slice, slice], Tensor]:
    """Gives a block of rows and keys in full precision, without a copy where it is kept in that."""
    if attention.dtype in _FULL:
        return lambda rows, keys: attention[rows, keys]
    if not attention.is_floating_point():
        raise DataError(f"self-attention map of {attention.dtype}: give floating-point numbers.")
    sums = torch.cat([part.sum(1, dtype=torch.float32) for part in attention.split(_ROWS)])
    _check_sums(sums, 2e-2)
    return lambda rows, keys: attention[rows, keys].float().div_(sums[rows, None])


def _keys_at_once(attention: Tensor, rows: int) -> int:
    return max(_BLOCK // rows, 256) if attention.device.type == "cpu" else attention.shape[1]


def _spans(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _neighbours(n: int) -> list[tuple[slice, slice, slice]]:
    """Positions of `n` in a line: those after, those before, and those between, border ones apart."""
    if n < 3:
        return [(slice(n - 1, n), slice(0, 1), slice(0, n))]
    inside = (slice(2, n), slice(0, n - 2), slice(1, n - 1))
    borders = (slice(1, n, n - 2), slice(0, n - 1, n - 2), slice(0, n, n - 1))
    return [inside, borders]


def _vertical(row: int, height: int) -> Iterator[tuple[int, int]]:
    """Of which rows `row` is the one below: how far up their other neighbour lies, and which they are."""
    if row:
        yield (2, row - 1) if row > 1 else (1, 0)
    if row == height - 1:
        yield (1 if row else 0), row


def _clamped(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    here = torch.arange(n, device=device)
    return (here + 1).clamp_(max=n - 1), (here - 1).clamp_(min=0)


def _check_sums(sums: Tensor, tolerance: float = 1e-3) -> None:
    wrong = ~((sums - 1).abs() <= tolerance)
    if wrong.any():
        row = int(wrong.to(torch.uint8).argmax())
        raise DataError(
            f"self-attention map: row {row} sums to {float(sums[row]):.4g}, not to 1. Normalise its rows; a sum that "
            "is no number comes from the network: compute it in float32 or bfloat16."
        )


def _finite(values: Tensor) -> Tensor:
    if not values.isfinite().all():
        raise DataError("self-attention map: it has values below 0. Give distributions, as after the softmax.")
    return values


def _dots(a: Tensor, b: Tensor) -> Tensor:
    # NumPy's product of rows is BLAS', twice as fast as torch's on a processor.
    if a.device.type == "cpu":
        return torch.from_numpy(np.vecdot(a.numpy(), b.numpy()))
    return torch.linalg.vecdot(a, b)


def _log(p: Tensor, room: Tensor) -> Tensor:
    return torch.add(p, EPS, out=room).log_()


def _entropy_of_mean(p: Tensor, q: Tensor, ready: Tensor) -> Tensor:
    mean = (p + q).mul_(0.5)
    return _dots(mean, (mean + EPS).log_())


def _squared_distance(p: Tensor, q: Tensor, ready: Tensor) -> Tensor:
    apart = p - q
    return _dots(apart, apart)


_MEASURES = {
    "kl": Measure(
        prepare=_log,
        own=_dots,
        cross=lambda p, q, log_q: _dots(p, log_q),
        combine=lambda own_p, own_q, cross: (own_p - cross).clamp_(min=0),
    ),
    "jsd": Measure(
        prepare=_log,
        own=_dots,
        cross=_entropy_of_mean,
        combine=lambda own_p, own_q, cross: ((own_p + own_q) / 2 - cross).clamp_(min=0),
    ),
    "l2": Measure(
        prepare=lambda p, room: p,
        own=lambda p, ready: p.new_zeros(len(p)),
        cross=_squared_distance,
        combine=lambda own_p, own_q, cross: cross.sqrt(),
    ),
    "cosine": Measure(
        prepare=lambda p, room: p,
        own=_dots,
        cross=lambda p, q, ready: _dots(p, q),
        combine=lambda own_p, own_q, cross: (1 - cross / (own_p * own_q).sqrt()).clamp_(min=0),
    ),
}
