"""Pictures of a reveal: which pixels were known after each step, and an animation of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edgebench.files import atomic_path

MASKED_COLOUR = (112, 119, 138)
"""Slate, because a probability of one half is the neutral grey."""

LONGEST_SIDE = 640
SHORTEST_WIDTH = 256
MOST_FRAMES = 60
REVEAL_MS = 4000
FRAME_MS = (40, 500)
HOLD_MS = 2500
_CAPTION = 22
_FIRST = -1


@dataclass
class RevealOrder:
    """Records, as the `on_frame` of a prediction, at which step each pixel was revealed.

    Attributes:
        orders: Per image name uint16 (H, W): the step, from 0, at which a pixel lost its mask.
        masked: Per image name bool (H, W): what no step has revealed so far.
    """

    orders: dict[str, NDArray[np.uint16]] = field(default_factory=dict)
    masked: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __call__(self, name: str, step: int, tokens: NDArray[np.uint8], probability: NDArray[np.float32]) -> None:
        """Take the tokens (H, W) of an image after a step: 0 background, 1 edge, 2 masked."""
        if step == 0:
            self.orders[name] = np.zeros(tokens.shape, np.uint16)
            self.masked[name] = np.ones(tokens.shape, bool)
        now = tokens == 2
        self.orders[name][self.masked[name] & ~now] = step
        self.masked[name] = now


def reveal_frame(
    order: NDArray[np.unsignedinteger],
    probability: NDArray[np.floating],
    step: int,
    image: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The edge map as it was after a step: bright edges, dark background, slate where it was still masked.

    Args:
        order: Unsigned (H, W), the step, from 0, at which each pixel was revealed.
        probability: Float (H, W) in [0, 1], of an edge, in the step that revealed the pixel.
        step: Pixels with `order <= step` are shown; -1 shows the state before the first step.
        image: uint8 (H, W, 3); when given it shines through the masked pixels, half and half.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: the sizes differ.
    """
    if order.shape != probability.shape or (image is not None and image.shape != (*order.shape, 3)):
        raise ValueError(f"order {order.shape}, probability {probability.shape} and image differ in size")
    known = (order.astype(np.int64) <= step)[..., None]
    level = np.round(255 * np.clip(probability, 0, 1)).astype(np.uint8)[..., None]
    hidden: NDArray[np.uint8] = np.broadcast_to(np.array(MASKED_COLOUR, np.uint8), (*order.shape, 3))
    if image is not None:
        hidden = ((hidden.astype(np.uint16) + image) // 2).astype(np.uint8)
    return np.where(known, level, hidden)


def write_reveal(path: str | Path, order: NDArray[np.unsignedinteger], probability: NDArray[np.floating]) -> None:
    """Write a reveal as an animated GIF that runs for ever, with a counter below and the last frame held.

    Large maps are made smaller (640 px at most) and very small ones larger; a reveal of more than 60 steps is
    shown by 60 of them. Equal reveals give equal bytes.

    Args:
        path: File to write, `.gif`.
        order: Unsigned (H, W), the step, from 0, at which each pixel was revealed.
        probability: Float (H, W) in [0, 1], of an edge, in the step that revealed the pixel.
    """
    rounds = int(order.max()) + 1
    shown = np.unique(np.linspace(_FIRST, rounds - 1, min(rounds + 1, MOST_FRAMES)).round().astype(int))
    palette = _palette()
    frames = [
        _captioned(reveal_frame(order, probability, step), step + 1, rounds, float((order.astype(int) <= step).mean()))
        .quantize(palette=palette, dither=Image.Dither.NONE)
        for step in shown.tolist()
    ]  # fmt: skip
    pace = int(np.clip(REVEAL_MS / len(frames), *FRAME_MS)) // 10 * 10  # GIF counts in hundredths
    durations = [pace] * (len(frames) - 1) + [HOLD_MS]
    with atomic_path(path) as temporary:
        frames[0].save(
            temporary, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, disposal=1
        )


def _captioned(frame: NDArray[np.uint8], step: int, rounds: int, share: float) -> Image.Image:
    """`frame` at a size that is good to look at, over a line that says how far the reveal is."""
    height, width = frame.shape[:2]
    picture = Image.fromarray(frame)
    if max(height, width) > LONGEST_SIDE:
        factor = LONGEST_SIDE / max(height, width)
        picture = picture.resize((max(round(width * factor), 1), max(round(height * factor), 1)), Image.Resampling.BOX)
    elif width < SHORTEST_WIDTH:
        larger = max(min(SHORTEST_WIDTH // width, LONGEST_SIDE // max(height, width)), 1)
        picture = picture.resize((width * larger, height * larger), Image.Resampling.NEAREST)
    # A tall thin picture gets bars at its sides, because the caption needs its width.
    canvas = Image.new("RGB", (max(picture.width, SHORTEST_WIDTH), picture.height + _CAPTION), (0, 0, 0))
    canvas.paste(picture, ((canvas.width - picture.width) // 2, 0))
    text = f"step {step} of {rounds}: {100 * share:.0f} % revealed"
    font = ImageFont.load_default(size=13)
    ImageDraw.Draw(canvas).text((6, picture.height + 3), text, fill=(255, 255, 255), font=font)
    return canvas


def _palette() -> Image.Image:
    """All colours of a frame, but for the brightest but one grey: a GIF holds 256."""
    greys = [level for level in range(256) if level != 254]
    image = Image.new("P", (1, 1))
    image.putpalette([*MASKED_COLOUR, *(channel for level in greys for channel in (level, level, level))])
    return image
