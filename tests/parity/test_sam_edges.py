"""Masks to edge maps, pixel for pixel, against the authors' synthesis code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.morphology import thin

from edgebench.methods.sam.edges import mask_edges, polish_masks


@pytest.fixture(scope="module")
def stored(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "fixtures" / "memo" / "sam_edges.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_polished_masks(stored: dict[str, np.ndarray]) -> None:
    polished = polish_masks(stored["masks"])
    np.testing.assert_array_equal(polished, stored["polished"])
    np.testing.assert_array_equal(polished.sum((1, 2)), stored["polished_area"])


def test_edges(stored: dict[str, np.ndarray]) -> None:
    polished = polish_masks(stored["masks"])
    np.testing.assert_array_equal(mask_edges(stored["masks"]), stored["edges_raw"])
    np.testing.assert_array_equal(mask_edges(polished), stored["edges_polished"])
    np.testing.assert_array_equal(mask_edges(polished, width=3), stored["edges_w3"])
    np.testing.assert_array_equal(thin(mask_edges(polished)), stored["edges_thin"])
