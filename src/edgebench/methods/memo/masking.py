"""What a training sample hides: the mask ratio, the masked pixels and, sometimes, the image.

Every function draws from the generator it is given, on the generator's device, so that a run repeats bit for
bit wherever it computes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgebench.methods.memo.loss import edge_region
from edgebench.methods.memo.network import MASK

LOWEST_RATIO = 0.001
FOCAL_WEIGHT = 4


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


def bernoulli_mask(ratio: Tensor, edges: Tensor, generator: torch.Generator) -> Tensor:
    """Mask every pixel of sample b with probability `ratio[b]`, independently: bool (B, H, W) like `edges`.

    Source: the authors' code; every released configuration masks so.
    """
    drawn = torch.rand(edges.shape, generator=generator, device=generator.device)
    return drawn < ratio.view(-1, 1, 1)


def focal_mask(ratio: Tensor, edges: Tensor, generator: torch.Generator) -> Tensor:
    """Mask exactly floor(`ratio[b]` H W) pixels of sample b, those around the edges first: bool (B, H, W).

    Pixels are drawn without replacement; those within one pixel of an edge weigh 4, the others 1.

    Args:
        ratio: (B,) in [0, 1], on the generator's device.
        edges: Ground truth (B, H, W), non-zero on edges.
        generator: Draws once for all samples of the same count, from the smallest count to the largest.

    Source: the authors' code ("focal"), in no released configuration.
    """
    weights = 1 + (FOCAL_WEIGHT - 1) * edge_region(edges).flatten(1).to(generator.device)
    counts = (ratio * weights.shape[1]).long()
    masked = torch.zeros_like(weights, dtype=torch.bool)
    for count in counts.unique():
        rows = (counts == count).nonzero()[:, 0]
        if count > 0:
            drawn = torch.multinomial(weights[rows], int(count), replacement=False, generator=generator)
            masked[rows[:, None], drawn] = True
    return masked.view(edges.shape)


MASKS: dict[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
    "bernoulli": bernoulli_mask,
    "focal": focal_mask,
}


def mask_tokens(edges: Tensor, masked: Tensor) -> Tensor:
    """Edge map (B, H, W) of 0 and 1 -> tokens int64, with 2 where `masked`."""
    return edges.long().masked_fill(masked, MASK)


def drop_images(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """`images` (B, 3, H, W) with each one blackened with `probability`, for classifier-free guidance."""
    if probability == 0:
        return images
    dropped = torch.rand(len(images), generator=generator, device=generator.device) < probability
    return images.masked_fill(dropped.to(images.device).view(-1, 1, 1, 1), 0)
