from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from edgebench.metrics.edges import Matcher


def dense(mask, annotator, radius):
    """Pairs and total distance by a dense assignment in which a forbidden pair costs more than all others."""
    here, there = np.argwhere(mask), np.argwhere(annotator)
    if not len(here) or not len(there):
        return 0, 0
    squared = ((here[:, None] - there[None]) ** 2).sum(-1)
    forbidden = 10**7
    cost = np.where(squared <= radius**2, np.rint(100 * np.sqrt(squared)), forbidden)
    rows, columns = linear_sum_assignment(cost)
    chosen = cost[rows, columns]
    return int((chosen < forbidden).sum()), int(chosen[chosen < forbidden].sum())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 22),
    width=st.integers(1, 22),
    radius=st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.2, 4.34]),
    annotators=st.integers(1, 3),
)
def test_pairs_and_distance_are_optimal_and_the_past_does_not_matter(seed, height, width, radius, annotators):
    rng = np.random.default_rng(seed)
    truth = rng.random((annotators, height, width)) < rng.random()
    support = rng.random((height, width)) < 0.9
    repaired = Matcher(truth, support, radius)
    for _ in range(4):
        mask = (rng.random((height, width)) < rng.random()) & support
        pairs, explained = repaired.match(mask)
        distances = repaired.distances()
        for index in range(annotators):
            assert (pairs[index], distances[index]) == dense(mask, truth[index], radius)
        fresh = Matcher(truth, support, radius)
        fresh_pairs, fresh_explained = fresh.match(mask)
        np.testing.assert_array_equal(fresh_pairs, pairs)
        assert fresh_explained == explained


def test_cardinality_equals_maximum_bipartite_matching_on_a_large_case():
    rng = np.random.default_rng(3)
    truth, mask = rng.random((2, 120, 150)) < 0.12
    radius = 4.3
    here, there = np.argwhere(mask), np.argwhere(truth)
    near = ((here[:, None] - there[None]) ** 2).sum(-1) <= radius**2
    expected = (maximum_bipartite_matching(csr_matrix(near)) >= 0).sum()
    pairs, explained = Matcher(truth[None], mask, radius).match(mask)
    assert pairs[0] == explained == expected


def test_more_pairs_beat_less_distance():
    # a-A is the closest pair, but taking it leaves b and B alone.
    mask, truth = np.zeros((2, 1, 9), bool)
    mask[0, [2, 4]] = True  # b, a
    truth[0, [4, 6]] = True  # A, B
    matcher = Matcher(truth[None], mask, 2.0)
    assert matcher.match(mask)[0][0] == 2
    assert matcher.distances()[0] == 400


def test_a_map_pixel_is_explained_once_however_many_annotators_have_it():
    mask = np.zeros((5, 5), bool)
    mask[2] = True
    pairs, explained = Matcher(np.stack([mask] * 3), mask, 1.0).match(mask)
    assert pairs.tolist() == [5, 5, 5]
    assert explained == 5


@pytest.mark.parametrize(("mask", "truth"), [(0, 0), (1, 0), (0, 1)])
def test_nothing_to_match(mask, truth):
    masks = np.full((4, 3), mask, bool)
    pairs, explained = Matcher(np.full((2, 4, 3), truth, bool), masks, 1.0).match(masks)
    assert pairs.tolist() == [0, 0]
    assert explained == 0


def test_no_annotator():
    mask = np.ones((3, 3), bool)
    pairs, explained = Matcher(np.zeros((0, 3, 3), bool), mask, 1.0).match(mask)
    assert pairs.size == 0
    assert explained == 0
