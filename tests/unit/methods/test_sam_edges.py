"""Masks to edges on hand-made masks and drawings."""

from __future__ import annotations

import numpy as np
import pytest

from edgebench.methods.sam.edges import edges_from_masks, outline, polished_labels, vote_levels
from edgebench.methods.sam.masks import PackedMask, pack
from edgebench.methods.sam.proposals import classical_masks
from edgebench.methods.sam.segments import majority_levels, trace_segments

SHAPE = (24, 24)


def box(top: int, left: int, bottom: int, right: int, size: int = 24) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def drawing(*rows: str) -> np.ndarray:
    """Levels from rows of digits; `.` is 0."""
    return np.array([[0 if each == "." else int(each) for each in row] for row in rows], dtype=np.uint8)


def test_packed_masks_come_back_whole() -> None:
    rng = np.random.default_rng(0)
    for size in ((1, 1), (5, 9), (16, 7)):
        mask = np.pad(rng.random(size) < 0.5, ((2, 3), (0, 4)))
        packed = pack(mask, top=10, left=20)
        whole = np.zeros((40, 40), dtype=bool)
        whole[packed.window] = packed.unpack()
        np.testing.assert_array_equal(whole[10 : 10 + mask.shape[0], 20 : 20 + mask.shape[1]], mask)
        assert whole.sum() == mask.sum() == packed.area
    assert pack(np.zeros((3, 3), dtype=bool)).unpack().size == 0
    assert len(pack(np.pad(np.ones((8, 8), dtype=bool), 500)).bits) == 8


def test_small_masks_lie_over_large_ones_and_gaps_close() -> None:
    small, large, beside = box(6, 6, 10, 10), box(2, 2, 20, 12), box(2, 15, 20, 22)
    labels = polished_labels([pack(small), pack(large), pack(beside)], SHAPE)
    np.testing.assert_array_equal(labels == 3, small)
    assert (labels[2:20, 12] == 1).all()  # the gap of three columns is shared out
    assert (labels[2:20, 14] == 2).all()
    assert (labels[:, 23] == 2).any()  # two pixels outwards as well
    assert not polished_labels([pack(box(20, 20, 22, 22))], SHAPE)[:, :16].any()
    assert not polished_labels([], SHAPE).any()


def test_the_border_of_the_image_is_no_edge() -> None:
    labels = box(0, 0, 24, 10).astype(np.int32)
    expected = np.zeros(SHAPE, dtype=bool)
    expected[:, 9] = True
    np.testing.assert_array_equal(outline(labels), expected)
    assert outline(labels, width=3).sum() == 3 * 24


def test_touching_masks_leave_one_line() -> None:
    masks = [pack(box(0, 0, 24, 12)), pack(box(0, 12, 24, 24))]
    edges = edges_from_masks([masks], SHAPE) > 0
    assert (edges.sum(1) == 1).mean() > 0.9
    assert set(np.nonzero(edges)[1]) <= {11, 12}


def test_specks_go_and_the_shortcut_for_one_setting_changes_nothing() -> None:
    rows, columns = np.mgrid[:64, :64]
    masks = [pack((rows - 30) ** 2 + (columns - 30) ** 2 < 400), pack(box(62, 62, 64, 64, size=64))]
    edges = edges_from_masks([masks], (64, 64))
    assert edges[10:50, 10:50].any()
    assert not edges[56:, 56:].any()  # a few pixels around the corner
    np.testing.assert_array_equal(edges_from_masks([masks, masks], (64, 64)), edges)


def test_three_votes_make_a_level() -> None:
    maps = [np.array([[True, True, False]]), np.array([[True, False, False]])]
    np.testing.assert_array_equal(vote_levels(maps * 2), [[2, 1, 0]])  # 4, 2 and 0 votes
    np.testing.assert_array_equal(vote_levels(maps[:1]), [[1, 1, 0]])


def test_several_settings_make_levels() -> None:
    one, other = [pack(box(4, 4, 20, 20))], [pack(box(4, 4, 20, 20)), pack(box(8, 8, 16, 16))]
    levels = edges_from_masks([one] * 3 + [other], SHAPE)
    assert levels[:6, 12].max() == 2  # all four settings
    assert levels[6:10, 12].max() == 1  # the last one alone


def traced(lines: np.ndarray) -> list[np.ndarray]:
    """Per segment the rows and columns of its pixels, (n, 2)."""
    pixels, ends = trace_segments(lines)
    places = np.stack(np.divmod(pixels, lines.shape[1]), axis=1)
    return np.split(places, ends[:-1]) if len(ends) else []


