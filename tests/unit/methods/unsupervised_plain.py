"""Slow and plain versions of what finds masks without training, and fields of features whose objects are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.methods.unsupervised.crf import CrfSettings
from edgebench.methods.unsupervised.promerge import MergeSettings

Mask = NDArray[np.bool_]


def field(labels: NDArray[np.integer], noise: float = 0.02, seed: int = 0) -> NDArray[np.float32]:
    """Features (h, w, 32) of patches whose kind is `labels` (h, w): kinds are at right angles, but for noise."""
    rng = np.random.default_rng(seed)
    kinds = np.linalg.qr(rng.standard_normal((32, 32)))[0]
    return (kinds[labels] + noise * rng.standard_normal((*labels.shape, 32))).astype(np.float32)


def two_objects(touching: bool = False) -> NDArray[np.int64]:
    """Labels (24, 24) of a larger object 1 and a smaller one 2, which touch or not, on background 0."""
    labels = np.zeros((24, 24), dtype=np.int64)
    labels[4:14, 4:12] = 1
    labels[8:15, 12:19] = 2
    if not touching:
        labels[:, 11:13] = 0
    return labels


def cut(features: NDArray[np.floating], tau: float, weak: float) -> NDArray[np.float64]:
    """Second smallest generalised eigenvector (n,) of (D - A, D), by the definition."""
    from scipy.linalg import eigh

    flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
    n = len(flat)
    affinity = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            lengths = np.linalg.norm(flat[i]) * np.linalg.norm(flat[j])
            affinity[i, j] = 1 if lengths and flat[i] @ flat[j] / lengths > tau else weak
    degree = np.diag(affinity.sum(1))
    return eigh(degree - affinity, degree)[1][:, 1]


def part_of(mask: Mask, seed: tuple[int, int]) -> Mask:
    """What is connected by sides to `seed`, by flooding."""
    found, waiting = np.zeros_like(mask), [seed]
    while waiting:
        row, column = waiting.pop()
        inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
        if inside and mask[row, column] and not found[row, column]:
            found[row, column] = True
            waiting += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return found


def promerge(features: NDArray[np.floating], settings: MergeSettings) -> list[Mask]:
    """ProMerge step by step as its description goes, with loops over patches."""
    height, width, _ = features.shape
    units = features / np.linalg.norm(features, axis=2, keepdims=True)
    candidates, votes = [], []
    for row in range(0, height, settings.stride):
        for column in range(0, width, settings.stride):
            mask = np.zeros((height, width), dtype=bool)
            for y in range(height):
                for x in range(width):
                    mask[y, x] = units[row, column] @ units[y, x] > settings.tau
            sides = [mask[0].any(), mask[height - 1].any(), mask[:, 0].any(), mask[:, width - 1].any()]
            if sides.count(True) > settings.sides:
                votes.append(mask)
                continue
            own, left = part_of(mask, (row, column)).sum(), mask.copy()
            for y, x in zip(*np.nonzero(mask), strict=True):
                if left[y, x]:
                    part = part_of(mask, (int(y), int(x)))
                    left &= ~part
                    if part.sum() >= settings.component_share * own:
                        candidates.append(part)
    if not votes:
        return []
    background: Mask = np.sum(votes, axis=0) / len(votes) > settings.vote
    if not background.any() or background.mean() < settings.smallest_background:
        return []

    def mean(mask: Mask) -> NDArray[Any]:
        return units[mask].mean(0)

    covered, kept = np.zeros_like(background), []
    for mask in sorted(candidates, key=lambda each: int(each.sum())):
        new = mask & ~covered
        share = (new & background).sum() / new.sum() if new.any() else 0
        if share < settings.new_on_background and mean(mask) @ mean(background) < settings.background_similarity:
            kept.append(mask)
            covered |= mask
    clusters: list[Mask] = []
    for mask in sorted(kept, key=lambda each: -int(each.sum())):
        for index, cluster in enumerate(clusters):
            shared = (mask & cluster).sum() / mask.sum()
            alike = mean(mask) @ mean(cluster) > settings.similarity
            if shared > settings.overlap or (shared > settings.weak_overlap and alike):
                clusters[index] = cluster | mask
                break
        else:
            clusters.append(mask)
    return clusters


def crf(image: NDArray[np.uint8], mask: Mask, settings: CrfSettings) -> NDArray[np.float64]:
    """Probability (H, W) of a mask after the mean field, with every pair of pixels and the energies of both labels."""
    height, width = mask.shape
    y, x = np.mgrid[:height, :width]
    place = np.stack([y.ravel(), x.ravel()], 1).astype(float)
    colour = image.reshape(-1, 3).astype(float)
    distance = ((place[:, None] - place) ** 2).sum(-1)
    difference = ((colour[:, None] - colour) ** 2).sum(-1)
    kernels = [
        (settings.near_weight, np.exp(-distance / (2 * settings.near**2))),
        (
            settings.far_weight,
            np.exp(-distance / (2 * settings.far**2) - difference / (2 * settings.colour**2)),
        ),
    ]
    kernels = [(weight, each / np.sqrt(np.outer(each.sum(1), each.sum(1)))) for weight, each in kernels]
    own = np.where(mask.ravel(), settings.certainty, 1 - settings.certainty)
    energy = -np.log(np.stack([1 - own, own]))
    belief = np.stack([1 - own, own])
    for _ in range(settings.iterations):
        cost = energy + sum(weight * (1 - belief) @ kernel for weight, kernel in kernels)
        belief = np.exp(-(cost - cost.min(0)))
        belief /= belief.sum(0)
    return belief[1].reshape(mask.shape)
