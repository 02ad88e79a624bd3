"""What a training sample hides: the mask ratio, the masked pixels and, sometimes, the image.

Every function draws from the generator it is given, on the generator's device, so that a run repeats bit for
bit wherever it computes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgebench.methods.memo.network import MASK

LOWEST_RATIO = 0.001


def uniform_ratio(count: int, generator: torch.Generator) -> Tensor:
    """Mask ratios (count,), uniform on (0, 1.01) and cut to [0.001, 1], so about 1 % are fully masked.

    Source: the authors' code; every released configuration uses it.
    """
    drawn = torch.rand(count, generator=generator, device=generator.device)
    return (drawn * 1.01).clamp(LOWEST_RATIO, 1)


def logit_normal_ratio(count: int, generator: torch.Generator) -> Tensor:
    """Mask ratios (count,), the logistic of a standard normal times 1.01, cut to [0.001, 1].

    Source: the authors' code, in no released configuration.
    """
    drawn = torch.randn(count, generator=generator, device=generator.device).sigmoid()
    return (drawn * 1.01).clamp(LOWEST_RATIO, 1)


def truncated_linear_ratio(count: int, generator: torch.Generator) -> Tensor:
    """Mask ratios (count,) that favour small ones: density max(1.7 - x / 0.6, 0.7) on [0, 1].

    Then times 1.01 and cut to [0.001, 1].

    Source: the authors' code, in no released configuration.
    """
    drawn = torch.rand(count, generator=generator, device=generator.device)
    falling = 0.6 * (1.7 - (2.89 - drawn / 0.3).clamp(min=0).sqrt())
    flat = 0.6 + (drawn - 0.72) / 0.7
    return (torch.where(drawn < 0.72, falling, flat) * 1.01).clamp(LOWEST_RATIO, 1)


def full_ratio(count: int, generator: torch.Generator) -> Tensor:
    """Ratio 1 for all (count,): everything is masked, and the network learns to answer in one pass."""
    return torch.ones(count, device=generator.device)


RATIOS: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "uniform": uniform_ratio,
    "logit_normal": logit_normal_ratio,
    "truncated_linear": truncated_linear_ratio,
    "full": full_ratio,
}


def with_full_share(ratio: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """`ratio` (B,) with every entry set to 1 with probability `share`; nothing is drawn when it is 0."""
    if share == 0:
        return ratio
    chosen = torch.rand(len(ratio), generator=generator, device=generator.device) < share
    return torch.where(chosen, torch.ones_like(ratio), ratio)


def bernoulli_mask(ratio: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Mask every pixel of sample b with probability `ratio[b]`, independently: bool (B, H, W)."""
    drawn = torch.rand(len(ratio), height, width, generator=generator, device=generator.device)
    return drawn < ratio.view(-1, 1, 1)


def mask_tokens(edges: Tensor, masked: Tensor) -> Tensor:
    """Edge map (B, H, W) of 0 and 1 -> tokens int64, with 2 where `masked`."""
    return edges.long().masked_fill(masked, MASK)


def drop_images(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """`images` (B, 3, H, W) with each one blackened with `probability`, for classifier-free guidance."""
    if probability == 0:
        return images
    dropped = torch.rand(len(images), generator=generator, device=generator.device) < probability
    return images.masked_fill(dropped.to(images.device).view(-1, 1, 1, 1), 0)
