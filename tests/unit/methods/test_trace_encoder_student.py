"""Encoders through TRACE's second stage: what the first one says of a picture is learnt by adapters and decoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgebench.methods.trace.decoder import DecoderConfig, DecoderInput, find_levels
from edgebench.methods.trace.extract import extract
from edgebench.methods.trace.objective import masked_dice, on_grid
from edgebench.methods.trace.squares import in_range, square
from edgebench.methods.trace.student import EdgePredictor, Student
from tests.unit.methods.trace_encoders import random_encoder


@pytest.mark.parametrize(
    ("kind", "reads", "seen"),
    [
        ("dinov2", "attention", "keys16"),
        ("dinov3", "attention", "relative"),
        ("eva", "attention", "keys16"),
        ("llava", "features", "hidden"),
        ("llava_language", "attention", "keys16"),
        ("qwen", "attention", "keys16"),
        ("qwen", "features", "hidden"),
    ],
)
def test_learns_the_pseudo_edges_of_a_picture(kind: str, reads: Any, seen: DecoderInput) -> None:
    encoder = random_encoder(kind, reads=reads)
    colours = torch.randint(0, 256, (31, 50, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = colours.numpy()
    labels = extract(encoder, image, "picture").labels.labels
    config = DecoderConfig(seen, "each", width=8)
    levels = find_levels(encoder, config)
    assert [level.grid for level in levels] == [(6, 6)]
    torch.manual_seed(0)
    student = Student(encoder, config, levels, 2).train()
    latents = encoder.encode(in_range(square(image, 24))[None])
    trained = [value for value in student.parameters() if value.requires_grad]
    optimiser, losses = torch.optim.AdamW(trained, lr=1e-2), []
    for _ in range(12):
        edges = student(latents).edges
        loss = masked_dice(edges, on_grid(labels[None], edges.shape[-2:])).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02
    assert any(value.any() for name, value in student.named_parameters() if "lora_B" in name)
    (found,) = EdgePredictor(student).predict([image], ["picture"])
    assert found.shape == (31, 50)
    assert found.min() >= 0 and found.max() <= 1  # noqa: PT018
