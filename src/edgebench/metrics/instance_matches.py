"""What COCO's average precision is made of, kept per image, so that it can be computed again of other images.

`instance_scores` gives the scores themselves; the tests hold both against one another. Detections are matched with
truths once, in their own image, by COCO's rules (Lin et al., ECCV 2014); precision is a matter of all images together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from edgebench.metrics.instances import INSTANCE_METRICS, area_of, coco_evaluator, encode_segmentation

MOST_DETECTIONS = 100
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
RANGES = np.array([(0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10)])
"""Areas in pixels, both ends included, that are all sizes, small, medium and large."""

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Matches:
    """D detections and G truths of n images; a detection comes once for each image and category that it is of.

    Of each image and category the 100 detections with the highest scores are kept, the highest first. Categories are
    counted from 0. In a `uint16` bit t stands for `THRESHOLDS[t]`; the last axis is that of `RANGES`.

    Attributes:
        n_images: How many images there are, with or without objects.
        image: int32 (D,), place of its image, ascending.
        category: int32 (D,).
        score: float64 (D,).
        rank: int32 (D,), its place among those of its image and category, from 0.
        inside: bool (D, 4), whether its own area lies in the range.
        hit: uint16 (D, 4), where it matches a truth that counts.
        ignored: uint16 (D, 4), where it matches a truth that does not count, being a crowd or of another size.
        truth_image: int32 (G,).
        truth_category: int32 (G,).
        counted: bool (G, 4), whether the truth counts.
    """

    n_images: int
    image: NDArray[np.int32]
    category: NDArray[np.int32]
    score: NDArray[np.float64]
    rank: NDArray[np.int32]
    inside: NDArray[np.bool_]
    hit: NDArray[np.uint16]
    ignored: NDArray[np.uint16]
    truth_image: NDArray[np.int32]
    truth_category: NDArray[np.int32]
    counted: NDArray[np.bool_]

    def arrays(self) -> dict[str, Any]:
        """All of it but the number of images, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "n_images"}


def match_instances(
    images: Sequence[Any],
    sizes: Mapping[Any, tuple[int, int]],
    truths: Sequence[Entry],
    predictions: Sequence[Entry],
    per_class: bool = False,
) -> Matches:
    """Match the detections of every image with its truths.

    Args:
        images: Ids of the images; their order decides between equal scores.
        sizes: (height, width) of every image, by id.
        truths: COCO annotations, as for `instance_scores`.
        predictions: COCO results, likewise.
        per_class: Match within categories; else all are one.

    Raises:
        EdgebenchError: faster-coco-eval is missing.
    """
    mask = coco_evaluator().mask
    kinds = sorted({each["category_id"] for each in truths}) if per_class else [None]
    category = {kind: index for index, kind in enumerate(kinds)}
    place = {image: index for index, image in enumerate(images)}

    def grouped(entries: Sequence[Entry]) -> dict[tuple[int, int], list[Entry]]:
        groups: dict[tuple[int, int], list[Entry]] = {}
        for entry in entries:
            kind = entry["category_id"] if per_class else None
            if kind in category:  # a category without ground truth takes part in no score
                groups.setdefault((place[entry["image_id"]], category[kind]), []).append(entry)
        return groups

    ours, theirs = grouped(predictions), grouped(truths)
    parts: dict[str, list[NDArray[Any]]] = {each.name: [] for each in fields(Matches) if each.name != "n_images"}
    for index, kind in sorted(ours.keys() | theirs.keys()):
        found, true = ours.get((index, kind), []), theirs.get((index, kind), [])
        size = sizes[images[index]]
        scores = np.array([each["score"] for each in found], np.float64)
        best = np.argsort(-scores, kind="stable")[:MOST_DETECTIONS]
        found, scores = [found[each] for each in best], scores[best]
        masks = [[encode_segmentation(mask, each["segmentation"], size) for each in side] for side in (found, true)]
        areas = [
            np.array([area_of(mask, entry, runs) for entry, runs in zip(side, runs_of, strict=True)], np.float64)
            for side, runs_of in zip((found, true), masks, strict=True)
        ]
        crowds = np.array([each.get("iscrowd", 0) for each in true], np.bool_)
        overlaps = np.zeros((len(found), len(true)))
        if found and true:
            overlaps = np.ascontiguousarray(mask.iou(*masks, crowds.astype(int).tolist()), np.float64)
        inside, counted = _within(areas[0]), _within(areas[1]) & ~crowds[:, None]
        hit, ignored = _match(overlaps, counted, crowds, THRESHOLDS)
        of_image = {
            "image": np.full(len(found), index, np.int32),
            "category": np.full(len(found), kind, np.int32),
            "score": scores,
            "rank": np.arange(len(found), dtype=np.int32),
            "inside": inside,
            "hit": hit,
            "ignored": ignored,
            "truth_image": np.full(len(true), index, np.int32),
            "truth_category": np.full(len(true), kind, np.int32),
            "counted": counted,
        }
        for name, array in of_image.items():
            parts[name].append(array)
    empty = _empty()
    return Matches(len(images), **{name: np.concatenate([empty[name], *arrays]) for name, arrays in parts.items()})


