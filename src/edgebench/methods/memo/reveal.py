"""From all masked to none: which pixels a step reveals (MEMO section on inference, and its ablation).

Every step asks the network for logits, takes the most likely class of each masked pixel as its candidate
value and that class's probability as its confidence, and reveals some of them. Nothing is ever masked again.

- `locmax`: the pixels that no masked 8-neighbour beats in confidence, at most a fifth of the image per step;
- `topk`: the most confident pixels, as many as the schedule says;
- `random`: as many as the schedule says, wherever they lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from edgebench.errors import ConfigError
from edgebench.methods.memo.network import MASK

CAP_SHARE = 0.2

_REMAINING: dict[str, Callable[[float], float]] = {
    "linear": lambda x: (1 - x) ** 2,
    "circle_x": lambda x: 1 - math.sqrt(1 - (1 - x) ** 2),
}
_REVEALED: dict[str, Callable[[float], float]] = {
    "cycloid": lambda x: math.sin(math.pi * x / 2) ** 2,
    "circle_t": lambda x: math.sin(math.pi * x / 2),
}
SCHEDULES = ("uniform", "exponential", *_REMAINING, *_REVEALED)


FULL_ROUNDS = 100
"""Rounds of a scheduled reveal that is asked for full or adaptive steps."""

SETTLED_SHARE = 0.001
"""Adaptive steps: a map of which no larger share of pixels changed in a step has stopped changing."""

SETTLED_STEPS = 2
"""Adaptive steps: for so many steps in a row the map must have stopped changing."""


@dataclass(frozen=True)
class RevealSettings:
    """How the edge map is revealed.

    Attributes:
        strategy: Which pixels a step reveals.
        steps: Network rounds, of which the last reveals all that remain. "full" goes on until no masked pixel is
            left; for topk and random, which follow a schedule, it is the authors' default of 100 rounds.
            "adaptive" (ours) is as full, but ends an image early: its whole map is what is revealed and, of masked
            pixels, the most likely class; when in two steps in a row at most one pixel in a thousand of it
            changed, the second of them reveals all that remain.
        compat: Where the authors' three programs differ. `official` (PyTorch): neighbours wrap around at the
            image's borders, and the pixels of a step beyond the cap, as those of `random`, are chosen by
            PyTorch's global generator. `native` (C++): no wrap, highest confidence first. `edgebench`: as
            native, and `random` follows a fixed priority per image.
        confidence_threshold: Locmax reveals only pixels whose confidence is above this; 0.5 is no threshold.
        schedule: Pixels per step of topk and random.

    Raises:
        ConfigError: a value is out of range.
    """

    strategy: Literal["locmax", "topk", "random"] = "locmax"
    steps: int | Literal["full", "adaptive"] = 10
    compat: Literal["edgebench", "official", "native"] = "edgebench"
    confidence_threshold: float = 0.5
    schedule: str = "uniform"

    def __post_init__(self) -> None:
        if self.strategy not in ("locmax", "topk", "random"):
            raise ConfigError(f"reveal strategy {self.strategy!r} is unknown; choose locmax, topk or random.")
        if self.compat not in ("edgebench", "official", "native"):
            raise ConfigError(f"reveal compat {self.compat!r} is unknown; choose edgebench, official or native.")
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"reveal schedule {self.schedule!r} is unknown; choose one of {', '.join(SCHEDULES)}.")
        if self.steps not in ("full", "adaptive") and (not isinstance(self.steps, int) or self.steps < 1):
            raise ConfigError(f"reveal steps {self.steps!r}: give a number from 1, 'full' or 'adaptive'.")
        if not 0 <= self.confidence_threshold < 1:
            raise ConfigError(
                f"reveal confidence_threshold {self.confidence_threshold}: give a number from 0 to below 1."
            )


Denoise = Callable[[Tensor, Tensor, int, list[int]], Tensor]
"""What a reveal asks for logits: tokens (A, H, W) int64, ratio (A,), step and the A samples of the batch that are
not finished -> (A, 2, H, W)."""


@dataclass(frozen=True)
class Revealed:
    """A revealed batch.

    Attributes:
        edges: uint8 (B, H, W), 1 on edges.
        probability: float32 (B, H, W), of an edge, in the step that revealed the pixel.
        rounds: Steps until each image was finished, length B.
    """

    edges: Tensor
    probability: Tensor
    rounds: list[int]


OnStep = Callable[[int, Tensor, Tensor], None]
"""Called after each step with its index, tokens (B, H, W) and edge probabilities (B, H, W)."""


def reveal_counts(pixels: int, steps: int, schedule: str = "uniform") -> list[int]:
    """Pixels that each of `steps` steps of topk or random reveals; they sum to `pixels`.

    The rounding is that of the authors' code: `uniform` gives the remainder to the first steps, the others to
    the last.
    """
    if schedule == "uniform":
        return [pixels // steps + (step < pixels % steps) for step in range(steps)]
    fractions = [step / steps for step in range(steps + 1)]
    if schedule == "exponential":
        counts = [int(pixels * 0.5 ** (step + 1)) for step in range(steps)]
    elif schedule in _REMAINING:
        left = [int(pixels * _REMAINING[schedule](x)) for x in fractions]
        counts = [before - after for before, after in pairwise(left)]
    else:
        done = [_REVEALED[schedule](x) for x in fractions]
        counts = [int(pixels * (after - before)) for before, after in pairwise(done)]
    counts[-1] += pixels - sum(counts)
    return counts


def local_maxima(confidence: Tensor, wrap: bool = False) -> Tensor:
    """Where no 8-neighbour has a higher value; equal neighbours do not disturb each other.

    Args:
        confidence: (B, H, W), -inf where it does not count.
        wrap: Let the neighbourhood go on at the opposite border, as the authors' PyTorch code does.

    Returns:
        Bool (B, H, W); pixels of -inf among -inf only are True too.
    """
    planes = confidence[:, None]
    if wrap:
        highest = functional.max_pool2d(functional.pad(planes, (1, 1, 1, 1), mode="circular"), 3, stride=1)
    else:
        highest = functional.max_pool2d(planes, 3, stride=1, padding=1)
    return confidence >= highest[:, 0]


def highest(score: Tensor, count: int) -> Tensor:
    """Bool (B, H, W): the `count` highest of each sample; among equals the first in raster order."""
    flat = score.flatten(1)
    order = flat.sort(dim=1, descending=True, stable=True).indices[:, :count]
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order, True).view_as(score)


def _drawn_globally(candidates: Tensor, count: int) -> Tensor:
    """`count` of each sample's candidates at random, drawing from PyTorch's global generator as the authors do."""
    chosen = torch.zeros_like(candidates).flatten(1)
    for sample, row in enumerate(candidates.flatten(1)):
        positions = row.nonzero()[:, 0]
        picked = torch.randperm(len(positions))[:count].to(positions.device)
        chosen[sample, positions[picked]] = True
    return chosen.view_as(candidates)


def reveal(
    denoise: Denoise,
    shape: tuple[int, int, int],
    settings: RevealSettings,
    device: torch.device | str = "cpu",
    priority: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Revealed:
    """Reveal a batch of edge maps.

    A sample whose threshold lets nothing through would get the same answer for ever; it is finished at once.
    The images of a batch do not influence each other, and a finished one is asked about no more. A step waits
    for the device at most once.

    Args:
        denoise: Gives the logits of a state, guidance included.
        shape: (B, H, W).
        settings: Strategy, steps and where to follow the authors' variants.
        device: Where the state lives.
        priority: (B, H, W), for strategy random except with compat official: high ones are revealed first.
        on_step: Called after every step.

    Raises:
        ConfigError: `priority` is missing where it is needed.
    """
    batch, height, width = shape
    pixels = height * width
    tokens = torch.full(shape, MASK, dtype=torch.int64, device=device)
    probability = torch.zeros(shape, device=device)
    whole_map = tokens
    remaining, rounds, settled = [pixels] * batch, [0] * batch, [0] * batch
    steps, scheduled = settings.steps, None
    if settings.strategy != "locmax":
        scheduled = reveal_counts(pixels, steps if isinstance(steps, int) else FULL_ROUNDS, settings.schedule)
    last = steps - 1 if isinstance(steps, int) else math.inf

    step = 0
    active = list(range(batch))
    while active and step <= last:
        rows = None if len(active) == batch else torch.tensor(active, device=device)
        state = _taken(tokens, rows)
        ratio = torch.tensor([remaining[each] / pixels for each in active], dtype=torch.float32, device=device)
        logits = denoise(state, ratio, step, active).float()
        probabilities = logits.permute(0, 2, 3, 1).softmax(dim=-1)
        classes = probabilities.argmax(dim=-1)
        masked = state == MASK
        confidence = probabilities.amax(dim=-1).masked_fill(~masked, -math.inf)
        counting: dict[str, Tensor] = {}
        if scheduled is not None:
            own = None if priority is None else _taken(priority, rows)
            chosen = _scheduled_choice(confidence, masked, scheduled[step], settings, own)
        elif step == last:
            chosen = masked
        else:
            maxima = local_maxima(confidence, wrap=settings.compat == "official")
            chosen = masked & maxima & (confidence > settings.confidence_threshold)
            counting["chosen"] = chosen.sum((1, 2))
        if steps == "adaptive":
            before, after = _taken(whole_map, rows), torch.where(masked, classes, state)
            counting["changed"] = (before != after).sum((1, 2))
            whole_map = _put(whole_map, rows, after)
        counts = dict(zip(counting, torch.stack(list(counting.values())).tolist(), strict=True)) if counting else {}

        left = [remaining[each] for each in active]
        if scheduled is not None:
            left = [each - scheduled[step] for each in left]
        elif step == last:
            left = [0] * len(active)
        else:
            cap = int(CAP_SHARE * pixels)
            written = [min(count, cap) for count in counts["chosen"]]
            chosen = _capped(chosen, confidence, counts["chosen"], cap, settings)
            # A tiny image has a cap of 0, which would hold it up for ever, like a threshold that nothing passes.
            chosen = _with_all(chosen, masked, [not done for done in written])
            left = [each - done if done else 0 for each, done in zip(left, written, strict=True)]
        if steps == "adaptive":
            for each, changed in zip(active, counts["changed"], strict=True):
                settled[each] = settled[each] + 1 if changed <= SETTLED_SHARE * pixels else 0
            done = [settled[each] >= SETTLED_STEPS for each in active]
            chosen = _with_all(chosen, masked, done)
            left = [0 if finished else each for each, finished in zip(left, done, strict=True)]

        tokens = _put(tokens, rows, torch.where(chosen, classes, state))
        probability = _put(probability, rows, torch.where(chosen, probabilities[..., 1], _taken(probability, rows)))
        for each, after_step in zip(active, left, strict=True):
            rounds[each], remaining[each] = step + 1, after_step
        if on_step is not None:
            on_step(step, tokens, probability)
        active = [each for each in active if remaining[each]]
        step += 1
    return Revealed(tokens.to(torch.uint8), probability, rounds)


def _taken(batch: Tensor, rows: Tensor | None) -> Tensor:
    """The samples `rows` of a batch; None stands for all."""
    return batch if rows is None else batch[rows]


def _put(batch: Tensor, rows: Tensor | None, values: Tensor) -> Tensor:
    """The batch with new values for the samples `rows`; None stands for all."""
    return values if rows is None else batch.index_copy(0, rows, values)


def _with_all(chosen: Tensor, masked: Tensor, samples: list[bool]) -> Tensor:
    """What is chosen, and everything masked of some samples."""
    if not any(samples):
        return chosen
    return chosen | (masked & torch.tensor(samples, device=masked.device).view(-1, 1, 1))


def _scheduled_choice(
    confidence: Tensor, masked: Tensor, count: int, settings: RevealSettings, priority: Tensor | None
) -> Tensor:
    """What topk or random reveals in a step of `count` pixels."""
    if settings.strategy == "topk":
        return highest(confidence, count)
    if settings.compat == "official":
        return _drawn_globally(masked, count)
    if priority is None:
        raise ConfigError("reveal random needs a priority per pixel unless compat is 'official'.")
    return highest(priority.masked_fill(~masked, -math.inf), count)


def _capped(candidates: Tensor, confidence: Tensor, counts: list[int], cap: int, settings: RevealSettings) -> Tensor:
    """At most `cap` of each sample's candidates, of which there are `counts`."""
    if settings.compat == "official":
        return _drawn_globally(candidates, cap)
    if max(counts) > cap:
        return candidates & highest(confidence.masked_fill(~candidates, -math.inf), cap)
    return candidates
