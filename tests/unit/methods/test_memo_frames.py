"""Frames of a reveal and their animation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from edgebench.methods.memo.frames import MASKED_COLOUR, RevealOrder, reveal_frame, write_reveal
from edgebench.methods.memo.network import MASK
from edgebench.methods.memo.reveal import RevealSettings, reveal

ORDER = np.array([[0, 1], [2, 2]], np.uint8)
PROBABILITY = np.array([[1.0, 0.0], [0.5, 0.9]], np.float32)


def test_a_frame_shows_what_was_known() -> None:
    np.testing.assert_array_equal(reveal_frame(ORDER, PROBABILITY, -1), np.full((2, 2, 3), MASKED_COLOUR))
    first = reveal_frame(ORDER, PROBABILITY, 1)
    assert first.dtype == np.uint8
    assert first.tolist() == [[[255] * 3, [0] * 3], [list(MASKED_COLOUR)] * 2]
    assert reveal_frame(ORDER, PROBABILITY, 2)[..., 0].tolist() == [[255, 0], [128, 230]]


def test_the_image_shines_through_masked_pixels_alone() -> None:
    image = np.full((2, 2, 3), 200, np.uint8)
    frame = reveal_frame(ORDER, PROBABILITY, 0, image)
    assert frame[0, 0].tolist() == [255] * 3
    assert frame[1, 1].tolist() == [(200 + channel) // 2 for channel in MASKED_COLOUR]
    with pytest.raises(ValueError, match="differ in size"):
        reveal_frame(ORDER, PROBABILITY, 0, image[:1])


def test_the_order_of_a_reveal_is_recorded() -> None:
    """Frames made from the order equal the states that the reveal went through."""
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 12, 9)
    recorder, states = RevealOrder(), []

    def on_step(step: int, tokens: torch.Tensor, probability: torch.Tensor) -> None:
        states.append(tokens[0].numpy().copy())
        recorder("a", step, tokens[0].numpy().astype(np.uint8), probability[0].numpy())

    revealed = reveal(lambda *_: logits, (1, 12, 9), RevealSettings("locmax", 4), on_step=on_step)
    assert len(states) == 4
    assert not recorder.masked["a"].any()
    for step, tokens in enumerate(states):
        np.testing.assert_array_equal(recorder.orders["a"] > step, tokens == MASK)
        frame = reveal_frame(recorder.orders["a"], revealed.probability[0].numpy(), step)
        np.testing.assert_array_equal((frame == MASKED_COLOUR).all(-1), tokens == MASK)


@pytest.mark.parametrize("size", [(30, 20), (700, 20), (300, 900)])
def test_the_animation_counts_and_holds_its_end(tmp_path: Path, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    order = rng.integers(0, 7, size).astype(np.uint16)
    probability = rng.random(size).round()
    write_reveal(tmp_path / "a.gif", order, probability)
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.info["loop"] == 0
        assert 256 <= animation.width <= 640
        assert max(animation.width, animation.height) <= 640 + 22
        frames = [(np.asarray(frame.convert("RGB")), frame.info["duration"])
                  for frame in ImageSequence.Iterator(animation)]  # fmt: skip
    assert len(frames) == 8
    assert [duration for _, duration in frames[:-1]] == [500] * 7
    assert frames[-1][1] == 2500
    masked = [(frame == MASKED_COLOUR).all(-1).sum() for frame, _ in frames]
    assert masked[0] > masked[3] > masked[-1] == 0
    write_reveal(tmp_path / "b.gif", order, probability)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


def test_long_reveals_are_shown_by_some_of_their_steps(tmp_path: Path) -> None:
    order = np.arange(300, dtype=np.uint16).reshape(15, 20)
    write_reveal(tmp_path / "a.gif", order, np.zeros(order.shape))
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 60  # type: ignore[attr-defined]