def resampled_scores(matches: Matches, weights: NDArray[np.floating | np.integer]) -> dict[str, NDArray[np.float64]]:
    """AP and AR of images drawn again.

    Only detections that match anything can raise precision, so the curve is walked along these alone, beside a running
    count of all detections: the time goes with the matches, not with thresholds times detections.

    Args:
        matches: Of n images.
        weights: How often each image is drawn, whole numbers (B, n).

    Returns:
        Each of `INSTANCE_METRICS`, (B,) in [0, 1]; NaN where the images drawn have no truth (of that size).
    """
    order = np.lexsort((-matches.score, matches.category))  # stable: equal scores stay in the order of images
    n_kinds = 1 + max(matches.category.max(initial=-1), matches.truth_category.max(initial=-1))
    sides = np.arange(n_kinds * len(RANGES) + 1)
    # The detections of each category and range, one list after the other, each in the order of scores.
    area, place = np.nonzero(matches.inside[order].T)
    side = matches.category[order[place]].astype(np.int64) * len(RANGES) + area
    members = place[by_side := np.argsort(side, kind="stable")]
    starts = np.searchsorted(side[by_side], sides)
    first, image, upto, hit, within, rank = _events(matches, order, members, starts)
    counts = np.ascontiguousarray(weights).astype(np.int32)
    scores = _walk(
        counts,
        matches.image[order[members]],
        starts,
        first,
        image,
        upto,
        hit,
        within,
        rank,
        _true(matches, counts.astype(np.int64), n_kinds),
        RECALLS,
    )
    return dict(zip(INSTANCE_METRICS, scores.T, strict=True))


