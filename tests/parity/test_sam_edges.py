"""Masks to edge maps, pixel for pixel, against the authors' synthesis code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgebench.methods.sam.edges import outline, polished_labels, vote_levels
from edgebench.methods.sam.masks import pack
from edgebench.metrics.edges import thin

Stored = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def stored(shared: Path) -> Stored:
    with np.load(shared / "fixtures" / "memo" / "sam_edges.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def labels(stored: Stored) -> np.ndarray:
    return polished_labels([pack(mask) for mask in stored["masks"]], stored["masks"].shape[1:])


def test_polished_masks(stored: Stored, labels: np.ndarray) -> None:
    polished = labels == np.arange(1, len(stored["masks"]) + 1)[:, None, None]
    np.testing.assert_array_equal(polished, stored["polished"])
    np.testing.assert_array_equal(polished.sum((1, 2)), stored["polished_area"])


def test_edges(stored: Stored, labels: np.ndarray) -> None:
    each = [outline(mask.astype(np.int32)) for mask in stored["masks"]]
    np.testing.assert_array_equal(np.logical_or.reduce(each), stored["edges_raw"])
    np.testing.assert_array_equal(outline(labels), stored["edges_polished"])
    np.testing.assert_array_equal(outline(labels, width=3), stored["edges_w3"])
    np.testing.assert_array_equal(thin(outline(labels)), stored["edges_thin"])


def test_levels_of_votes(stored: Stored) -> None:
    votes = np.arange(19)[None] > np.arange(18)[:, None, None]  # (18, 1, 19): pixel k has k votes
    np.testing.assert_array_equal(vote_levels(list(votes))[0], stored["bucket6"])
