"""Padding, shrinking and cutting images."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from edgebench.methods.memo.tiles import (
    OVERLAP,
    blend_weights,
    pad_symmetric,
    padded_size,
    shrink,
    shrunk_size,
    tile_starts,
)


def test_padding_mirrors_bottom_and_right() -> None:
    image = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(pad_symmetric(image, 4), [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [0, 1, 2, 2]])
    assert pad_symmetric(np.zeros((64, 32, 3)), 32).shape == (64, 32, 3)
    assert pad_symmetric(np.ones((1, 1, 3)), 32).sum() == 32 * 32 * 3


def test_sizes() -> None:
    assert shrunk_size(300, 400, None) == shrunk_size(300, 400, 400) == (300, 400)
    assert shrunk_size(300, 400, 100) == (75, 100)
    assert shrunk_size(1, 4000, 320) == (1, 320)
    assert padded_size(321, 481) == (352, 512)
    assert padded_size(3000, 4000, 320) == (256, 320)
    assert padded_size(64, 96, None, 32) == (64, 96)


def test_shrinking_averages_areas() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[:, :, 0] = [[0, 90, 180], [30, 60, 240]]
    # Two columns of one and a half pixels each, one row of two.
    np.testing.assert_array_equal(
        shrink(image, 1, 2)[0, :, 0], [round((15 + 75 / 2) / 1.5), round((210 + 75 / 2) / 1.5)]
    )
    noise = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    blocks = noise.reshape(4, 3, 5, 4, 3).mean((1, 3))
    np.testing.assert_allclose(shrink(noise, 4, 5), blocks, atol=0.5 + 1e-4)
    np.testing.assert_array_equal(shrink(noise, 12, 20), noise)


@pytest.mark.parametrize(("length", "tile"), [(96, 96), (97, 96), (128, 96), (1000, 96), (4000, 512), (40, 96)])
def test_tiles_cover_everything_and_overlap(length: int, tile: int) -> None:
    starts = tile_starts(length, tile)
    assert starts[0] == 0
    assert starts[-1] + tile >= length
    assert starts[-1] == max(length - tile, 0)
    assert all(0 < after - before <= tile - OVERLAP for before, after in pairwise(starts))


def test_blend_weights_fall_to_the_border() -> None:
    weights = blend_weights(160, 192)
    assert weights.shape == (160, 192)
    assert weights.min() > 0
    assert (weights[64:96, 64:128] == 1).all()
    np.testing.assert_allclose(weights[80, :64], (np.arange(64) + 0.5) / 64)
    np.testing.assert_array_equal(weights, weights[::-1, ::-1])