def _within(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (areas[:, None] >= RANGES[:, 0]) & (areas[:, None] <= RANGES[:, 1])


def _empty() -> dict[str, NDArray[Any]]:
    """Arrays of no detection and no truth, which give the others their types."""
    ranges = len(RANGES)
    return {
        **{name: np.zeros(0, np.int32) for name in ("image", "category", "rank", "truth_image", "truth_category")},
        **{name: np.zeros((0, ranges), np.uint16) for name in ("hit", "ignored")},
        **{name: np.zeros((0, ranges), np.bool_) for name in ("inside", "counted")},
        "score": np.zeros(0, np.float64),
    }


def _events(
    matches: Matches, order: NDArray[np.int64], members: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[NDArray[Any], ...]:
    """The matches that bear on precision, by category, range and threshold, the highest score first.

    Returns:
        Where those of each category, range and threshold begin, (4 * 10 * K + 1,); then, for each match: the image,
        how many detections of the range come before it or are it, whether it is a hit, whether it is one of the range,
        and its rank. A hit outside of the range counts by what it matches; what matches a truth that does not count
        matters only where it stood among the detections of the range.
    """
    inside, category, n_ranges = matches.inside[order], matches.category[order], len(RANGES)
    slots, places, hits = [], [], []
    for threshold in range(len(THRESHOLDS)):
        for name, is_hit in (("hit", True), ("ignored", False)):
            found = (getattr(matches, name)[order] >> np.uint16(threshold) & np.uint16(1)).astype(bool)
            place, area = np.nonzero(found if is_hit else found & inside)
            slots.append((category[place].astype(np.int64) * n_ranges + area) * len(THRESHOLDS) + threshold)
            places.append(place)
            hits.append(np.full(len(place), is_hit))
    slot, place, hit = (np.concatenate(each) for each in (slots, places, hits))
    sort = np.lexsort((place, slot))
    slot, place, hit = slot[sort], place[sort], hit[sort]
    first = np.searchsorted(slot, np.arange((len(starts) - 1) * len(THRESHOLDS) + 1))
    side = slot // len(THRESHOLDS)
    upto = np.empty(len(place), np.int64)
    for each in np.unique(side):
        chosen = side == each
        upto[chosen] = np.searchsorted(members[starts[each] : starts[each + 1]], place[chosen], side="right")
    within = inside[place, side % n_ranges]
    return first, matches.image[order[place]], upto, hit, within, matches.rank[order[place]]


def _true(matches: Matches, weights: NDArray[np.int64], n_kinds: int) -> NDArray[np.int64]:
    """Truths that count in each resample, (B, K, 4)."""
    totals = np.zeros((len(weights), n_kinds, len(RANGES)), np.int64)
    for kind in range(n_kinds):
        chosen = matches.truth_category == kind
        per_image = np.zeros((matches.n_images, len(RANGES)), np.int64)
        np.add.at(per_image, matches.truth_image[chosen], matches.counted[chosen])
        present = per_image.any(axis=1)
        totals[:, kind] = weights[:, present] @ per_image[present]
    return totals


@njit(cache=True)
def _match(overlaps, counted, crowds, thresholds):
    """Match the detections of an image, the best first, at every threshold and for every range of areas.

    A detection takes the free truth with which it overlaps most, the last of several; truths that count go before
    those that do not, and a crowd is never used up.
    """
    n, m = overlaps.shape
    n_ranges = counted.shape[1]
    hit = np.zeros((n, n_ranges), np.uint16)
    ignored = np.zeros((n, n_ranges), np.uint16)
    for a in range(n_ranges):
        order = np.empty(m, np.int64)
        place = 0
        for counts in (True, False):
            for g in range(m):
                if counted[g, a] == counts:
                    order[place] = g
                    place += 1
        for t in range(len(thresholds)):
            taken = np.zeros(m, np.bool_)
            for d in range(n):
                best, overlap = -1, min(thresholds[t], 1 - 1e-10)
                for g in order:
                    if taken[g] and not crowds[g]:
                        continue
                    if best > -1 and counted[best, a] and not counted[g, a]:
                        break
                    if overlaps[d, g] < overlap:
                        continue
                    best, overlap = g, overlaps[d, g]
                if best > -1:
                    taken[best] = True
                    if counted[best, a]:
                        hit[d, a] |= np.uint16(1 << t)
                    else:
                        ignored[d, a] |= np.uint16(1 << t)
    return hit, ignored


@njit(cache=True)
def _walk(weights, images, starts, first, image, upto, hit, within, rank, true, recalls):
    """AP and AR of each resample, (B, 12), averaged over the categories that have truths."""
    n_resamples, n_kinds, n_ranges, n_thresholds = len(weights), true.shape[1], 4, 10
    longest = 0
    for side in range(len(starts) - 1):
        longest = max(longest, starts[side + 1] - starts[side])
    before = np.zeros(longest + 1, np.int32)
    needed = np.empty(len(recalls), np.int64)
    at, found = np.empty(n_thresholds), np.empty(3)
    scores, kinds = np.zeros((n_resamples, 12)), np.zeros((n_resamples, 12))
    for b in range(n_resamples):
        drawn = weights[b]
        for k in range(n_kinds):
            for a in range(n_ranges):
                n_true = true[b, k, a]
                if n_true == 0:
                    continue
                side = k * n_ranges + a
                total = 0
                for j in range(starts[side], starts[side + 1]):
                    total += drawn[images[j]]
                    before[j - starts[side] + 1] = total
                for r in range(len(recalls)):
                    # The fewest hits that reach the recall, as a quotient of whole numbers compares with it.
                    few = max(int(recalls[r] * n_true) - 1, 1)
                    while few / n_true < recalls[r]:
                        few += 1
                    needed[r] = few
                found[:] = 0
                for t in range(n_thresholds):
                    slot = side * n_thresholds + t
                    begin, end = first[slot], first[slot + 1]
                    tp, tp1, tp10, more = 0, 0, 0, 0
                    for e in range(begin, end):
                        w = drawn[image[e]]
                        if hit[e]:
                            tp += w
                            if a == 0:
                                tp1 += w if rank[e] < 1 else 0
                                tp10 += w if rank[e] < 10 else 0
                            more += 0 if within[e] else w
                        else:
                            more -= w
                    found[0] += tp1
                    found[1] += tp10
                    found[2] += tp
                    # Backwards, so that the best precision from each hit on is at hand.
                    r, best, under = len(recalls) - 1, 0.0, 0.0
                    while r >= 0 and needed[r] > tp:
                        r -= 1
                    for e in range(end - 1, begin - 1, -1):
                        w = drawn[image[e]]
                        if w == 0:
                            continue
                        if not hit[e]:
                            more += w
                            continue
                        best = max(best, tp / (before[upto[e]] + more + 2.0**-52))
                        tp -= w
                        more -= 0 if within[e] else w
                        while r >= 0 and needed[r] > tp:
                            under += best
                            r -= 1
                    at[t] = under / len(recalls)
                for m in range(3):
                    found[m] /= n_true * n_thresholds
                if a == 0:
                    for place, value in ((0, at.mean()), (1, at[0]), (2, at[5])):
                        scores[b, place] += value
                        kinds[b, place] += 1
                    for m in range(3):
                        scores[b, 6 + m] += found[m]
                        kinds[b, 6 + m] += 1
                else:
                    scores[b, 2 + a] += at.mean()
                    scores[b, 8 + a] += found[2]
                    kinds[b, 2 + a] += 1
                    kinds[b, 8 + a] += 1
    for b in range(n_resamples):
        for m in range(12):
            scores[b, m] = scores[b, m] / kinds[b, m] if kinds[b, m] > 0 else np.nan
    return scores
