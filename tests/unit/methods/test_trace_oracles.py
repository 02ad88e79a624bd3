"""Attention of which everything is known beforehand, through the whole of TRACE's first stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgebench.methods.trace.backbone import Block, Schedule
from edgebench.methods.trace.capture import attention_map, head_mean
from edgebench.methods.trace.divergence import boundary_divergence
from edgebench.methods.trace.labels import EDGE, INTERIOR, UNKNOWN, pseudo_labels

SIDE, STEP = 12, 3.0


class Painted:
    """A network without time whose "latents" say of each token which thing it is of, as a code of unit length.

    A token's logit for those of its own thing is `STEP`, for all others 0.
    """

    schedule: Schedule | None = None
    size = SIDE

    def __init__(self) -> None:
        self.network: nn.Module = nn.Identity()
        self.blocks: Sequence[Block] = [Block("", self.network, self.queries_keys, ())]

    @staticmethod
    def queries_keys(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Tensor, Tensor]:
        codes = arguments[0].flatten(2).mT[:, None]
        return STEP * codes, codes

    def encode(self, pictures: Tensor) -> Tensor:
        return pictures

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    def answer(self, latents: Tensor, tau: int) -> Tensor:
        return self.network(latents)


def painted(things: Tensor) -> Tensor:
    """Latents of a map of things (h, w)."""
    return nn.functional.one_hot(things, int(things.max()) + 1).permute(2, 0, 1)[None].float()


def scores_of(things: Tensor) -> Tensor:
    latents = painted(things)
    return boundary_divergence(attention_map(Painted(), latents, 0)[0], (things.shape[0], things.shape[1]))


def between(one: int, other: int) -> float:
    """KL of a row of a thing of `one` tokens against a row of a thing of `other` tokens, in a picture of both."""
    total = one + other
    p = [math.exp(STEP) / (one * math.exp(STEP) + other), 1 / (one * math.exp(STEP) + other)]
    q = [1 / (other * math.exp(STEP) + one), math.exp(STEP) / (other * math.exp(STEP) + one)]
    assert one * p[0] + other * p[1] == pytest.approx(1) and total == SIDE**2  # noqa: PT018
    return one * p[0] * math.log(p[0] / q[0]) + other * p[1] * math.log(p[1] / q[1])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("first", [6, 4])
def test_two_things_part_along_a_straight_line_of_two_pixels(turned: bool, first: int) -> None:
    things = (torch.arange(SIDE) >= first).long().expand(SIDE, SIDE)
    scores = scores_of(things.T if turned else things)
    scores = scores.T if turned else scores
    line = scores[:, first - 1 : first + 1]
    # The right neighbour against the left one: of the second thing against the first.
    expected = between(SIDE * (SIDE - first), SIDE * first)
    torch.testing.assert_close(line, torch.full((SIDE, 2), expected), atol=1e-4, rtol=0)
    others = torch.cat((scores[:, : first - 1], scores[:, first + 1 :]), 1)
    assert others.abs().max() < 1e-5


def test_where_four_things_meet_both_directions_add_up() -> None:
    half = (torch.arange(SIDE) >= SIDE // 2).long()
    scores = scores_of(2 * half[:, None] + half[None])
    arm = scores[0, SIDE // 2]
    centre = scores[SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1]
    assert arm > 0.01
    torch.testing.assert_close(centre, (2 * arm).expand(2, 2))
    torch.testing.assert_close(scores, scores.T)
    torch.testing.assert_close(scores, scores.flip(0))
    assert (scores > arm / 2).sum() == 4 * SIDE - 4


def test_where_one_seam_skews_the_scores_the_guard_finds_the_interior() -> None:
    things = (torch.arange(SIDE) >= 5).long().expand(SIDE, SIDE)
    scores = scores_of(things)
    without = pseudo_labels(scores, guard_below=0)
    assert without.mean < without.deviation
    assert without.interior == 0
    guarded = pseudo_labels(scores)
    assert guarded.guarded
    assert torch.equal((guarded.labels == EDGE).nonzero()[:, 1].unique(), torch.tensor([4, 5]))
    assert guarded.edge == 2 / SIDE
    assert guarded.interior >= 0.3
    # The lowest scores, whatever rounding makes of zeros, and none of the others.
    highest = scores[guarded.labels == INTERIOR].max()
    assert (scores[guarded.labels == UNKNOWN] > highest).all()


@pytest.mark.parametrize("text_first", [False, True])
def test_joint_attention_cut_to_the_picture_is_attention_of_the_picture_alone(text_first: bool) -> None:
    source = torch.Generator().manual_seed(0)
    pictures, text = (torch.randn(2, 3, n, 8, generator=source, dtype=torch.float64) for n in (30, 11))
    queries = torch.randn(2, 3, 30, 8, generator=source, dtype=torch.float64)
    parts = (text, pictures) if text_first else (pictures, text)
    joint = (queries @ torch.cat(parts, 2).mT).softmax(-1)
    own = joint[..., 11:] if text_first else joint[..., :30]
    cut = own / own.sum(-1, keepdim=True)
    torch.testing.assert_close(cut, (queries @ pictures.mT).softmax(-1), atol=1e-15, rtol=1e-13)
    torch.testing.assert_close(head_mean(queries, pictures, 2).double(), cut.mean(1), atol=1e-6, rtol=0)
    # Normalising after the mean over the heads is another thing.
    late = own.mean(1) / own.mean(1).sum(-1, keepdim=True)
    assert (late - cut.mean(1)).abs().max() > 1e-3
