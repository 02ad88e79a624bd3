"""The walk equals powers of the matrix it stands for, keeps behind edges, and evens out without them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from edgebench.methods.trace.propagation import Cells, chebyshev, neighbours, path_to, propagate
from tests.unit.methods import refine_plain as plain


def soft_edges(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Edges of all strengths, with whole regions of none."""
    rng = np.random.default_rng(seed)
    return np.clip(ndimage.gaussian_filter(rng.random(shape), 2) * 8 - 3.7, 0, 1)


def some_masks(count: int, shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([ndimage.gaussian_filter(rng.random(shape), 3) > 0.505 for _ in range(count)])


def walled(shape: tuple[int, int] = (14, 17), column: int = 8) -> np.ndarray:
    edges = np.zeros(shape)
    edges[:, column] = 1
    return edges


def test_the_published_neighbourhood() -> None:
    assert len(neighbours(5)) == 34
    matrix = plain.sparse_transitions(np.zeros((20, 20)))
    assert np.diff(matrix.indptr).max() == 69
    # Two are taken at a time.
    assert all(len(neighbours(radius)) % 2 == 0 for radius in range(2, 17))


def test_a_way_holds_the_cells_near_the_line() -> None:
    assert path_to((0, 3)) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert path_to((2, 2)) == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    assert path_to((1, -3)) == [(0, -3), (0, -2), (0, -1), (0, 0), (1, -3), (1, -2), (1, -1), (1, 0)]
    assert (0, 4) not in path_to((2, 4))


@pytest.mark.parametrize(("radius", "beta"), [(5, 10.0), (2, 1.0), (3, 4.0), (7, 10.0)])
def test_equals_the_plain_matrix(radius: int, beta: float) -> None:
    edges, masks = soft_edges((9, 11)), some_masks(3, (9, 11))
    matrix = plain.transitions(edges, radius, beta)
    for steps in (0, 1, 2, 3, 17):
        expected = np.linalg.matrix_power(matrix, steps) @ (masks * (1 - edges)).reshape(3, -1).T
        found = propagate(masks, edges, steps, radius, beta)
        np.testing.assert_allclose(found.reshape(3, -1), expected.T, rtol=0, atol=1e-13)


def test_256_steps_equal_8_squarings_of_the_dense_matrix() -> None:
    edges, masks = soft_edges((32, 32)), some_masks(5, (32, 32))
    matrix = plain.sparse_transitions(edges).toarray()
    for _ in range(8):
        matrix = matrix @ matrix
    expected = matrix @ (masks * (1 - edges)).reshape(5, -1).T
    found = propagate(masks, edges).reshape(5, -1)
    np.testing.assert_allclose(found, expected.T, rtol=0, atol=1e-12)
    np.testing.assert_allclose(propagate(masks, edges, tolerance=1e-7).reshape(5, -1), expected.T, rtol=0, atol=1e-6)
    assert not np.allclose(found, (masks * (1 - edges)).reshape(5, -1), atol=0.05)


def test_the_sparse_matrix_equals_the_plain_one() -> None:
    edges = soft_edges((8, 9))
    np.testing.assert_allclose(plain.sparse_transitions(edges).toarray(), plain.transitions(edges), atol=1e-15)


@pytest.mark.parametrize("steps", [0, 1, 5, 64, 256, 1000])
def test_the_coefficients_make_the_power(steps: int) -> None:
    x = np.linspace(-1, 1, 41)
    found = np.polynomial.chebyshev.chebval(x, chebyshev(steps, 1e-14))
    np.testing.assert_allclose(found, x**steps, rtol=0, atol=1e-12)
    assert len(chebyshev(256, 1e-14)) - 1 < 128


def test_rows_sum_to_one() -> None:
    edges = soft_edges((15, 20))
    # T 1 = 1, of which edges take their share at the start only.
    np.testing.assert_allclose(propagate(np.ones((1, 15, 20)), np.zeros((15, 20)), 9), 1, atol=1e-12)
    np.testing.assert_allclose(plain.sparse_transitions(edges).sum(1), 1, atol=1e-12)


def test_a_wall_lets_nothing_through() -> None:
    edges = walled()
    mask = np.zeros((1, 14, 17))
    mask[0, 5:9, 2:5] = 1
    found = propagate(mask, edges, 1000)
    assert (found[0, :, 8:] == 0).all()
    assert (found[0, :, :8] > 0).all()
    # A gap in the wall does.
    edges[6, 8] = 0
    assert (propagate(mask, edges, 1000)[0, :, 9:] > 0).all()


def test_without_edges_the_walk_tends_to_one_value() -> None:
    mask = np.zeros((1, 14, 17))
    mask[0, 3:6, 2:5] = 1
    for edges, inside in ((np.zeros((14, 17)), np.s_[:, :]), (walled(), np.s_[:, :8])):
        found = propagate(mask, edges, 20000)[0][inside]
        assert found.max() - found.min() < 1e-9
    # To the mean of the mask, each cell counted by how many neighbours it has.
    degrees = (plain.affinities(np.zeros((14, 17))) > 0).sum(1)
    expected = (degrees * mask.ravel()).sum() / degrees.sum()
    np.testing.assert_allclose(propagate(mask, np.zeros((14, 17)), 20000), expected, atol=1e-9)


def test_masks_walk_alone_as_together() -> None:
    edges, masks = soft_edges((40, 33)), some_masks(35, (40, 33))
    together = propagate(masks, edges)
    for index in (0, 15, 16, 34):
        np.testing.assert_array_equal(propagate(masks[index : index + 1], edges)[0], together[index])
    assert propagate(masks[:0], edges).shape == (0, 40, 33)


@pytest.mark.parametrize(("size", "stride", "side"), [((12, 20), 4, None), ((13, 18), 4, None), ((13, 18), 4, 5)])
def test_cells_cover_the_image(size: tuple[int, int], stride: int, side: int | None) -> None:
    values = np.random.default_rng(0).random((2, *size))
    cells = Cells(size, stride, side)
    rows, columns = (side, side) if side else (-(-size[0] // stride), -(-size[1] // stride))
    assert cells.shape == (rows, columns)
    for row in range(rows):
        for column in range(columns):
            if side:
                down = slice(row * size[0] // side, -(-(row + 1) * size[0] // side))
                right = slice(column * size[1] // side, -(-(column + 1) * size[1] // side))
            else:
                down, right = (slice(at * stride, (at + 1) * stride) for at in (row, column))
            part = values[:, down, right]
            np.testing.assert_allclose(cells.strongest(values)[:, row, column], part.max((1, 2)))
            np.testing.assert_allclose(cells.mean(values)[:, row, column], part.mean((1, 2)))


def test_more_cells_than_pixels_repeat_them() -> None:
    values = np.arange(6.0).reshape(2, 3)
    cells = Cells((2, 3), side=6)
    np.testing.assert_array_equal(cells.strongest(values), np.repeat(np.repeat(values, 3, 0), 2, 1))
    np.testing.assert_array_equal(cells.mean(values), cells.strongest(values))


def test_back_to_the_image_is_bilinear_between_centres() -> None:
    grown = Cells((6, 8), 4).to_image(np.array([[0.0, 1.0], [2.0, 3.0]]))
    assert grown.shape == (6, 8)
    np.testing.assert_allclose(grown[0], [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    np.testing.assert_allclose(grown[:, 0], [0, 0, 0.25, 0.75, 1.25, 1.75])
    assert Cells((7, 5), side=3).to_image(np.ones((3, 3))).shape == (7, 5)
    assert Cells((1, 3), 4).to_image(np.ones((1, 1))).shape == (1, 3)
