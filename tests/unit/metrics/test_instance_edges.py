from __future__ import annotations

import numpy as np
import pytest

from edgebench.metrics.instance_edges import segment_edges
from tests.unit.metrics import plain_instance_edges
from tests.unit.panoptic_files import random_drawn


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("void", [False, True])
def test_equals_the_plain_version(seed: int, void: bool) -> None:
    ids = random_drawn(seed).ids
    edges = segment_edges(ids, void)
    assert edges.dtype == bool
    assert edges.any()
    np.testing.assert_array_equal(edges, plain_instance_edges.segment_edges(ids, void))


def test_a_straight_border_is_one_line_beside_it() -> None:
    ids = np.full((20, 30), 7, np.uint32)
    ids[:, 15:] = 9
    edges = segment_edges(ids)
    rows, columns = np.nonzero(edges)
    assert set(columns) <= {14, 15}
    assert len(set(rows)) >= 18  # a skeleton ends a pixel before the border of the image
    assert edges.sum() == len(set(rows))


def test_the_border_of_void_counts_only_when_asked_to() -> None:
    ids = np.zeros((20, 30), np.uint32)
    ids[5:15, 5:15] = 3
    assert not segment_edges(ids).any()
    assert segment_edges(ids, void=True).sum() > 30
    ids[5:15, 15:25] = 4
    shared = segment_edges(ids)
    assert set(np.nonzero(shared)[1]) <= {14, 15}
    assert 8 <= shared.sum() <= 10


def test_ids_are_told_apart_to_the_last_bit() -> None:
    ids = np.full((12, 12), 2**24 - 1, np.uint32)
    ids[:, 6:] = 2**24 - 2
    assert segment_edges(ids).sum() >= 10


def test_one_segment_has_no_edge() -> None:
    for ids in (np.ones((1, 1), np.uint32), np.full((9, 9), 5, np.int64)):
        assert not segment_edges(ids).any()
