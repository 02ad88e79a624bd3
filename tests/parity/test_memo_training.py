"""Mask ratios, masks, image drop and losses against the authors' training code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edgebench.methods.memo.loss import (
    edge_region,
    masked_cross_entropy,
    ratio_weights,
    region_weights,
    released_loss,
)
from edgebench.methods.memo.masking import RATIOS, bernoulli_mask, drop_images, focal_mask, mask_tokens, uniform_ratio

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def stored(shared: Path) -> dict[str, Tensor]:
    return load_file(shared / "fixtures" / "memo" / "loss.safetensors")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_training_step(stored: dict[str, Tensor], seed: int) -> None:
    edges, logits = stored["edge"], stored["logits"]
    generator = torch.Generator().manual_seed(seed)
    ratio = uniform_ratio(len(edges), generator)
    masked = bernoulli_mask(ratio, edges, generator)
    images = drop_images(stored["image"], 0.5, generator)
    expected = {name.removeprefix(f"s{seed}."): value for name, value in stored.items()}

    assert torch.equal(ratio, expected["mask_ratio"])
    assert torch.equal(mask_tokens(edges, masked), expected["tokens"].long())
    assert torch.equal((images == 0).all(-1).all(-1).all(-1), expected["dropped"].bool())
    torch.testing.assert_close(
        released_loss(logits, edges, masked, ratio), expected["focal_xentropy.loss"][0], atol=1e-5, rtol=0
    )
    plain = masked_cross_entropy(logits, edges, masked, sample_weights=ratio_weights(ratio))
    torch.testing.assert_close(plain, expected["xentropy.loss"][0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("radius", [1, 2])
def test_region_weights(stored: dict[str, Tensor], radius: int) -> None:
    weights = region_weights(stored["edge"], radius)
    torch.testing.assert_close(weights, stored[f"focal_weight_d{radius}"], atol=1e-5, rtol=0)
    assert torch.equal(edge_region(stored["edge"], radius), stored[f"focal_region_d{radius}"])


def test_focal_mask(stored: dict[str, Tensor]) -> None:
    ratio, expected = stored["focal_mask.t"], stored["focal_mask.mask"].bool()
    masked = focal_mask(ratio, stored["edge"], torch.Generator().manual_seed(9))
    assert torch.equal(masked.sum((1, 2)), expected.sum((1, 2)))
    assert torch.equal(masked, expected)


@pytest.mark.parametrize("name", ["uniform", "logit_normal", "truncated_linear"])
def test_ratio_samplers(stored: dict[str, Tensor], name: str) -> None:
    drawn = RATIOS[name](4096, torch.Generator().manual_seed(42))
    torch.testing.assert_close(drawn, stored[f"ratio.{name}"], atol=1e-5, rtol=0)
