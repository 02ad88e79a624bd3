"""Edge, interior and unknown, and the guard for no interior."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace.labels import pseudo_labels


def even_scores() -> torch.Tensor:
    """A tenth far above, a tenth far below, the rest in the middle: mean 0.5, deviation 0.224."""
    values = torch.full((10, 10), 0.5)
    values[0] = 1.0
    values[9] = 0.0
    return values


def skewed_scores() -> torch.Tensor:
    """One row in ten far above the others, which rise from 0 to 0.9: mean - deviation is below 0."""
    values = torch.linspace(0, 0.9, 100).view(10, 10)
    values[4] = 20.0
    return values


def test_the_published_rule() -> None:
    result = pseudo_labels(even_scores())
    expected = torch.full((10, 10), -1, dtype=torch.int8)
    expected[0], expected[9] = 1, 0
    assert torch.equal(result.labels, expected)
    assert result.labels.dtype == torch.int8
    assert result[1:6] == pytest.approx((0.5, 0.05**0.5, 0.1, 0.1, 0.8))
    assert not result.guarded


def test_equals_the_loop_over_pixels() -> None:
    scores = torch.rand(13, 7, generator=torch.Generator().manual_seed(0))
    result = pseudo_labels(scores)
    values = scores.double().flatten().tolist()
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    expected = [1 if v > mean + deviation else 0 if v < mean - deviation else -1 for v in values]
    assert result.labels.flatten().tolist() == expected
    assert set(expected) == {1, 0, -1}


def test_the_guard_takes_over_where_no_interior_is_left() -> None:
    scores = skewed_scores()
    result = pseudo_labels(scores)
    assert result.mean < result.deviation
    assert result.guarded
    assert result[3:6] == pytest.approx((0.1, 0.3, 0.6))
    assert scores[result.labels == 0].max() < scores[result.labels == -1].min()
    assert torch.equal(result.labels == 1, scores == 20)


def test_without_the_guard_there_is_none() -> None:
    result = pseudo_labels(skewed_scores(), guard_below=0)
    assert (result.interior, result.guarded) == (0, False)


def test_the_guard_has_a_bound() -> None:
    assert not pseudo_labels(even_scores(), guard_below=0.1).guarded
    assert pseudo_labels(even_scores(), guard_below=0.11).guarded


@pytest.mark.parametrize("scores", [even_scores(), skewed_scores()], ids=["even", "skewed"])
def test_the_lowest_half_is_no_matter_of_deviation(scores: torch.Tensor) -> None:
    result = pseudo_labels(scores, "lowest")
    edge = scores > scores.double().mean() + scores.double().std(correction=0)
    assert torch.equal(result.labels == 1, edge)
    assert torch.equal(result.labels == 0, scores <= scores.flatten().sort().values[49])
    assert not result.guarded


def test_shares_of_the_lowest() -> None:
    scores = torch.arange(100.0).view(10, 10)
    assert pseudo_labels(scores, "lowest").interior == 0.5
    assert pseudo_labels(scores, "lowest", lowest=0.2).interior == 0.2
    everything = pseudo_labels(scores, "lowest", lowest=1)
    assert everything.interior + everything.edge == 1
    assert everything.edge > 0


def test_a_flat_map_is_interior() -> None:
    result = pseudo_labels(torch.zeros(4, 6))
    assert (result.edge, result.interior, result.guarded) == (0, 1, True)


def test_one_pixel() -> None:
    assert pseudo_labels(torch.ones(1, 1)).labels.tolist() == [[0]]


def test_is_the_same_every_time_and_in_every_type() -> None:
    scores = even_scores()
    assert torch.equal(pseudo_labels(scores).labels, pseudo_labels(scores).labels)
    for dtype in (torch.float64, torch.bfloat16):
        assert torch.equal(pseudo_labels(scores.to(dtype)).labels, pseudo_labels(scores).labels)


@pytest.mark.parametrize(
    "scores", [torch.zeros(0, 3), torch.zeros(3), torch.full((2, 2), float("nan")), torch.full((2, 2), float("inf"))]
)
def test_what_is_no_map_is_refused(scores: torch.Tensor) -> None:
    with pytest.raises(DataError, match="no finite map"):
        pseudo_labels(scores)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"interior": "low"}, "Did you mean 'lowest'"),
        ({"lowest": 0}, "lowest 0"),
        ({"guard_lowest": 1.5}, "guard_lowest 1.5"),
        ({"guard_below": -0.1}, "guard_below -0.1"),
    ],
)
def test_unknown_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        pseudo_labels(even_scores(), **settings)
