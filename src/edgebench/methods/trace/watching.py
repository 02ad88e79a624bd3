"""What the attention of a network shows of one picture at each level of noise: IEP, seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgebench.errors import ConfigError
from edgebench.methods.trace.backbone import Backbone
from edgebench.methods.trace.capture import token_grid
from edgebench.methods.trace.decoder import pooled_keys
from edgebench.methods.trace.divergence import boundary_divergence
from edgebench.methods.trace.emergence import emergence
from edgebench.methods.trace.extract import ExtractSettings, attention_at, levels, trajectory
from edgebench.methods.trace.squares import in_range, square

_ENDS = 0.01, 0.99  # quantiles that become the ends of a colour


@dataclass(frozen=True)
class Watched:
    """One picture over the levels of noise.

    Attributes:
        taus: Levels, from clean to noisy.
        colours: float32 (levels, h, w, 3) in [0, 1]: tokens that attend to the same are alike, at all levels.
        curve: float64 (levels - 1,), divergences of neighbouring levels.
        gap: Index of the first level of the widest gap among those that count.
        kept: Index of the level that is kept.
        scores: ABDiv at that level, float32 (h, w).
    """

    taus: tuple[int, ...]
    colours: NDArray[np.float32]
    curve: NDArray[np.float64]
    gap: int
    kept: int
    scores: NDArray[np.float32]


@torch.no_grad()
def watch(
    backbone: Backbone,
    image: NDArray[np.uint8],
    image_id: str,
    seed: int = 0,
    settings: ExtractSettings | None = None,
    device: torch.device | str = "cpu",
) -> Watched:
    """Search for the level at which instances emerge, as `extract` does, and keep what the maps look like.

    Of each map only its keys pooled to 16 x 16 squares are held. One principal component analysis of all levels
    together gives the colours, so that they can be compared.

    Args:
        backbone: A network with time, on `device`.
        image: uint8 (H, W, 3) RGB of any size.
        image_id: It and `seed` decide the noise.
        seed: Of the noise.
        settings: How; with several levels.
        device: Where to compute.

    Raises:
        ConfigError: the network has no time, or there is only one level.
    """
    settings = settings or ExtractSettings()
    taus = levels(backbone, settings)
    if len(taus) < 2:
        raise ConfigError(
            "emergence: nothing emerges over a single level of noise. Give a diffusion model, and several levels."
        )
    clean = backbone.encode(in_range(square(image, backbone.size))[None].to(device))
    seen: list[Tensor] = []

    def maps() -> Iterator[Tensor]:
        for _, each in trajectory(backbone, clean, image_id, seed, settings):
            seen.append(pooled_keys(each[None], token_grid(len(each), *clean.shape[-2:]))[0].cpu())
            yield each

    found = emergence(maps(), settings.keep, settings.measure, settings.candidates)
    kept = attention_at(backbone, clean, taus[found.kept], image_id, seed, settings)
    grid = token_grid(len(kept), *clean.shape[-2:])
    scores = boundary_divergence(kept, grid, settings.measure).float().cpu()
    colours = principal_colours(torch.stack(seen)).unflatten(1, grid)
    gap = found.kept - (settings.keep == "noisier")
    return Watched(taus, colours.numpy(), found.curve.numpy(), gap, found.kept, scores.numpy())


def principal_colours(seen: Tensor) -> Tensor:
    """The three main directions of all tokens at all levels as colours.

    Args:
        seen: Distributions (levels, tokens, bins); their roots are compared, so that large entries do not hide others.

    Returns:
        float32 (levels, tokens, 3) in [0, 1], on one scale for all levels.
    """
    values = seen.double().clamp(min=0).sqrt()
    flat = values.flatten(0, 1)
    centred = flat - flat.mean(0)
    directions = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :3]
    # An axis has no sense of its own; its largest entry is positive, on every machine.
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    shown = centred @ (directions * largest.sign())
    low, high = (torch.stack([each.quantile(end) for each in _thinned(shown)]) for end in _ENDS)
    scaled = (shown - low) / (high - low).clamp(min=1e-12)
    return scaled.clamp(0, 1).float().view(*seen.shape[:2], -1)


def _thinned(shown: Tensor) -> Tensor:
    """Columns of many numbers, as few of them as `quantile` takes."""
    return shown[:: max(1, len(shown) // 100_000)].T
