"""Reveal strategies on hand-made confidences."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from edgebench.errors import ConfigError
from edgebench.methods.memo.network import MASK
from edgebench.methods.memo.reveal import (
    SCHEDULES,
    RevealSettings,
    highest,
    local_maxima,
    reveal,
    reveal_counts,
)

torch.set_num_threads(1)


def fixed(logits: Tensor) -> Any:
    """A network that always answers `logits` (B, 2, H, W)."""
    return lambda tokens, ratio, step, active: logits[active]


def noise(batch: int = 2, height: int = 12, width: int = 16) -> Tensor:
    return torch.randn(batch, 2, height, width, generator=torch.Generator().manual_seed(1))


def states(logits: Tensor, settings: RevealSettings, priority: Tensor | None = None) -> list[Tensor]:
    seen: list[Tensor] = []
    shape = (logits.shape[0], *logits.shape[-2:])
    reveal(fixed(logits), shape, settings, priority=priority, on_step=lambda step, t, p: seen.append(t.clone()))
    return seen


def test_local_maxima_by_hand() -> None:
    confidence = torch.tensor([[[0.9, 0.1, 0.3], [0.2, 0.3, 0.3], [0.8, 0.1, 0.7]]])
    plain = torch.tensor([[[1, 0, 1], [0, 0, 0], [1, 0, 1]]], dtype=torch.bool)  # 0.3 ties with 0.3
    assert torch.equal(local_maxima(confidence), plain)
    assert torch.equal(local_maxima(confidence, wrap=True), plain & (confidence == 0.9))
    assert local_maxima(torch.full((1, 3, 3), 0.7)).all()


def test_highest_takes_the_first_of_equals() -> None:
    score = torch.tensor([[[1.0, 3.0], [3.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]])
    expected = torch.tensor([[[0, 1], [1, 0]], [[1, 1], [0, 0]]], dtype=torch.bool)
    assert torch.equal(highest(score, 2), expected)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("pixels", "steps"), [(768, 5), (100, 1), (7, 10), (153600, 50)])
def test_schedules_reveal_everything(schedule: str, pixels: int, steps: int) -> None:
    counts = reveal_counts(pixels, steps, schedule)
    assert len(counts) == steps
    assert sum(counts) == pixels
    assert min(counts) >= 0


@pytest.mark.parametrize("strategy", ["locmax", "topk", "random"])
@pytest.mark.parametrize("compat", ["edgebench", "official", "native"])
def test_written_pixels_stay_and_all_are_written(strategy: Any, compat: Any) -> None:
    logits = noise()
    settings = RevealSettings(strategy, 4, compat)
    sequence = states(logits, settings, torch.rand(2, 12, 16))
    for before, after in pairwise(sequence):
        assert torch.equal(after[before != MASK], before[before != MASK])
        assert (after == MASK).sum() < (before == MASK).sum()
    assert torch.equal(sequence[-1], logits.argmax(1))


def test_probability_is_that_of_the_revealing_step() -> None:
    answers = [noise(1), -3 * noise(1)]
    settings = RevealSettings("locmax", 2)
    first: list[Tensor] = []
    revealed = reveal(
        lambda tokens, ratio, step, active: answers[step][active],
        (1, 12, 16),
        settings,
        on_step=lambda s, t, p: first.append(t),
    )
    early = first[0] != MASK
    assert 0 < early.sum() < early.numel()
    expected = torch.where(early, answers[0].softmax(1)[:, 1], answers[1].softmax(1)[:, 1])
    torch.testing.assert_close(revealed.probability, expected)


def test_ratio_is_the_share_still_masked() -> None:
    ratios: list[Tensor] = []
    shares: list[Tensor] = []

    def denoise(tokens: Tensor, ratio: Tensor, step: int, active: list[int]) -> Tensor:
        ratios.append(ratio)
        shares.append((tokens == MASK).float().mean((1, 2)))
        return noise()

    reveal(denoise, (2, 12, 16), RevealSettings("locmax", "full"))
    assert len(ratios) > 4
    torch.testing.assert_close(torch.stack(ratios), torch.stack(shares))


def test_cap_takes_the_most_confident() -> None:
    logits = torch.zeros(1, 2, 10, 10)
    logits[:, 0] = 3.0  # a plateau: every pixel is a local maximum
    logits[:, 0, 5:] = 4.0
    first = states(logits, RevealSettings("locmax", "full"))[0][0]
    assert (first != MASK).sum() == 20
    assert (first[5:7] == 0).all()


def test_full_goes_on_until_nothing_is_masked_and_counts_rounds_per_image() -> None:
    logits = noise(2, 8, 8)
    logits[1] = 0
    logits[1, 0] = 5.0
    revealed = reveal(fixed(logits), (2, 8, 8), RevealSettings("locmax", "full"))
    alone = reveal(fixed(logits[1:]), (1, 8, 8), RevealSettings("locmax", "full"))
    assert revealed.rounds[1] == alone.rounds[0] == 6  # 64 pixels, at most 12 a step
    assert torch.equal(revealed.edges[1], alone.edges[0])


def test_a_threshold_that_nothing_passes_ends_the_run() -> None:
    revealed = reveal(fixed(noise() / 100), (2, 12, 16), RevealSettings("locmax", "full", "edgebench", 0.9))
    assert revealed.rounds == [1, 1]
    assert torch.equal(revealed.edges.long(), noise().argmax(1))


def test_an_image_of_one_pixel() -> None:
    for strategy in ("locmax", "topk"):
        revealed = reveal(fixed(noise(1, 1, 1)), (1, 1, 1), RevealSettings(strategy, 5))
        assert revealed.edges.shape == (1, 1, 1)
        assert revealed.rounds[0] == 1


def test_random_follows_its_priority() -> None:
    priority = torch.arange(192.0).view(1, 12, 16)
    first = states(noise(1), RevealSettings("random", 4), priority)[0][0]
    assert (first.flatten()[-48:] != MASK).all()
    assert (first.flatten()[:-48] == MASK).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "localmax"}, "localmax"),
        ({"steps": 0}, "steps 0"),
        ({"compat": "numpy"}, "numpy"),
        ({"schedule": "square"}, "square"),
        ({"steps": "some"}, "'some'.*'adaptive'"),
        ({"confidence_threshold": 1.0}, "confidence_threshold 1.0"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RevealSettings(**settings)


@pytest.mark.parametrize("strategy", ["topk", "random"])
def test_full_steps_of_a_schedule_are_a_hundred_rounds(strategy: Any) -> None:
    calls = []

    def denoise(tokens: Tensor, ratio: Tensor, step: int, active: list[int]) -> Tensor:
        calls.append(step)
        return noise(1)

    priority = torch.rand(1, 12, 16) if strategy == "random" else None
    reveal(denoise, (1, 12, 16), RevealSettings(strategy, "full"), priority=priority)
    assert len(calls) == 100


def test_a_finished_image_is_asked_about_no_more() -> None:
    logits = noise(3, 8, 8)
    logits[1] = 0
    logits[1, 0] = 5.0  # a plateau, which is the fastest
    asked: list[list[int]] = []

    def denoise(tokens: Tensor, ratio: Tensor, step: int, active: list[int]) -> Tensor:
        assert len(tokens) == len(ratio) == len(active)
        assert (tokens == MASK).flatten(1).any(1).all()
        asked.append(active)
        return logits[active]

    revealed = reveal(denoise, (3, 8, 8), RevealSettings("locmax", "full"))
    assert asked[0] == [0, 1, 2]
    assert asked[-1] != [0, 1, 2]
    assert revealed.rounds == [sum(each in step for step in asked) for each in range(3)]
    for each in range(3):
        alone = reveal(fixed(logits[each : each + 1]), (1, 8, 8), RevealSettings("locmax", "full"))
        assert torch.equal(alone.edges[0], revealed.edges[each])
        assert torch.equal(alone.probability[0], revealed.probability[each])
        assert alone.rounds[0] == revealed.rounds[each]


@pytest.mark.parametrize("strategy", ["locmax", "topk", "random"])
def test_adaptive_ends_when_the_map_has_settled(strategy: Any) -> None:
    height, width = 50, 40  # so that a pixel in a thousand is two pixels
    flips = {0: 900, 1: 3, 2: 2, 3: 400, 4: 2, 5: 2, 6: 500, 7: 600}
    calm = torch.randn(height * width, generator=torch.Generator().manual_seed(3)) / 100

    def denoise(tokens: Tensor, ratio: Tensor, step: int, active: list[int]) -> Tensor:
        # Each step turns the most likely class of some pixels that are masked still.
        for sample, own in zip(active, tokens.flatten(1), strict=True):
            turned = flips[step] if sample == 0 else 2
            state[sample, (own == MASK).nonzero()[:turned, 0]] *= -1
        logits = torch.zeros(len(active), 2, height, width)
        logits[:, 1] = state[active].view(-1, height, width)
        return logits

    state = calm.repeat(2, 1)
    priority = torch.rand(2, height, width, generator=torch.Generator().manual_seed(4))
    revealed = reveal(denoise, (2, height, width), RevealSettings(strategy, "adaptive"), priority=priority)
    # The first: 3 changes, 2, 400, 2, 2: the second calm step in a row is step 5. The second: 2, 2 is step 2.
    assert revealed.rounds == [6, 3]


def test_adaptive_gives_what_remains_the_answer_of_its_last_step() -> None:
    logits = noise(1, 12, 16)
    revealed = reveal(fixed(logits), (1, 12, 16), RevealSettings("locmax", "adaptive"))
    assert revealed.rounds == [3]
    assert torch.equal(revealed.edges.long(), logits.argmax(1))
    torch.testing.assert_close(revealed.probability, logits.softmax(1)[:, 1])
