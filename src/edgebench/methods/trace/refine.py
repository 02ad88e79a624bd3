"""Masks refined by edges: cut along them, grown inside them, joined where they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from edgebench.errors import DataError
from edgebench.methods.trace.components import Mask, bounding_box, cut_by_edges
from edgebench.methods.trace.merging import merge_masks
from edgebench.methods.trace.propagation import Cells, propagate

_TOLERANCE = 1e-7
"""Of the walk, whose result is only compared with a threshold, in float32."""


@dataclass(frozen=True)
class RefineSettings:
    """How masks are refined; see `TraceRefine` of `edgebench.plan.methods.instances`, which has the same fields."""

    order: Literal["components_first", "propagate_first", "components_only", "propagate_only"] = "components_first"
    edge_threshold: float = 0.5
    connectivity: Literal[4, 8] = 4
    smallest: float = 0.001
    stride: int = 4
    grid: int | None = None
    edge_pooling: Literal["max", "mean"] = "max"
    radius: int = 5
    beta: float = 10.0
    steps: int = 256
    divide_by: Literal["own_max", "image_max"] = "own_max"
    background: float = 0.25
    swallowed: Literal["drop", "nearest"] = "nearest"
    merge_above: float = 0.5
    score: Literal["interior_border", "one", "kept"] = "interior_border"


class Refined(NamedTuple):
    """The refined masks of one image.

    Attributes:
        masks: bool (n, H, W), in the order of the masks that they come from; they may overlap.
        scores: float64 (n,).
        categories: int64 (n,).
    """

    masks: NDArray[np.bool_]
    scores: NDArray[np.float64]
    categories: NDArray[np.int64]


def refine_masks(
    masks: NDArray[np.bool_],
    edges: NDArray[np.floating],
    settings: RefineSettings | None = None,
    scores: Sequence[float] | None = None,
    categories: Sequence[int] | None = None,
) -> Refined:
    """Cut masks along edges, let each piece grow inside the edges around it, and join what then overlaps.

    Args:
        masks: bool (n, H, W).
        edges: (H, W) in [0, 1].
        settings: How; the defaults where None.
        scores: One per mask; 1 where None.
        categories: One per mask; only masks of the same category are joined. 1 where None.

    Raises:
        DataError: the edges are not of the masks' size, or not in [0, 1].

    Source: TRACE (DiffEGG v1, algorithm 4).
    """
    settings = settings or RefineSettings()
    _check_edges(masks, edges)
    pieces = list(masks)
    sources = np.arange(len(pieces))
    if settings.order in ("components_first", "components_only"):
        pieces, sources = _cut(pieces, sources, edges, settings)
    if settings.order != "components_only":
        pieces, sources = _grow(pieces, sources, edges, settings)
    if settings.order == "propagate_first":
        pieces, sources = _cut(pieces, sources, edges, settings)
    if settings.swallowed == "nearest":
        pieces = _given_back(masks, pieces, sources)
    stacked = np.stack(pieces) if pieces else np.zeros((0, *edges.shape), dtype=bool)
    given = np.ones(len(masks)) if scores is None else np.asarray(scores, dtype=np.float64)
    kinds = np.ones(len(masks), np.int64) if categories is None else np.asarray(categories, dtype=np.int64)
    joined = merge_masks(stacked, given[sources], settings.merge_above, kinds[sources])
    first = np.array([members[0] for members in joined.members], dtype=np.int64)
    return Refined(joined.masks, _scores(joined.masks, joined.scores, edges, settings), kinds[sources][first])


def edge_support(mask: Mask, edges: NDArray[np.floating]) -> float:
    """Mean of 1 - edge inside a mask, times the mean of the edge on its border: in [0, 1].

    The border is the mask's pixels with one of their 4 neighbours outside it, but in the image; inside are the
    others, or all where there are none. A mask without border, such as the whole image, has 0.

    Args:
        mask: bool (H, W).
        edges: (H, W) in [0, 1].
    """
    window = bounding_box(mask, margin=1)
    if window is None:
        return 0.0
    inner, near = mask[window], edges[window]
    border = np.zeros_like(inner)
    border[1:] |= inner[1:] & ~inner[:-1]
    border[:-1] |= inner[:-1] & ~inner[1:]
    border[:, 1:] |= inner[:, 1:] & ~inner[:, :-1]
    border[:, :-1] |= inner[:, :-1] & ~inner[:, 1:]
    if not border.any():
        return 0.0
    interior = inner & ~border
    if not interior.any():
        interior = inner
    return float((1 - near[interior]).mean(dtype=np.float64) * near[border].mean(dtype=np.float64))


def _check_edges(masks: NDArray[np.bool_], edges: NDArray[Any]) -> None:
    if masks.shape[1:] != edges.shape:
        raise DataError(f"edges of {edges.shape} for masks of {masks.shape[1:]} pixels (height, width). Resize one.")
    low, high = (float(edges.min()), float(edges.max())) if edges.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # also true of NaN
        raise DataError(f"edges from {low:g} to {high:g}; they lie in [0, 1]. Scale them first.")


def _cut(
    pieces: list[Mask], sources: NDArray[np.int64], edges: NDArray[np.floating], settings: RefineSettings
) -> tuple[list[Mask], NDArray[np.int64]]:
    cut = [
        cut_by_edges(piece, edges, settings.edge_threshold, settings.connectivity, settings.smallest)
        for piece in pieces
    ]
    return list(chain.from_iterable(cut)), np.repeat(sources, [len(each) for each in cut])


def _grow(
    pieces: list[Mask], sources: NDArray[np.int64], edges: NDArray[np.floating], settings: RefineSettings
) -> tuple[list[Mask], NDArray[np.int64]]:
    """Let pieces walk on the grid; what edges swallow whole is gone."""
    if not pieces:
        return pieces, sources
    cells = Cells(edges.shape, settings.stride, settings.grid)
    barriers = cells.strongest(edges) if settings.edge_pooling == "max" else cells.mean(edges)
    values = np.stack([cells.mean(piece) for piece in pieces])
    walked = propagate(values, barriers, settings.steps, settings.radius, settings.beta, _TOLERANCE)
    soft = [cells.to_image(each) for each in walked]
    most = max(float(each.max()) for each in soft)
    grown, kept = [], []
    for each, source in zip(soft, sources, strict=True):
        top = float(each.max()) if settings.divide_by == "own_max" else most
        mask = each >= settings.background * top if top > 0 else np.zeros(each.shape, dtype=bool)
        if mask.any():
            grown.append(mask)
            kept.append(source)
    return grown, np.array(kept, dtype=np.int64)


def _given_back(masks: NDArray[np.bool_], pieces: list[Mask], sources: NDArray[np.int64]) -> list[Mask]:
    """Pieces with the pixels of their mask that no piece of it kept, each to the nearest piece, the first of equals."""
    whole = list(pieces)
    for source in np.unique(sources):
        numbers = np.flatnonzero(sources == source)
        owner = np.full(masks.shape[1:], -1)
        for number in numbers[::-1]:
            owner[pieces[number]] = number
        lost = masks[source] & (owner < 0)
        if not lost.any():
            continue
        rows, columns = distance_transform_edt(owner < 0, return_distances=False, return_indices=True)
        nearest = owner[rows[lost], columns[lost]]
        for number in numbers:
            added = np.zeros_like(lost)
            added[lost] = nearest == number
            whole[number] = pieces[number] | added
    return whole


def _scores(
    masks: NDArray[np.bool_], kept: NDArray[np.float64], edges: NDArray[np.floating], settings: RefineSettings
) -> NDArray[np.float64]:
    if settings.score == "kept":
        return kept
    if settings.score == "one":
        return np.ones(len(masks))
    return np.array([edge_support(mask, edges) for mask in masks], dtype=np.float64)
