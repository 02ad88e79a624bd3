"""IEP: the time step at which instances emerge in the self-attention."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from edgebench.errors import ConfigError, DataError, nearest
from edgebench.methods.trace.divergence import measure_named, row_terms

Keep = Literal["noisier", "cleaner"]


class Emergence(NamedTuple):
    """Where the attention changes most.

    Attributes:
        kept: index of the kept map in the sequence.
        curve: divergences of consecutive maps, float64 (maps - 1,), mean over the queries.
        attention: the kept map, where it was to be held.
    """

    kept: int
    curve: Tensor
    attention: Tensor | None = None


def emergence(
    maps: Iterable[Tensor],
    keep: Keep = "noisier",
    measure: str = "kl",
    candidates: int | None = None,
    hold: bool = False,
) -> Emergence:
    """Instance emergence point: of the consecutive maps that differ most, one is kept.

    The divergence of a gap is D(cleaner || noisier), the mean over all queries. Of equal gaps the cleanest counts.
    Maps are taken one at a time and only two are held, so an iterator that makes each when asked keeps memory low;
    whoever needs the kept map makes it again.

    Args:
        maps: at least two self-attention maps (queries, keys) from clean to noisy, rows summing to 1.
        keep: the `noisier` map of the gap (ICLR 2026) or the `cleaner` one (the first preprint's algorithm).
        measure: `kl` as published, or `jsd`, `l2`, `cosine`.
        candidates: only this many maps from the clean end on can be kept, two or more; the curve shows all. None:
            every map can. It leaves out the end of pure noise.
        hold: hold the map kept so far as a third one and return it.

    Returns:
        The kept map's index, the curve and, with `hold`, the map.

    Raises:
        ConfigError: `keep`, `measure` or `candidates` is unknown or too small.
        DataError: there are fewer than two maps, or they are no distributions of one shape.

    Source: TRACE, ICLR 2026, Instance Emergence Point.
    """
    terms = measure_named(measure)
    if keep not in get_args(Keep):
        raise ConfigError(f"keep {keep!r} is unknown.{nearest(keep, get_args(Keep))}")
    if candidates is not None and candidates < 2:
        raise ConfigError(f"candidates {candidates}: two maps are the fewest that differ. Give 2 or more.")
    previous: Tensor | None = None
    previous_own = torch.zeros(0)
    curve: list[float] = []
    gap, held = 0, None
    for current in maps:
        own, cross = row_terms(terms, current, previous)
        if previous is not None:
            curve.append(terms.combine(previous_own, own, cross).mean(dtype=torch.float64).item())
            newest = len(curve) - 1
            eligible = candidates is None or newest < candidates - 1
            if newest == 0 or (eligible and curve[newest] > curve[gap]):
                gap, held = newest, (current if keep == "noisier" else previous) if hold else None
        previous, previous_own = current, own
    if not curve:
        raise DataError("emergence needs self-attention maps of at least two time steps. Give a longer time grid.")
    return Emergence(gap + (keep == "noisier"), torch.tensor(curve, dtype=torch.float64), held)
