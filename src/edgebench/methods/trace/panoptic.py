"""From a map of classes and edges to a panoptic segmentation: what TRACE trains a panoptic network on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from edgebench.errors import ConfigError
from edgebench.methods.trace.components import Mask, cut_by_edges
from edgebench.methods.trace.merging import merge_masks
from edgebench.methods.trace.propagation import Cells, Pooling, propagate

Classes = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class PanopticSettings:
    """How classes become segments. The paper gives the order of the steps; the walk's values are IRNet's.

    Attributes:
        confine: The walk of a segment ends where the map of classes has another than its `class`, or only at edges,
            anywhere in the `image`; stuff walks as well then.
        leftover: Pixels of a thing class that no segment reaches go to the `nearest` of the class, or to none (`void`).
        edge_threshold: Edges from here on separate parts.
        connectivity: Neighbours of a pixel within a part.
        smallest: Share of the image below which a part, or what it ends with, is no segment of its own.
        stride: Pixels per cell of the walk's grid.
        grid: Side of a square grid for all images instead.
        edge_pooling: How edges come to the grid.
        radius: Of the walk's neighbourhood, cells.
        beta: Exponent of the affinities.
        steps: Steps of the walk.
        background: Score that a segment must reach, its own largest being 1.
        merge_above: Segments of a class with a larger intersection over union are joined.

    Raises:
        ConfigError: `confine` or `leftover` is unknown.
    """

    confine: Literal["class", "image"] = "class"
    leftover: Literal["nearest", "void"] = "nearest"
    edge_threshold: float = 0.5
    connectivity: Literal[4, 8] = 4
    smallest: float = 0.001
    stride: int = 4
    grid: int | None = None
    edge_pooling: Pooling = "max"
    radius: int = 5
    beta: float = 10.0
    steps: int = 256
    background: float = 0.25
    merge_above: float = 0.5

    def __post_init__(self) -> None:
        if self.confine not in ("class", "image"):
            raise ConfigError(f"TRACE, panoptic: confine {self.confine!r} is unknown; choose class or image.")
        if self.leftover not in ("nearest", "void"):
            raise ConfigError(f"TRACE, panoptic: leftover {self.leftover!r} is unknown; choose nearest or void.")


class Segmented(NamedTuple):
    """Segments of an image.

    Attributes:
        ids: uint32 (H, W), from 1 on; 0 where there is none.
        classes: Of segment k + 1 at place k: by ascending class, parts in the order of their first pixels.
    """

    ids: NDArray[np.uint32]
    classes: list[int]


def segment_classes(
    semantic: Classes,
    edges: NDArray[np.floating] | None,
    things: Collection[int],
    stuff: Collection[int],
    settings: PanopticSettings = PanopticSettings(),
) -> Segmented:
    """One segment per object of each thing class, and one per stuff class.

    The mask of a thing class is cut along the edges into parts. Each grows by the random walk between edges and is
    cut off at `background`; those of a class that then overlap much are one. A pixel that several reach goes to the
    one with the highest score of the walk. A segment that ends with less than `smallest` is given up and its pixels
    are left over. A class of which nothing else is left is one segment.

    Args:
        semantic: (H, W), the class of each pixel; numbers that are no class stand for none.
        edges: (H, W) in [0, 1]; None takes each connected part as it is, and grows none.
        things: Classes of countable objects.
        stuff: All others.
        settings: Thresholds and the walk.

    Source: TRACE (DiffEGG v1, algorithm 4 and the weakly supervised use); it gives the order of the steps.
    """
    nothing = np.zeros(semantic.shape)
    parts: list[Mask] = []
    owners: list[int] = []
    for category in _present(semantic, things):
        mask = semantic == category
        sizes = settings.connectivity, settings.smallest
        found = cut_by_edges(mask, nothing if edges is None else edges, settings.edge_threshold, *sizes)
        parts += found or [mask]
        owners += [category] * max(len(found), 1)
    if edges is not None and settings.confine == "image":
        for category in _present(semantic, stuff):
            parts.append(semantic == category)
            owners.append(category)
    scores = np.array(parts, dtype=np.float32).reshape(-1, *semantic.shape)
    if edges is not None and parts:
        scores, owners = _joined(_grown(semantic, scores, owners, edges, settings), owners, settings)
    winner = _winners(semantic, scores, owners, settings)
    return _numbered(semantic, winner, owners, things, stuff, settings)


def _grown(
    semantic: Classes,
    parts: NDArray[np.float32],
    owners: list[int],
    edges: NDArray[np.floating],
    settings: PanopticSettings,
) -> NDArray[np.float32]:
    """Scores float32 (n, H, W) of parts (n, H, W) after the walk, the largest of each being 1."""
    cells = Cells(semantic.shape, settings.stride, settings.grid)
    pooled = cells.strongest(edges) if settings.edge_pooling == "max" else cells.mean(edges)
    small, found = cells.mean(parts), np.empty_like(parts)
    for category in sorted(set(owners)):
        chosen = [place for place, owner in enumerate(owners) if owner == category]
        barrier = pooled
        if settings.confine == "class":
            outside = cells.mean(semantic == category) < 0.5
            barrier = np.where(outside, 1, pooled)
        walked = propagate(small[chosen], barrier, settings.steps, settings.radius, settings.beta)
        found[chosen] = [cells.to_image(each) for each in walked]
    largest = found.max((1, 2), keepdims=True)
    # A part that lies under edges altogether does not walk: it stays as it is.
    return np.where(largest > 0, found / np.where(largest > 0, largest, 1), parts).astype(np.float32)


def _joined(
    scores: NDArray[np.float32], owners: list[int], settings: PanopticSettings
) -> tuple[NDArray[np.float32], list[int]]:
    """Scores and classes after masks of a class that overlap much were joined; each pixel keeps its highest score."""
    joined = merge_masks(scores >= settings.background, np.ones(len(scores)), settings.merge_above, owners)
    highest = np.stack([scores[members].max(0) for members in joined.members])
    return highest, [owners[members[0]] for members in joined.members]


def _winners(
    semantic: Classes, scores: NDArray[np.float32], owners: list[int], settings: PanopticSettings
) -> NDArray[np.int64]:
    """Place (H, W) of the segment with the highest score of at least `background`; -1 where none reaches it."""
    best = np.zeros(semantic.shape, np.float32)
    winner = np.full(semantic.shape, -1, np.int64)
    known = np.isin(semantic, owners)
    for place, (score, owner) in enumerate(zip(scores, owners, strict=True)):
        allowed = semantic == owner if settings.confine == "class" else known
        wins = allowed & (score > best) & (score >= settings.background)
        best[wins] = score[wins]
        winner[wins] = place
    return winner


def _numbered(
    semantic: Classes,
    winner: NDArray[np.int64],
    owners: list[int],
    things: Collection[int],
    stuff: Collection[int],
    settings: PanopticSettings,
) -> Segmented:
    """Segments from who won which pixel, with what is left over dealt out."""
    areas = np.bincount(winner[winner >= 0], minlength=len(owners))
    kept = np.flatnonzero(areas >= max(settings.smallest * winner.size, 1))
    kept = np.array([place for place in kept if owners[place] in things], dtype=np.int64)
    ids, classes = np.zeros(semantic.shape, np.uint32), []
    for place in kept:
        classes.append(owners[place])
        ids[winner == place] = len(classes)
    # Pixels that no thing took and that stuff has, by the walk or by the map of classes.
    of_stuff = {place for place, owner in enumerate(owners) if owner in stuff}
    for category in _present(semantic, stuff):
        places = [place for place in of_stuff if owners[place] == category]
        mask = ((semantic == category) & (ids == 0)) | (np.isin(winner, places) & (ids == 0))
        if mask.any():
            classes.append(category)
            ids[mask] = len(classes)
    for category in _present(semantic, things):
        left = (semantic == category) & (ids == 0)
        own = [number for number, each in enumerate(classes, start=1) if each == category]
        if not left.any():
            continue
        if not own:
            classes.append(category)
            ids[left] = len(classes)
        elif settings.leftover == "nearest":
            taken = np.isin(ids, own)
            rows, columns = ndimage.distance_transform_edt(~taken, return_distances=False, return_indices=True)
            ids[left] = ids[rows[left], columns[left]]
    return Segmented(*_ordered(ids, classes))


def _ordered(ids: NDArray[np.uint32], classes: list[int]) -> tuple[NDArray[np.uint32], list[int]]:
    """Numbers by ascending class, with gaps closed."""
    present = [int(number) for number in np.unique(ids) if number]
    order = sorted(present, key=lambda number: (classes[number - 1], number))
    table = np.zeros(len(classes) + 1, np.uint32)
    table[order] = np.arange(1, len(order) + 1)
    return table[ids], [classes[number - 1] for number in order]


def _present(semantic: Classes, classes: Collection[int]) -> list[int]:
    return [category for category in np.unique(semantic).tolist() if category in classes]
