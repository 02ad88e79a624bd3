"""Cutting, joining and the whole of refinement."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from edgebench.errors import DataError
from edgebench.methods.trace.adjacency import has_touching_instances, touching_pairs
from edgebench.methods.trace.components import bounding_box, cut_by_edges
from edgebench.methods.trace.merging import merge_masks
from edgebench.methods.trace.refine import RefineSettings, edge_support, refine_masks
from edgebench.plan.methods.instances import TraceRefine
from tests.unit.methods import refine_plain as plain


def blobs(count: int, shape: tuple[int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([ndimage.gaussian_filter(rng.random(shape), 2) > 0.5 for _ in range(count)])


def two_rooms() -> tuple[np.ndarray, np.ndarray]:
    """One mask over two neighbouring squares, and the edges around both."""
    edges = np.zeros((64, 96))
    edges[8:48, 8:84] = 1
    for left in (12, 48):
        edges[12:44, left : left + 32] = 0
    mask = np.zeros((64, 96), bool)
    mask[20:36, 20:72] = True
    return mask, edges


# Cutting


@pytest.mark.parametrize("seed", range(4))
def test_components_equal_flooding(seed: int) -> None:
    mask, edges = blobs(1, (17, 23), seed)[0], np.random.default_rng(seed).random((17, 23))
    expected = plain.components(mask, edges, 0.7)
    found = cut_by_edges(mask, edges, 0.7, smallest=0)
    assert [set(map(tuple, np.argwhere(each).tolist())) for each in found] == expected


def test_small_components_are_dropped_and_corners_connect_if_asked() -> None:
    mask = np.zeros((20, 50), bool)
    mask[2:4, 2:4] = mask[4:6, 4:6] = True
    mask[10, 30] = True
    edges = np.zeros(mask.shape)
    assert [int(each.sum()) for each in cut_by_edges(mask, edges)] == [4, 4, 1]  # a pixel is just 0.1 %
    assert [int(each.sum()) for each in cut_by_edges(mask, edges, connectivity=8)] == [8, 1]
    assert [int(each.sum()) for each in cut_by_edges(mask, edges, smallest=0.002)] == [4, 4]
    assert cut_by_edges(mask, np.full(mask.shape, 0.5)) == []
    assert len(cut_by_edges(mask, np.full(mask.shape, 0.49))) == 3
    assert cut_by_edges(np.zeros_like(mask), edges) == []
    assert bounding_box(mask, 3) == (slice(0, 14), slice(0, 34))


# Joining


@pytest.mark.parametrize("seed", range(6))
def test_merging_equals_all_pairs_each_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = blobs(4, (13, 21), seed)
    masks = np.stack([base[index % 4] ^ (rng.random((13, 21)) > 0.85) for index in range(14)])
    scores = rng.random(14)
    expected = plain.merge(list(masks), list(scores), 0.65)
    assert 1 < len(expected) < 14
    found = merge_masks(masks, scores, 0.65)
    assert found.members == [each[2] for each in expected]
    np.testing.assert_array_equal(found.masks, np.stack([each[0] for each in expected]))
    np.testing.assert_array_equal(found.scores, [each[1] for each in expected])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 0.95))
def test_merging_again_changes_nothing(seed: int, above: float) -> None:
    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.random((12, 9, 14)), (0, 2, 2)) > 0.5
    once = merge_masks(masks, rng.random(12), above)
    again = merge_masks(once.masks, once.scores, above)
    np.testing.assert_array_equal(again.masks, once.masks)
    np.testing.assert_array_equal(again.scores, once.scores)


@pytest.mark.parametrize("seed", range(5))
def test_merging_does_not_depend_on_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = blobs(3, (23, 31), seed)
    # Noise of every pixel, so that no two IoUs are equal.
    masks = np.stack([base[index % 3] ^ (rng.random((23, 31)) > 0.9) for index in range(12)])
    scores = rng.random(12)
    order = rng.permutation(12)
    found, other = merge_masks(masks, scores), merge_masks(masks[order], scores[order])
    as_set = {(mask.tobytes(), score) for mask, score in zip(found.masks, found.scores, strict=True)}
    assert as_set == {(mask.tobytes(), score) for mask, score in zip(other.masks, other.scores, strict=True)}
    assert len(as_set) < 12


def test_of_equal_ious_the_lowest_indices_are_joined_first() -> None:
    masks = np.zeros((3, 1, 8), bool)
    masks[0, 0, 0:4] = masks[1, 0, 1:5] = masks[2, 0, 2:6] = True  # 0 and 1, 1 and 2: IoU 3/5
    assert merge_masks(masks, [0.1, 0.2, 0.3], 0.5).members == [[0, 1], [2]]
    assert merge_masks(masks[::-1], [0.3, 0.2, 0.1], 0.5).members == [[0, 1], [2]]


def test_only_above_the_threshold_and_within_a_group() -> None:
    masks = np.zeros((4, 2, 4), bool)
    masks[0, 0] = masks[1, 0, :2] = True  # IoU exactly one half
    masks[2, 1] = masks[3, 1] = True
    assert merge_masks(masks, np.ones(4)).members == [[0], [1], [2, 3]]
    assert merge_masks(masks, np.ones(4), 0.49).members == [[0, 1], [2, 3]]
    assert merge_masks(masks, np.ones(4), groups=[1, 1, 1, 2]).members == [[0], [1], [2], [3]]
    assert merge_masks(masks, np.ones(4), 1).members == [[0], [1], [2], [3]]
    assert merge_masks(masks[:0], []).masks.shape == (0, 2, 4)
    empty = np.zeros((2, 2, 4), bool)
    assert merge_masks(empty, np.ones(2), 0).members == [[0], [1]]


# The whole


def test_one_mask_over_two_rooms_becomes_both_rooms() -> None:
    mask, edges = two_rooms()
    found = refine_masks(mask[None], edges, scores=[0.7], categories=[3])
    assert found.masks.shape == (2, 64, 96)
    for grown, left in zip(found.masks, (12, 48), strict=True):
        room = np.zeros_like(mask)
        room[12:44, left : left + 32] = True
        assert (grown & room).sum() == room.sum()  # filled to its corners
        assert (grown & ~room & (edges < 1)).sum() == 0  # and nothing beyond the edges
    assert list(found.categories) == [3, 3]
    assert (found.scores > 0.3).all()


def test_the_other_orders() -> None:
    mask, edges = two_rooms()

    def areas(**options: Any) -> list[int]:
        settings = RefineSettings(swallowed="drop", **options)
        return [int(each.sum()) for each in refine_masks(mask[None], edges, settings).masks]

    assert areas(order="components_only") == [24 * 16, 24 * 16]
    first, last = areas(order="components_first"), areas(order="propagate_first")
    assert len(first) == len(last) == 2
    assert last == [32 * 32, 32 * 32]  # cut last, so without any pixel of the edges
    (only,) = areas(order="propagate_only")
    assert only >= 2 * 32 * 32


def test_pieces_of_one_room_are_joined_unless_their_categories_differ() -> None:
    _, edges = two_rooms()
    masks = np.zeros((2, 64, 96), bool)
    masks[0, 14:24, 14:24] = masks[1, 30:40, 30:40] = True
    settings_ = RefineSettings(score="kept")
    joined = refine_masks(masks, edges, settings_, scores=[0.2, 0.9])
    assert len(joined.masks) == 1
    assert list(joined.scores) == [0.9]
    assert len(refine_masks(masks, edges, settings_, categories=[1, 2]).masks) == 2
    assert len(refine_masks(masks, edges, RefineSettings(merge_above=1)).masks) == 2


def test_the_background_and_what_masks_are_divided_by() -> None:
    edges = np.zeros((64, 64))
    masks = np.zeros((2, 64, 64), bool)
    masks[0, 20:50, 20:50] = masks[1, 4:8, 4:8] = True
    few = {"steps": 4, "merge_above": 1.0}
    own = refine_masks(masks, edges, RefineSettings(**few))  # type: ignore[arg-type]
    joint = refine_masks(masks, edges, RefineSettings(divide_by="image_max", **few))  # type: ignore[arg-type]
    assert len(own.masks) == 2
    assert len(joint.masks) == 1  # the small one nowhere reaches a quarter of the large one
    np.testing.assert_array_equal(joint.masks[0], own.masks[0])
    strict = refine_masks(masks, edges, RefineSettings(background=0.9, **few))  # type: ignore[arg-type]
    assert (strict.masks.sum((1, 2)) < own.masks.sum((1, 2))).all()


def test_what_wide_lines_swallow_goes_to_the_nearest_piece() -> None:
    edges = np.zeros((64, 96))
    edges[:, 40:52] = 1
    mask = np.zeros((2, 64, 96), bool)
    mask[0, 10:50, 10:80] = True
    mask[1, 52:60, 42:50] = True  # under the line as a whole: no piece of it is left that could take its pixels
    few = {"order": "components_only", "merge_above": 1.0}
    left, right = refine_masks(mask, edges, RefineSettings(swallowed="drop", **few)).masks  # type: ignore[arg-type]
    assert not (left | right)[:, 40:52].any()
    left, right = refine_masks(mask, edges, RefineSettings(**few)).masks  # type: ignore[arg-type]
    np.testing.assert_array_equal(left | right, mask[0])
    assert left[10:50, 10:46].all()
    assert right[10:50, 46:80].all()
    assert not (left & right).any()
    grown = refine_masks(mask, edges, RefineSettings()).masks
    assert (grown.any(0) & mask[0]).sum() == mask[0].sum()


def test_thin_lines_hold_only_by_their_strongest_pixel() -> None:
    edges = np.zeros((64, 64))
    edges[:, 30] = 1
    mask = np.zeros((1, 64, 64), bool)
    mask[0, 20:40, 5:20] = True
    closed = refine_masks(mask, edges).masks[0]
    assert not closed[:, 33:].any()
    assert refine_masks(mask, edges, RefineSettings(edge_pooling="mean")).masks[0][:, 33:].any()


def test_the_score_of_the_edges() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    edges = np.zeros((9, 9))
    assert edge_support(mask, edges) == 0
    edges[mask] = 1
    edges[3:6, 3:6] = 0.25
    assert edge_support(mask, edges) == pytest.approx(0.75)
    edges[2, 2:7] = 0
    assert edge_support(mask, edges) == pytest.approx(0.75 * 11 / 16)
    assert edge_support(np.ones((9, 9), bool), edges) == 0
    assert edge_support(np.zeros((9, 9), bool), edges) == 0
    line = np.zeros((9, 9), bool)
    line[4] = True  # all border: its inside is itself
    assert edge_support(line, np.full((9, 9), 0.5)) == pytest.approx(0.25)
    mask, edges = two_rooms()
    assert list(refine_masks(mask[None], edges, RefineSettings(score="one")).scores) == [1, 1]


def test_nothing_in_nothing_out() -> None:
    mask, edges = two_rooms()
    none = refine_masks(np.zeros((0, 64, 96), bool), edges)
    assert none.masks.shape == (0, 64, 96)
    assert none.scores.shape == none.categories.shape == (0,)
    assert len(refine_masks(mask[None], np.ones((64, 96))).masks) == 0
    assert len(refine_masks(mask[None], np.ones((64, 96)), RefineSettings(order="propagate_only")).masks) == 0


def test_is_the_same_each_time() -> None:
    masks = blobs(6, (60, 80), 0)
    edges = np.clip(ndimage.gaussian_filter(np.random.default_rng(3).random((60, 80)), 2) * 8 - 3.6, 0, 1)
    first, second = refine_masks(masks, edges), refine_masks(masks, edges)
    np.testing.assert_array_equal(first.masks, second.masks)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_wrong_edges_are_refused() -> None:
    mask, edges = two_rooms()
    with pytest.raises(DataError, match=r"edges of \(64, 95\) for masks of \(64, 96\)"):
        refine_masks(mask[None], edges[:, 1:])
    with pytest.raises(DataError, match="from 0 to 255"):
        refine_masks(mask[None], edges * 255)
    with pytest.raises(DataError, match="nan"):
        refine_masks(mask[None], np.full((64, 96), np.nan))


def test_the_plan_has_the_same_fields_and_defaults() -> None:
    ours = {each.name: each.default for each in fields(RefineSettings)}
    planned = TraceRefine(stage="predict", method="trace_refine", dataset="d", masks="m", edges="e")
    assert {name: getattr(planned, name) for name in ours} == ours


# Adjacency


@pytest.mark.parametrize("within", [0, 1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_touching_equals_all_pairs_of_pixels(seed: int, within: int) -> None:
    rng = np.random.default_rng(seed)
    masks = np.zeros((7, 26, 40), bool)
    for mask in masks:
        top, left = rng.integers(0, 20), rng.integers(0, 34)
        mask[top : top + 6, left : left + 6] = rng.random((6, 6))[: 26 - top, : 40 - left] > 0.4
    masks[6] = False
    kinds = [1, 1, 2, 1, 2, 1, 1]
    assert list(touching_pairs(masks, kinds, within)) == plain.touching(masks, kinds, within)


def test_a_band_of_void_is_looked_through_but_no_object_of_void() -> None:
    masks = np.zeros((2, 20, 60), bool)
    masks[0, 5:15, 5:15] = masks[1, 5:15, 20:30] = True
    void = np.zeros((20, 60), bool)
    assert not has_touching_instances(masks, [1, 1])
    void[3:17, 15:20] = True
    assert has_touching_instances(masks, [1, 1], void=void)
    assert not has_touching_instances(masks, [1, 2], void=void)
    # Background between two bands keeps them apart.
    masks[1] = np.roll(masks[1], 8, 1)
    bands = np.zeros((20, 60), bool)
    bands[3:17, 15:20] = bands[3:17, 23:28] = True
    assert not has_touching_instances(masks, [1, 1], void=bands)
    # A whole object that nobody annotated lies between them.
    masks[1] = np.roll(masks[1], 12, 1)
    wide = np.zeros((20, 60), bool)
    wide[3:17, 15:40] = True
    assert not has_touching_instances(masks, [1, 1], void=wide)
    assert has_touching_instances(masks, [1, 1], void=wide, band=13)
    assert not has_touching_instances(masks[:0], [], void=wide)
    assert not has_touching_instances(np.zeros((2, 20, 60), bool), [1, 1], void=wide)
