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
"""Rounds of a scheduled reveal that is asked for full steps."""


@dataclass(frozen=True)
class RevealSettings:
    """How the edge map is revealed.

    Attributes:
        strategy: Which pixels a step reveals.
        steps: Network rounds, of which the last reveals all that remain. "full" goes on until no masked pixel is
            left; for topk and random, which follow a schedule, it is the authors' default of 100 rounds.
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
    steps: int | Literal["full"] = 10
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
        if self.steps != "full" and (not isinstance(self.steps, int) or self.steps < 1):
            raise ConfigError(f"reveal steps {self.steps!r}: give a number from 1, or 'full'.")


Denoise = Callable[[Tensor, Tensor, int], Tensor]
"""What a reveal asks for logits: tokens (B, H, W) int64, ratio (B,), step -> (B, 2, H, W)."""


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
    The images of a batch do not influence each other.

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
    remaining = [pixels] * batch
    rounds = [0] * batch
    steps, scheduled = settings.steps, None
    if settings.strategy != "locmax":
        scheduled = reveal_counts(pixels, FULL_ROUNDS if steps == "full" else steps, settings.schedule)
    last = math.inf if steps == "full" else steps - 1

    step = 0
    while any(remaining) and step <= last:
        ratio = torch.tensor([left / pixels for left in remaining], dtype=torch.float32, device=device)
        logits = denoise(tokens, ratio, step).float()
        probabilities = logits.permute(0, 2, 3, 1).softmax(dim=-1)
        masked = tokens == MASK
        confidence = probabilities.amax(dim=-1).masked_fill(~masked, -math.inf)
        rounds = [count + (left > 0) for count, left in zip(rounds, remaining, strict=True)]
        if scheduled is not None:
            chosen = _scheduled_choice(confidence, masked, scheduled[step], settings, priority)
            remaining = [left - scheduled[step] for left in remaining]
        elif step == last:
            chosen, remaining = masked, [0] * batch
        else:
            chosen, remaining = _locmax_choice(confidence, masked, remaining, settings)
        tokens = torch.where(chosen, probabilities.argmax(dim=-1), tokens)
        probability = torch.where(chosen, probabilities[..., 1], probability)
        if on_step is not None:
            on_step(step, tokens, probability)
        step += 1
    return Revealed(tokens.to(torch.uint8), probability, rounds)


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


def _locmax_choice(
    confidence: Tensor, masked: Tensor, remaining: list[int], settings: RevealSettings
) -> tuple[Tensor, list[int]]:
    """What locmax reveals in a step, and what is masked after it; waits for the device once."""
    cap = int(CAP_SHARE * masked[0].numel())
    maxima = local_maxima(confidence, wrap=settings.compat == "official")
    chosen = masked & maxima & (confidence > settings.confidence_threshold)
    counts = chosen.sum((1, 2)).tolist()
    if settings.compat == "official":
        chosen = _drawn_globally(chosen, cap)
    elif max(counts) > cap:
        chosen = chosen & highest(confidence.masked_fill(~chosen, -math.inf), cap)
    # A tiny image has a cap of 0, which would hold it up for ever, like a threshold that nothing passes.
    written = [min(count, cap) for count in counts]
    stalled = [left > 0 and done == 0 for left, done in zip(remaining, written, strict=True)]
    if any(stalled):
        chosen = chosen | (masked & torch.tensor(stalled, device=masked.device).view(-1, 1, 1))
    left = [0 if stuck else n - done for n, done, stuck in zip(remaining, written, stalled, strict=True)]
    return chosen, left