@pytest.mark.parametrize(
    ("lines", "lengths"),
    [
        (["1111"], [4]),
        (["1..1", "...."], []),  # single pixels are no segments
        (["1...", ".1..", "..1.", "...1"], [4]),
        ([".11.", "1..1", ".11."], [6]),  # a closed line of its own
        (["1...1", ".1.1.", "..1..", "..1..", "..1.."], [3, 3, 3]),  # a fork, whose junction belongs to all three
        (["11"], [2]),
        (["11", "1."], [3]),  # three pixels, each beside the others
    ],
)
def test_segments_of_drawings(lines: list[str], lengths: list[int]) -> None:
    mask = drawing(*lines) > 0
    segments = traced(mask)
    assert sorted(map(len, segments)) == lengths
    covered = np.zeros(mask.shape, dtype=bool)
    for segment in segments:
        covered[tuple(segment.T)] = True
        assert (np.abs(np.diff(segment, axis=0)).max(1) == 1).all()  # each pixel touches the next
        assert len({tuple(pixel) for pixel in segment[1:]}) == len(segment) - 1
    np.testing.assert_array_equal(covered, mask if lengths else np.zeros_like(mask))


def test_segments_cover_any_thin_map() -> None:
    from edgebench.metrics.edges import thin

    rng = np.random.default_rng(3)
    lines = thin(rng.random((60, 80)) < 0.3)
    counts = np.zeros(lines.shape, dtype=int)
    for segment in traced(lines):
        np.add.at(counts, tuple(segment[1:-1].T), 1)
    padded = np.pad(lines, 1).astype(int)
    shifts = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]
    neighbours = np.stack([np.roll(padded, shift, (0, 1)) for shift in shifts]).sum(0)[1:-1, 1:-1]
    inner = lines & (neighbours == 2)
    assert counts.max() == 1
    # What lies inside a segment lies in no other, except the two ends of a closed line.
    assert (counts[~inner] == 0).all()
    kept = majority_levels(lines.astype(np.uint8)) > 0
    np.testing.assert_array_equal(kept, lines & (neighbours > 0))


def test_a_segment_takes_its_majority() -> None:
    np.testing.assert_array_equal(majority_levels(drawing("22122")), drawing("22222"))
    np.testing.assert_array_equal(majority_levels(drawing("2211")), drawing("1111"))  # the lower of two as frequent
    np.testing.assert_array_equal(majority_levels(drawing("2..11.")), drawing("...11."))
    forked = drawing("3...1", ".3.1.", "..1..", "..1..", "..1..")
    expected = drawing("3...1", ".3.1.", "..3..", "..1..", "..1..")
    np.testing.assert_array_equal(majority_levels(forked), expected)
    assert not majority_levels(np.zeros((0, 4), dtype=np.uint8)).size


def test_proposals_find_a_plain_object() -> None:
    rng = np.random.default_rng(0)
    image = np.full((48, 48, 3), 60, dtype=np.uint8)
    image[12:36, 10:30] = (200, 120, 40)
    image = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    truth = box(12, 10, 36, 30, size=48)
    masks = classical_masks(image)
    assert len(set(masks)) == len(masks)
    overlaps = []
    for mask in masks:
        whole = np.zeros((48, 48), dtype=bool)
        whole[mask.window] = mask.unpack()
        overlaps.append((whole & truth).sum() / (whole | truth).sum())
    assert max(overlaps) > 0.75
    rows, columns = np.nonzero(edges_from_masks([masks], (48, 48)))
    distance = np.minimum(
        np.minimum(abs(rows - 11.5), abs(rows - 35.5)), np.minimum(abs(columns - 9.5), abs(columns - 29.5))
    )
    assert len(rows) > 60
    assert (distance <= 2).mean() > 0.95


def test_images_without_contrast_have_no_edges() -> None:
    for size in (1, 2, 32):
        masks = classical_masks(np.full((size, size, 3), 90, dtype=np.uint8))
        assert not edges_from_masks([masks], (size, size)).any()


def test_masks_of_many_sizes_are_ordered_by_area() -> None:
    masks: list[PackedMask] = [pack(box(0, 0, side, side)) for side in (3, 9, 6)]
    labels = polished_labels(masks, SHAPE)
    assert (labels[0, 2], labels[0, 5], labels[0, 8]) == (3, 2, 1)
