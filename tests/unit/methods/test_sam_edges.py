"""Masks to edges on hand-made masks."""

from __future__ import annotations

import numpy as np

from edgebench.methods.sam.edges import edges_from_masks, mask_edges, polish_masks, prune
from edgebench.methods.sam.proposals import classical_masks, synthesise_edges


def box(top: int, left: int, bottom: int, right: int, size: int = 24) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_small_masks_lie_over_large_ones_and_gaps_close() -> None:
    small, large, beside = box(6, 6, 10, 10), box(2, 2, 20, 12), box(2, 15, 20, 22)
    polished = polish_masks(np.stack([small, large, beside]))
    np.testing.assert_array_equal(polished[2], small)
    assert not (polished.sum(0) > 1).any()
    assert polished[0][:, 12].any()  # the gap of three columns is shared out
    assert polished[1][:, 14].any()
    assert not polished[:, 23].any()
    assert not polish_masks(np.stack([box(20, 20, 22, 22)]))[0][:, :16].any()


def test_the_border_of_the_image_is_no_edge() -> None:
    edges = mask_edges(box(0, 0, 24, 10)[None])
    expected = np.zeros((24, 24), dtype=bool)
    expected[:, 9] = True
    np.testing.assert_array_equal(edges, expected)
    assert mask_edges(box(0, 0, 24, 10)[None], width=3).sum() == 3 * 24


def test_touching_masks_leave_one_line() -> None:
    edges = edges_from_masks(np.stack([box(0, 0, 24, 12), box(0, 12, 24, 24)]))
    assert (edges.sum(1) == 1).mean() > 0.9
    assert set(np.nonzero(edges)[1]) <= {11, 12}


def test_specks_go() -> None:
    edges = np.zeros((20, 20), dtype=bool)
    edges[1:8, 1] = True  # seven pixels
    edges[np.arange(10, 18), np.arange(10, 18)] = True  # eight on a diagonal
    kept = prune(edges)
    assert kept.sum() == 8
    assert not kept[:, 1].any()
    assert not prune(np.zeros((4, 4), dtype=bool)).any()


def test_proposals_find_a_plain_object() -> None:
    rng = np.random.default_rng(0)
    image = np.full((48, 48, 3), 60, dtype=np.uint8)
    image[12:36, 10:30] = (200, 120, 40)
    image = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    truth = box(12, 10, 36, 30, size=48)
    overlaps = [(mask & truth).sum() / (mask | truth).sum() for mask in classical_masks(image)]
    assert max(overlaps) > 0.75
    edges = synthesise_edges(image)
    rows, columns = np.nonzero(edges)
    distance = np.minimum(
        np.minimum(abs(rows - 11.5), abs(rows - 35.5)), np.minimum(abs(columns - 9.5), abs(columns - 29.5))
    )
    assert len(rows) > 60
    assert (distance <= 2).mean() > 0.95


def test_images_without_contrast_have_no_edges() -> None:
    for size in (1, 2, 32):
        assert not synthesise_edges(np.full((size, size, 3), 90, dtype=np.uint8)).any()
