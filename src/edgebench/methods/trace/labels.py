"""Ternary pseudo labels: edge, interior, or not known."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from edgebench.errors import ConfigError, DataError, nearest

InteriorRule = Literal["deviation", "lowest"]
EDGE, INTERIOR, UNKNOWN = 1, 0, -1


class PseudoLabels(NamedTuple):
    """Labels of one image and how they came about.

    Attributes:
        labels: int8 (H, W): 1 edge, 0 interior, -1 unknown.
        mean: of the scores.
        deviation: of the scores, that of the whole population.
        edge: share of pixels that are edge.
        interior: share of pixels that are interior.
        unknown: share of pixels that are neither.
        guarded: whether the rule of the mean and deviation found too little interior and the guard replaced it.
    """

    labels: Tensor
    mean: float
    deviation: float
    edge: float
    interior: float
    unknown: float
    guarded: bool


def pseudo_labels(
    scores: Tensor,
    interior: InteriorRule = "deviation",
    lowest: float = 0.5,
    guard_below: float = 0.05,
    guard_lowest: float = 0.3,
) -> PseudoLabels:
    """Pseudo edges of an ABDiv map: edge where it is above mean + deviation.

    Interior is, with `deviation` (published), where it is below mean - deviation. As divergences are skewed to the
    right, that bound can fall below 0 and leave no interior, and labels without any would teach a network that
    everything is edge. Hence the guard (not published): below `guard_below` of the pixels, the lowest
    `guard_lowest` are interior instead, and the result says so. With `lowest` (not published) the lowest half are
    interior, whatever the deviation.

    Args:
        scores: (H, W), finite.
        interior: rule of the interior.
        lowest: share of pixels of the rule `lowest`, in (0, 1]; pixels equal to the last of them count too.
        guard_below: share in [0, 1]; 0 turns the guard off.
        guard_lowest: share of pixels in (0, 1].

    Raises:
        ConfigError: the rule is unknown or a share is out of range.
        DataError: the scores are no finite map.

    Source: TRACE, ICLR 2026, for the mean and deviation.
    """
    if interior not in get_args(InteriorRule):
        raise ConfigError(f"interior rule {interior!r} is unknown.{nearest(interior, get_args(InteriorRule))}")
    for key, value in (("lowest", lowest), ("guard_lowest", guard_lowest)):
        if not 0 < value <= 1:
            raise ConfigError(f"{key} {value} is no share of the pixels. Give a number above 0, at most 1.")
    if not 0 <= guard_below <= 1:
        raise ConfigError(f"guard_below {guard_below} is no share of the pixels. Give a number from 0 to 1.")
    if scores.ndim != 2 or not scores.numel() or not scores.isfinite().all():
        raise DataError(
            f"pseudo labels: scores of shape {tuple(scores.shape)} are no finite map. Compute them again from the "
            "attention in float32."
        )
    values = scores.double()
    mean, deviation = values.mean(), values.std(correction=0)
    edge = values > mean + deviation
    guarded = False
    if interior == "lowest":
        inside = _lowest(values, lowest)
    else:
        inside = values < mean - deviation
        guarded = inside.double().mean().item() < guard_below
        if guarded:
            inside = _lowest(values, guard_lowest)
    labels = torch.full(scores.shape, UNKNOWN, dtype=torch.int8, device=scores.device)
    labels[inside] = INTERIOR
    labels[edge] = EDGE
    shares = {
        name: (labels == label).double().mean().item()
        for name, label in (("edge", EDGE), ("interior", INTERIOR), ("unknown", UNKNOWN))
    }
    return PseudoLabels(labels, mean.item(), deviation.item(), guarded=guarded, **shares)


def _lowest(values: Tensor, share: float) -> Tensor:
    count = max(round(share * values.numel()), 1)
    return values <= values.flatten().kthvalue(count).values
