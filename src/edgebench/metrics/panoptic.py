"""Panoptic quality of segmentations (Kirillov et al., CVPR 2019), by the rules of cocodataset/panopticapi."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

VOID = 0
"""Id of pixels that belong to no segment."""


@dataclass(frozen=True)
class Counts:
    """Segments of one class; sums over images are made with `+`.

    Attributes:
        iou: Sum of the intersections over union of the matched pairs.
        tp: Matched pairs.
        fp: Predicted segments without a match that are not ignored.
        fn: True segments without a match.
    """

    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.iou + other.iou, self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


def count_segments(
    prediction: ArrayLike,
    truth: ArrayLike,
    predicted: Mapping[int, int],
    true: Mapping[int, int],
    crowds: Collection[int] = (),
) -> dict[int, Counts]:
    """Match the segments of one image and count them by class.

    Two segments match when they are of one class and their intersection over union is above one half; pixels
    that are void in the truth are left out of the union. A crowd is never matched and never missed. A predicted
    segment is ignored when more than half of it is void or in the crowd of its class.

    Args:
        prediction: (H, W) integers, the segment of each pixel; 0 is void.
        truth: (H, W) likewise.
        predicted: The class of each predicted segment.
        true: The class of each true segment.
        crowds: Those true segments that stand for many objects.

    Returns:
        Counts of the classes that have any.

    Raises:
        ValueError: sizes differ, or the segments of a map and of its mapping are not the same.
    """
    ours, theirs = _ids(prediction), _ids(truth)
    if ours.shape != theirs.shape:
        raise ValueError(f"The maps differ in size: {ours.shape} and {theirs.shape}.")
    joint, pixels = np.unique(theirs << np.uint64(32) | ours, return_counts=True)
    pairs = list(
        zip((joint >> np.uint64(32)).tolist(), (joint & np.uint64(0xFFFFFFFF)).tolist(), pixels.tolist(), strict=True)
    )
    true_area, predicted_area, shared = defaultdict[int, int](int), defaultdict[int, int](int), {}
    for t, p, count in pairs:
        true_area[t] += count
        predicted_area[p] += count
        shared[t, p] = count
    for area, classes in ((predicted_area, predicted), (true_area, true)):
        if area.keys() - {VOID} != classes.keys():
            raise ValueError(f"The map has the segments {sorted(area.keys() - {VOID})}, listed are {sorted(classes)}.")

    counts: defaultdict[int, Counts] = defaultdict(Counts)
    matched_true, matched_predicted = set(), set()
    for t, p, count in pairs:
        if t == VOID or p == VOID or t in crowds or true[t] != predicted[p]:
            continue
        iou = count / (predicted_area[p] + true_area[t] - count - shared.get((VOID, p), 0))
        if iou > 0.5:
            counts[true[t]] += Counts(iou=iou, tp=1)
            matched_true.add(t)
            matched_predicted.add(p)

    # Where an image has several crowds of a class, the last one listed counts, as in panopticapi.
    crowd_of = {category: t for t, category in true.items() if t in crowds}
    for t, category in true.items():
        if t not in matched_true and t not in crowds:
            counts[category] += Counts(fn=1)
    for p, category in predicted.items():
        if p in matched_predicted:
            continue
        ignored = shared.get((VOID, p), 0)
        if category in crowd_of:
            ignored += shared.get((crowd_of[category], p), 0)
        if 2 * ignored <= predicted_area[p]:
            counts[category] += Counts(fp=1)
    return dict(counts)


def add_counts(images: Iterable[Mapping[int, Counts]]) -> dict[int, Counts]:
    """Counts of a set: those of its images, added by class in the order given."""
    total: defaultdict[int, Counts] = defaultdict(Counts)
    for counts in images:
        for category, count in counts.items():
            total[category] += count
    return dict(total)


def class_quality(counts: Counts) -> dict[str, float]:
    """`pq sq rq` of a class that has at least one segment: quality, that of its matches, and how many match.

    Returns:
        pq = sq * rq, each in [0, 1]; sq is 0 where nothing matches.
    """
    segments = counts.tp + 0.5 * counts.fp + 0.5 * counts.fn
    return {
        "pq": counts.iou / segments,
        "sq": counts.iou / counts.tp if counts.tp else 0.0,
        "rq": counts.tp / segments,
    }


def panoptic_quality(counts: Mapping[int, Counts], things: Collection[int]) -> dict[str, Any]:
    """Quality over a set of images: averages of the classes, in which every class weighs the same.

    Args:
        counts: Of each class over all images, see `add_counts`; classes without a segment do not enter.
        things: The classes of countable objects; all others are stuff.

    Returns:
        `all`, `things` and `stuff` with `pq sq rq`, floats in [0, 1] or None where no class enters, and `n`, the
        number of classes that enter; `per_class`, the classes that enter in ascending order with `pq sq rq`.
    """
    classes = {category: class_quality(counts[category]) for category in sorted(counts) if counts[category] != Counts()}
    chosen = {
        "all": list(classes),
        "things": [category for category in classes if category in things],
        "stuff": [category for category in classes if category not in things],
    }
    scores: dict[str, Any] = {}
    for name, members in chosen.items():
        scores[name] = {
            key: sum(classes[each][key] for each in members) / len(members) if members else None
            for key in ("pq", "sq", "rq")
        }
        scores[name]["n"] = len(members)
    return scores | {"per_class": classes}


PANOPTIC_METRICS = tuple(
    f"{quality}{classes}" for classes in ("", "_things", "_stuff") for quality in ("pq", "sq", "rq")
)
"""Columns of a set: over all classes, over things and over stuff."""


def resampled_quality(
    counts: Mapping[str, NDArray[Any]], things: NDArray[np.bool_], weights: NDArray[Any]
) -> dict[str, NDArray[np.float64]]:
    """Panoptic quality of images drawn again.

    Args:
        counts: `iou tp fp fn` of n images and K classes, (n, K) each.
        things: bool (K,), which of the classes are things.
        weights: How often each image is drawn, (B, n).

    Returns:
        Each of `PANOPTIC_METRICS`, (B,) in [0, 1]; NaN where no class has a segment in the images drawn.
    """
    iou, tp, fp, fn = (np.asarray(weights, np.float64) @ counts[name] for name in ("iou", "tp", "fp", "fn"))
    enters = tp + fp + fn > 0
    segments = np.where(enters, tp + 0.5 * fp + 0.5 * fn, 1)
    quality = {"pq": iou / segments, "sq": iou / np.where(tp > 0, tp, 1), "rq": tp / segments}
    found = {}
    for name, chosen in (("", np.ones_like(things)), ("_things", things), ("_stuff", ~things)):
        number = (enters & chosen).sum(axis=1).astype(np.float64)
        number[number == 0] = np.nan
        for key, values in quality.items():
            found[f"{key}{name}"] = np.where(enters & chosen, values, 0).sum(axis=1) / number
    return {name: found[name] for name in PANOPTIC_METRICS}


def _ids(values: ArrayLike) -> NDArray[np.uint64]:
    """A map of segments, such that two of them fit into 64 bits."""
    ids = np.asarray(values)
    if ids.ndim != 2 or not ids.size or ids.dtype.kind not in "ui" or ids.min() < 0 or ids.max() >= 2**32:
        raise ValueError(f"A map of segments is (H, W), integers of 32 bits from 0 on, not {ids.dtype} {ids.shape}.")
    return ids.astype(np.uint64)
