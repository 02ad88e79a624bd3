"""TRACE's first stage for one picture: the time step at which instances emerge, ABDiv there, and pseudo labels."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgebench.errors import ConfigError, DataError, nearest
from edgebench.methods.trace.backbone import STEPS, Backbone
from edgebench.methods.trace.capture import attention_map, token_grid
from edgebench.methods.trace.divergence import MeasureName, boundary_divergence
from edgebench.methods.trace.emergence import Keep, emergence
from edgebench.methods.trace.labels import InteriorRule, PseudoLabels, pseudo_labels
from edgebench.methods.trace.squares import in_range, square

Noise = Literal["shared", "independent"]
TAUS = (0, *range(99, STEPS, 100))
"""Levels of noise of the search: every hundredth, and the clean picture."""
_HELD = 1 << 28  # bytes of a map up to which the kept one is held; larger ones are computed again
_DEVIATIONS = 3


@dataclass(frozen=True)
class ExtractSettings:
    """How TRACE's first stage is run. What the papers leave open is a setting with our choice as its default.

    Attributes:
        taus: Levels of noise of the search, from clean to noisy.
        tau: A single level instead of the search.
        tau_max: The noisiest level that may be kept; None allows all. The curve shows all.
        keep: Which end of the gap: the `noisier` (ICLR 2026) or the `cleaner` (the first preprint's algorithm).
        noise: The same for all levels of a picture (`shared`) or new at each (`independent`, the preprint's).
        measure: Divergence of the search and of ABDiv: `kl` as published, `jsd`, `l2` or `cosine`.
        blocks: Self-attention blocks by index or name, see `choose_blocks`; None takes all.
        interior: Rule of the interior; it and the following as in `pseudo_labels`.
        lowest: Share of pixels of the rule `lowest`.
        guard_below: Share of interior below which the guard steps in.
        guard_lowest: Share of pixels that it makes interior.

    Raises:
        ConfigError: a value is unknown or out of range.
    """

    taus: tuple[int, ...] = TAUS
    tau: int | None = None
    tau_max: int | None = 899
    keep: Keep = "noisier"
    noise: Noise = "shared"
    measure: MeasureName = "kl"
    blocks: tuple[int | str, ...] | None = None
    interior: InteriorRule = "deviation"
    lowest: float = 0.5
    guard_below: float = 0.05
    guard_lowest: float = 0.3

    def __post_init__(self) -> None:
        for key, value, known in (
            ("keep", self.keep, get_args(Keep)),
            ("noise", self.noise, get_args(Noise)),
            ("measure", self.measure, get_args(MeasureName)),
            ("interior", self.interior, get_args(InteriorRule)),
        ):
            if value not in known:
                raise ConfigError(f"TRACE's first stage: {key} {value!r} is unknown.{nearest(value, known)}")
        levels = self.taus if self.tau is None else (self.tau,)
        if list(levels) != sorted(set(levels)) or not levels or not 0 <= levels[0] <= levels[-1] < STEPS:
            raise ConfigError(
                f"TRACE's first stage: levels of noise {levels} are not ascending numbers from 0 to {STEPS - 1}."
            )
        if self.tau is None and self.candidates < 2:
            raise ConfigError(
                f"TRACE's first stage: taus {self.taus} has {self.candidates} levels up to tau_max {self.tau_max}; a "
                "search needs two. Give more, or a single tau."
            )

    @property
    def candidates(self) -> int:
        """How many levels of the search may be kept."""
        return sum(self.tau_max is None or tau <= self.tau_max for tau in self.taus)


@dataclass(frozen=True)
class Extraction:
    """What the first stage says of one picture.

    Attributes:
        scores: ABDiv, float32 (h, w) on the grid of tokens, at least 0; on the CPU.
        labels: Pseudo labels int8 (h, w) and how they came about.
        taus: Levels of noise that were looked at; none for a network without time.
        curve: Divergences of neighbouring levels, float64 (levels - 1,); empty without a search.
        kept: The level of `scores`; None for a network without time.
        seconds: What it took, by part: `search` (or `map` without one), `kept` (the map computed again), `abdiv`.
    """

    scores: Tensor
    labels: PseudoLabels
    taus: tuple[int, ...]
    curve: Tensor
    kept: int | None
    seconds: dict[str, float] = field(compare=False)


@torch.no_grad()
def extract(
    backbone: Backbone,
    image: NDArray[np.uint8],
    image_id: str,
    seed: int = 0,
    settings: ExtractSettings | None = None,
    device: torch.device | str = "cpu",
) -> Extraction:
    """Instance edges of one picture, without any training.

    Two maps are held while searching, and the kept one besides where it is small. A network without time is looked at
    once.

    Args:
        backbone: The network, on `device`.
        image: uint8 (H, W, 3) RGB of any size; it is resized to the backbone's square.
        image_id: It and `seed` decide the noise, on every machine alike.
        seed: Of the noise.
        settings: How; None takes the defaults.
        device: Where to compute.

    Raises:
        ConfigError: a block is unknown.
        DataError: the network answers with what is no number.
    """
    settings = settings or ExtractSettings()
    clock = _Clock(torch.device(device))
    clean = backbone.encode(in_range(square(image, backbone.size))[None].to(device))
    try:
        attention, kept, curve = _searched(backbone, clean, image_id, seed, settings, clock)
        grid = token_grid(len(attention), *clean.shape[-2:])
        scores = boundary_divergence(attention, grid, settings.measure).float().cpu()
    except DataError as error:
        raise DataError(f"{image_id}: {error}") from error
    clock.stop("abdiv")
    labels = pseudo_labels(scores, settings.interior, settings.lowest, settings.guard_below, settings.guard_lowest)
    return Extraction(scores, labels, levels(backbone, settings), curve, kept, clock.seconds)


def _searched(
    backbone: Backbone, clean: Tensor, image_id: str, seed: int, settings: ExtractSettings, clock: _Clock
) -> tuple[Tensor, int | None, Tensor]:
    """The kept map, its level, and the curve of the search, if there is one."""
    taus = levels(backbone, settings)
    if len(taus) < 2:
        kept = taus[0] if taus else None
        attention = attention_at(backbone, clean, kept, image_id, seed, settings)
        clock.stop("map")
        return attention, kept, torch.zeros(0, dtype=torch.float64)
    maps: Iterator[Tensor] = (each for _, each in trajectory(backbone, clean, image_id, seed, settings))
    first = next(maps)
    small = first.numel() * first.element_size() <= _HELD
    maps = _again(first, maps)
    del first  # or it would be held to the end
    found = emergence(maps, settings.keep, settings.measure, settings.candidates, hold=small)
    clock.stop("search")
    if found.attention is not None:
        return found.attention, taus[found.kept], found.curve
    attention = attention_at(backbone, clean, taus[found.kept], image_id, seed, settings)
    clock.stop("kept")
    return attention, taus[found.kept], found.curve


def levels(backbone: Backbone, settings: ExtractSettings) -> tuple[int, ...]:
    """Levels of noise that are looked at, from clean to noisy; none for a network without time."""
    if backbone.schedule is None:
        return ()
    return settings.taus if settings.tau is None else (settings.tau,)


def trajectory(
    backbone: Backbone, clean: Tensor, image_id: str, seed: int, settings: ExtractSettings
) -> Iterator[tuple[int, Tensor]]:
    """Level of noise and self-attention map (tokens, tokens), one after the other, from clean to noisy.

    Args:
        backbone: A network with time.
        clean: Latents (1, C, h, w).
        image_id: Decides the noise, with `seed`.
        seed: Of the noise.
        settings: How.
    """
    for tau in levels(backbone, settings):
        yield tau, attention_at(backbone, clean, tau, image_id, seed, settings)


def attention_at(
    backbone: Backbone, clean: Tensor, tau: int | None, image_id: str, seed: int, settings: ExtractSettings
) -> Tensor:
    """The self-attention map (tokens, tokens) at a level of noise, None for a network without time.

    Args:
        backbone: The network.
        clean: Latents (1, C, h, w).
        tau: Level of noise; the noise depends on it only where it is `independent`.
        image_id: Decides the noise, with `seed`.
        seed: Of the noise.
        settings: How.
    """
    noisy = clean
    if tau is not None and backbone.schedule is not None:
        drawn = noise_for(image_id, seed, clean.shape[1:], tau if settings.noise == "independent" else None)
        noisy = backbone.schedule.noised(clean, drawn[None].to(clean), tau)
    return attention_map(backbone, noisy, tau or 0, blocks=settings.blocks)[0]


def noise_for(image_id: str, seed: int, shape: torch.Size, tau: int | None = None) -> Tensor:
    """Standard normal float32 of a shape, which depends on the picture's id, the seed and `tau` alone."""
    name = f"{seed}/{image_id}" if tau is None else f"{seed}/{image_id}/{tau}"
    digest = hashlib.sha256(name.encode()).digest()
    return torch.randn(shape, generator=torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")))


def edge_map(scores: Tensor, height: int, width: int) -> NDArray[np.float32]:
    """ABDiv as a map of edges: divided by mean + 3 deviations, cut at 1, and brought to a picture's size bilinearly.

    Every picture has its own scale, because divergences have none; the paper does not say how its own are shown.

    Args:
        scores: (h, w), at least 0.
        height: Of the picture, pixels.
        width: Of the picture, pixels.

    Returns:
        float32 (height, width) in [0, 1].
    """
    values = scores.double()
    top = values.mean() + _DEVIATIONS * values.std(correction=0)
    relative = (values / top if top > 0 else values).clamp(0, 1).float()
    resized = functional.interpolate(relative[None, None], (height, width), mode="bilinear", align_corners=False)
    return resized[0, 0].clamp(0, 1).numpy()


def _again(first: Tensor, others: Iterator[Tensor]) -> Iterator[Tensor]:
    yield first
    del first
    yield from others


class _Clock:
    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, dict[str, float]()
        self.last = time.perf_counter()

    def stop(self, part: str) -> None:
        """Count what went by since the last stop."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[part], self.last = now - self.last, now
