"""From the answers of queries to one segment per pixel, by the rules of Mask2Former's authors."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor


class Found(NamedTuple):
    """Segments of one picture.

    Attributes:
        ids: int32 (H, W), numbers from 1 on; 0 where there is no segment.
        classes: Of segment k + 1 at place k.
    """

    ids: Tensor
    classes: list[int]


def counting(classes: Tensor, class_threshold: float) -> Tensor:
    """Which queries (Q,) of logits (Q, C + 1) name a class with more than `class_threshold`."""
    scores, labels = classes.softmax(-1).max(-1)
    return (labels < classes.shape[-1] - 1) & (scores > class_threshold)


def panoptic_segments(
    classes: Tensor,
    masks: Tensor,
    things: Collection[int],
    class_threshold: float = 0.8,
    overlap_threshold: float = 0.8,
    mask_threshold: float = 0.5,
) -> Found:
    """Join the answers of all queries to segments that do not overlap.

    A query counts when it names a class with more than `class_threshold`. Each pixel goes to the query with the
    largest product of that probability and its mask's; a query whose pixels are a smaller share than
    `overlap_threshold` of its mask is dropped, and pixels are kept only inside its mask. All queries of a stuff class
    are one segment.

    Args:
        classes: (Q, C + 1) logits, the last class being "no segment".
        masks: (Q, H, W) logits.
        things: Classes of which every query is a segment of its own.
        class_threshold: In [0, 1], published 0.8.
        overlap_threshold: In [0, 1], published 0.8.
        mask_threshold: Probability from which a pixel belongs to a mask, published 0.5.
    """
    ids = torch.zeros(masks.shape[-2:], dtype=torch.int32, device=masks.device)
    numbers: list[int] = []
    counts = counting(classes, class_threshold)
    if not counts.any():
        return Found(ids, numbers)
    scores, named = classes[counts].softmax(-1).max(-1)
    labels, probabilities = named.tolist(), masks[counts].sigmoid()
    winner = (scores[:, None, None] * probabilities).argmax(0)
    stuff: dict[int, int] = {}
    for query, label in enumerate(labels):
        won, inside = winner == query, probabilities[query] >= mask_threshold
        kept = won & inside
        if not kept.any() or won.sum() / inside.sum() < overlap_threshold:
            continue
        if label not in stuff:
            numbers.append(label)
        number = stuff.get(label, len(numbers))
        if label not in things:
            stuff[label] = number
        ids[kept] = number
    return Found(ids, numbers)
