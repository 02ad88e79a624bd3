"""SAM prompted by masks that somebody else found: it draws their outlines anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from edgebench.errors import ConfigError
from edgebench.methods.sam.scorer import Scorer, View

PIXELS_AT_ONCE = 2**25
"""Logits of enlarged masks that are in memory at a time."""
_WORTH = 0.5
"""A further point lies at least half as deep as the first one."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PromptSettings:
    """How a mask becomes a prompt, and which answer is taken. The paper says that masks replace boxes, no more.

    Attributes:
        points: Most interior points of a prompt, besides the box.
        least_iou: Least IoU of an answer with the mask that asked for it; else that mask stays.
        mask_threshold: Logit above which a pixel belongs to an answer.
        prompts_at_once: Prompts decoded at a time; changes speed and memory.

    Raises:
        ConfigError: a value is out of range.
    """

    points: int = 3
    least_iou: float = 0.5
    mask_threshold: float = 0.0
    prompts_at_once: int = 64

    def __post_init__(self) -> None:
        if self.points < 1 or self.prompts_at_once < 1:
            raise ConfigError("SAM prompts: points and prompts_at_once must be 1 or more.")
        if not 0 <= self.least_iou <= 1:
            raise ConfigError(f"SAM prompts: least_iou {self.least_iou} is not in [0, 1].")


class Redrawn(NamedTuple):
    """What became of a mask.

    Attributes:
        mask: bool (H, W), SAM's or the one that asked.
        iou: IoU that SAM predicts for its mask; None where the mask that asked stayed.
    """

    mask: Mask
    iou: float | None


def interior_points(mask: Mask, count: int) -> NDArray[np.float64]:
    """Up to `count` points deep inside a mask, deepest first.

    Each is a maximum of the distance to the outside, which begins at the image's border, too; the disc that it is
    the centre of holds no other. Those less than half as deep as the first are left out.

    Args:
        mask: bool (H, W), with at least one pixel.
        count: From 1 on.

    Returns:
        float64 (P, 2), x and y of pixels, 1 <= P <= `count`.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.arange(mask.shape[0])[:, None], np.arange(mask.shape[1])
    points: list[tuple[int, int]] = []
    deepest = depth.max()
    for _ in range(count):
        row, column = divmod(int(depth.argmax()), mask.shape[1])
        radius = depth[row, column]
        if radius < _WORTH * deepest or not radius:
            break
        points.append((column, row))
        depth[(y - row) ** 2 + (x - column) ** 2 < radius**2] = 0
    return np.array(points, dtype=np.float64)


def box_of(mask: Mask) -> NDArray[np.float64]:
    """Left, top, right and bottom of a mask bool (H, W) that is not empty, float64; the last two lie outside it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), dtype=np.float64)


def redraw(
    image: NDArray[np.uint8], masks: Sequence[Mask], scorer: Scorer, settings: PromptSettings = PromptSettings()
) -> list[Redrawn]:
    """Ask SAM for each mask by its box and points inside it, and take the best answer that is still that object.

    Args:
        image: uint8 (H, W, 3) RGB; the encoder sees it once.
        masks: bool (H, W) each; an empty one stays empty.
        scorer: SAM or SAM 2.
        settings: Form of the prompt and choice of the answer.

    Returns:
        One answer per mask: of SAM's three the one of highest predicted IoU among those whose IoU with the mask is at
        least `least_iou`; the mask itself where there is none.
    """
    result = [Redrawn(mask, None) for mask in masks]
    asking = [index for index, mask in enumerate(masks) if mask.any()]
    if not asking:
        return result
    view = scorer(image)
    # Prompts of one length share a call: a point that only fills up would change the answer.
    by_length: dict[int, list[int]] = {}
    points = {index: interior_points(masks[index], settings.points) for index in asking}
    for index in asking:
        by_length.setdefault(len(points[index]), []).append(index)
    for members in by_length.values():
        for first in range(0, len(members), settings.prompts_at_once):
            chosen = members[first : first + settings.prompts_at_once]
            boxes = np.stack([box_of(masks[index]) for index in chosen])
            logits, ious = view.prompt(np.stack([points[index] for index in chosen]), boxes)
            for place, index in enumerate(chosen):
                result[index] = _best(view, logits[place], ious[place], masks[index], settings)
    return result


def _best(view: View, logits: torch.Tensor, ious: torch.Tensor, seed: Mask, settings: PromptSettings) -> Redrawn:
    """The answer to take of those (M, h, w) to one prompt."""
    order = torch.argsort(ious, descending=True, stable=True).tolist()
    step = max(1, PIXELS_AT_ONCE // seed.size)
    for first in range(0, len(order), step):
        part = order[first : first + step]
        answers = (view.enlarge(logits[part]) > settings.mask_threshold).cpu().numpy()
        for place, answer in zip(part, answers, strict=True):
            shared = np.count_nonzero(answer & seed)
            union = np.count_nonzero(answer | seed)
            if shared >= settings.least_iou * union:
                return Redrawn(answer, float(ious[place]))
    return Redrawn(seed, None)
