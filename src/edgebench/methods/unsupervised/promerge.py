"""ProMerge (Li and Shin, ECCV 2024): objects from the likeness of patches to a grid of seeds, without eigenvectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgebench.methods.unsupervised.graph import unit_features
from edgebench.methods.unsupervised.tokencut import Found


@dataclass(frozen=True)
class MergeSettings:
    """Thresholds; the defaults are the published ones.

    Attributes:
        tau: Cosine above which a patch is like a seed.
        stride: Patches between seeds.
        sides: Sides of the image that an object may touch; what touches more votes for the background.
        component_share: Smallest part of a seed's patches that is a candidate, as a share of the seed's own part.
        vote: Mean of the votes above which a patch is background.
        smallest_background: An image with a smaller share of background is passed over.
        new_on_background: A candidate is dropped when at least so much of what it adds lies on the background.
        background_similarity: Or when its mean feature is at least so like that of the background.
        overlap: A candidate joins a cluster that holds more than this share of it.
        weak_overlap: Or more than this, if they are also alike.
        similarity: Likeness of mean features above which they are alike.
    """

    tau: float = 0.2
    stride: int = 4
    sides: int = 1
    component_share: float = 0.5
    vote: float = 0.5
    smallest_background: float = 0.1
    new_on_background: float = 0.8
    background_similarity: float = 0.1
    overlap: float = 0.5
    weak_overlap: float = 0.1
    similarity: float = 0.1


@dataclass
class _Cluster:
    mask: NDArray[np.bool_]
    mean: NDArray[np.float32]


def promerge(features: NDArray[np.floating], settings: MergeSettings = MergeSettings()) -> Found:
    """The objects: candidates of all seeds that are not background, merged where they overlap.

    Likeness of two regions is the product of the means of their patches' unit features. The published text leaves
    open, and here: what is `new` is what no accepted smaller candidate covers, and a candidate without any is
    accepted; a candidate joins the first cluster that qualifies, clusters being in the order of their largest
    candidates; a cluster's mean is that of all its patches; parts are connected by their sides.

    Args:
        features: (h, w, d), of any scale.
        settings: Thresholds.

    Returns:
        Masks, which may overlap, by descending size of their largest candidates; none for an image without enough
        background.
    """
    units = unit_features(features)
    seeded, voted = seed_masks(units.reshape(features.shape), settings)
    background = background_vote(voted, settings)
    grid = features.shape[:2]
    if background is None:
        return Found(np.zeros((0, *grid), dtype=bool))
    kept = not_background(seeded, background, units, settings)
    masks = merged(kept, units, settings)
    return Found(np.stack(masks) if masks else np.zeros((0, *grid), dtype=bool))


def seed_masks(
    units: NDArray[np.float32], settings: MergeSettings
) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.bool_]]]:
    """What is like each seed: candidates for objects, and votes for the background, bool (h, w) each.

    Args:
        units: Unit features (h, w, d). A seed whose feature is zero is like nothing and gives none.
        settings: Thresholds; seeds are every `stride`-th patch from the first of both axes.
    """
    from scipy import ndimage

    candidates: list[NDArray[np.bool_]] = []
    votes: list[NDArray[np.bool_]] = []
    step, (height, width) = settings.stride, units.shape[:2]
    seeds = units[::step, ::step].reshape(-1, units.shape[-1])
    likeness = seeds @ units.reshape(height * width, -1).T
    places = [(row, column) for row in range(0, height, step) for column in range(0, width, step)]
    for place, near in zip(places, likeness > settings.tau, strict=True):
        mask = near.reshape(height, width)
        if not mask[place]:
            continue
        touched = sum(bool(side.any()) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
        if touched > settings.sides:
            votes.append(mask)
            continue
        parts, count = ndimage.label(mask)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        least = settings.component_share * sizes[parts[place]]
        candidates += [parts == part for part in range(1, count + 1) if sizes[part] >= least]
    return candidates, votes


def background_vote(votes: list[NDArray[np.bool_]], settings: MergeSettings) -> NDArray[np.bool_] | None:
    """What most votes call background, bool (h, w); None where there are no votes or it is too small."""
    if not votes:
        return None
    background: NDArray[np.bool_] = np.mean(votes, axis=0) > settings.vote
    if not background.any() or background.mean() < settings.smallest_background:
        return None
    return background


def not_background(
    candidates: list[NDArray[np.bool_]],
    background: NDArray[np.bool_],
    units: NDArray[np.float32],
    settings: MergeSettings,
) -> list[NDArray[np.bool_]]:
    """Candidates that stand apart from the background, by ascending size; among equals the order given.

    Args:
        candidates: bool (h, w) each, none empty.
        background: bool (h, w).
        units: Unit features (h * w, d).
        settings: Thresholds.
    """
    mean = _mean(units, background)
    covered = np.zeros_like(background)
    kept = []
    for mask in sorted(candidates, key=_size):
        new = mask & ~covered
        share = _size(new & background) / max(_size(new), 1)
        if share < settings.new_on_background and _mean(units, mask) @ mean < settings.background_similarity:
            kept.append(mask)
            covered |= mask
    return kept


def merged(
    masks: list[NDArray[np.bool_]], units: NDArray[np.float32], settings: MergeSettings
) -> list[NDArray[np.bool_]]:
    """Masks bool (h, w) of the clusters that masks make, the largest first; `units` are unit features (h * w, d)."""
    clusters: list[_Cluster] = []
    for mask in sorted(masks, key=_size, reverse=True):
        mean, size = _mean(units, mask), _size(mask)
        for cluster in clusters:
            shared = np.count_nonzero(mask & cluster.mask) / size
            near = shared > settings.weak_overlap and mean @ cluster.mean > settings.similarity
            if shared > settings.overlap or near:
                cluster.mask = cluster.mask | mask
                cluster.mean = _mean(units, cluster.mask)
                break
        else:
            clusters.append(_Cluster(mask, mean))
    return [cluster.mask for cluster in clusters]


def _size(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


def _mean(units: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = units[mask.ravel()].mean(axis=0)
    return mean
