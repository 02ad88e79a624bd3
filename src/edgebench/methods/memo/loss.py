"""Cross-entropy over the masked pixels, plain or as the authors weight it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def edge_region(edges: Tensor, radius: int = 1) -> Tensor:
    """The dilation of `edges` (B, H, W), non-zero on edges, by a (2 radius + 1)^2 square: float32 of 0 and 1."""
    return functional.max_pool2d((edges > 0).float()[:, None], 2 * radius + 1, stride=1, padding=radius)[:, 0]


def region_weights(edges: Tensor, radius: int = 1) -> Tensor:
    """Weights that give the surroundings of the edges as much say as the background.

    A background pixel weighs 1, one of the `edge_region` R weighs H W / (|R| + 1e-4); all are divided by their
    mean. Without any edge the weights are 1.

    Args:
        edges: Ground truth (B, H, W), non-zero on edges; all of it, masked or not.
        radius: Of the dilation in pixels.

    Returns:
        (B, H, W) float32 with mean 1 per sample. Source: the authors' code ("focal_xentropy").
    """
    region = edge_region(edges, radius)
    size = region.sum((1, 2), keepdim=True)
    strength = region[0].numel() / (size + 1e-4)
    weights = torch.where(region > 0, strength, torch.ones_like(region))
    return weights / weights.mean((1, 2), keepdim=True)


def ratio_weights(ratio: Tensor) -> Tensor:
    """Weight of a sample by its mask ratio (B,): 1 / ratio, at most 5. Source: the authors' code."""
    return (1 / ratio).clamp(1, 5)


def masked_cross_entropy(
    logits: Tensor,
    edges: Tensor,
    masked: Tensor,
    pixel_weights: Tensor | None = None,
    sample_weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy averaged over the masked pixels of each sample, then over the batch.

    Args:
        logits: (B, 2, H, W); the loss is computed in float32.
        edges: Ground truth (B, H, W), 0 or 1.
        masked: Bool (B, H, W). A sample with nothing masked counts as 0.
        pixel_weights: (B, H, W), default 1.
        sample_weights: (B,), default 1.

    Returns:
        Scalar. Source: paper, training objective; the weights are those of the authors' code.
    """
    entropy = functional.cross_entropy(logits.float(), edges.long(), reduction="none")
    weights = masked.float() if pixel_weights is None else masked * pixel_weights
    per_sample = (entropy * weights).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1e-12)
    return (per_sample if sample_weights is None else per_sample * sample_weights).mean()


def released_loss(logits: Tensor, edges: Tensor, masked: Tensor, ratio: Tensor) -> Tensor:
    """The loss of every released configuration: balanced by region, weighted by 1 / ratio up to 5."""
    return masked_cross_entropy(logits, edges, masked, region_weights(edges), ratio_weights(ratio))


def paper_loss(logits: Tensor, edges: Tensor, masked: Tensor, ratio: Tensor) -> Tensor:
    """The loss as printed: plain cross-entropy on the masked pixels; `ratio` has no part in it."""
    return masked_cross_entropy(logits, edges, masked)


LOSSES = {"released": released_loss, "paper": paper_loss}
