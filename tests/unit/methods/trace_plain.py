"""TRACE's first stage written plainly: one token at a time, in float64."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

EPS = 1e-12


def distributions(queries: int, keys: int, seed: int = 0, zeros: float = 0.0, spread: float = 2.0) -> Tensor:
    """Random rows that sum to 1, float32 (queries, keys), a share of their entries zero."""
    source = torch.Generator().manual_seed(seed)
    weights = torch.randn(queries, keys, generator=source).mul(spread).exp()
    dropped = torch.rand(queries, keys, generator=source) < zeros
    dropped[:, 0] = False
    weights[dropped] = 0
    return weights / weights.sum(1, keepdim=True)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * ((p + EPS).log() - (q + EPS).log())).sum()


def jsd(p: Tensor, q: Tensor) -> Tensor:
    mean = (p + q) / 2
    return (kl(p, mean) + kl(q, mean)) / 2


def l2(p: Tensor, q: Tensor) -> Tensor:
    return (p - q).square().sum().sqrt()


def cosine(p: Tensor, q: Tensor) -> Tensor:
    return 1 - p @ q / (p.norm() * q.norm())


MEASURES = {"kl": kl, "jsd": jsd, "l2": l2, "cosine": cosine}


def boundary_divergence(attention: Tensor, grid: tuple[int, int], measure: str = "kl") -> Tensor:
    """A loop over tokens; the dtype of the map is that of the sums."""
    height, width = grid
    maps = attention.view(height, width, -1)
    result = maps.new_zeros(grid)
    for i in range(height):
        for j in range(width):
            below, above = maps[min(i + 1, height - 1), j], maps[max(i - 1, 0), j]
            right, left = maps[i, min(j + 1, width - 1)], maps[i, max(j - 1, 0)]
            result[i, j] = MEASURES[measure](below, above) + MEASURES[measure](right, left)
    return result


def curve(maps: list[Tensor], measure: str = "kl") -> Tensor:
    """Mean divergence of consecutive maps."""
    return torch.stack(
        [
            torch.stack([MEASURES[measure](p, q) for p, q in zip(first, second, strict=True)]).mean()
            for first, second in pairwise(maps)
        ]
    )


def upsampled(attention: Tensor, block_grid: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """A block's map on a finer grid, query by query and key by key, float64."""
    (h, w), (height, width) = block_grid, grid
    result = torch.zeros(height * width, height * width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            keys = attention.double()[(y * h // height) * w + x * w // width].view(h, w)
            for v in range(height):
                for u in range(width):
                    result[y * width + x, v * width + u] = _bilinear(
                        keys, (v + 0.5) * h / height, (u + 0.5) * w / width
                    )
    return result / result.sum(1, keepdim=True)


def _bilinear(values: Tensor, y: float, x: float) -> float:
    """The value at a point, where that of cell (i, j) lies at (i + 0.5, j + 0.5)."""
    h, w = values.shape
    y, x = min(max(y - 0.5, 0), h - 1), min(max(x - 0.5, 0), w - 1)
    i, j = min(int(y), h - 1), min(int(x), w - 1)
    a, b = y - i, x - j
    below, right = min(i + 1, h - 1), min(j + 1, w - 1)
    top = (1 - b) * values[i, j] + b * values[i, right]
    bottom = (1 - b) * values[below, j] + b * values[below, right]
    return float((1 - a) * top + a * bottom)
