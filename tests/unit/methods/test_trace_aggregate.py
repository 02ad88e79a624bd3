"""Blocks of several resolutions on one grid."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgebench.errors import DataError
from edgebench.methods.trace.aggregate import add_block, average_blocks, normalise_rows
from tests.unit.methods import trace_plain as plain


def block(grid: tuple[int, int], seed: int = 0, zeros: float = 0.0) -> Tensor:
    return plain.distributions(grid[0] * grid[1], grid[0] * grid[1], seed, zeros)


@pytest.mark.parametrize(
    ("block_grid", "grid"),
    [((2, 3), (4, 6)), ((1, 1), (3, 4)), ((2, 2), (8, 8)), ((3, 2), (5, 3)), ((4, 5), (4, 5)), ((1, 3), (2, 7))],
)
def test_upsampling_equals_the_loop(block_grid: tuple[int, int], grid: tuple[int, int]) -> None:
    attention = block(block_grid, zeros=0.3)
    result = average_blocks([(attention, block_grid)], grid)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), plain.upsampled(attention, block_grid, grid), atol=1e-6, rtol=0)


def test_blocks_count_alike() -> None:
    grids = [(4, 6), (2, 3), (4, 6), (1, 1)]
    blocks = [(block(grid, seed), grid) for seed, grid in enumerate(grids)]
    expected = sum(plain.upsampled(attention, grid, (4, 6)) for attention, grid in blocks) / len(blocks)
    result = average_blocks(iter(blocks), (4, 6))
    torch.testing.assert_close(result.double(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(result.sum(1), torch.ones(24))


def test_a_single_scale_is_the_plain_mean() -> None:
    first, second = block((3, 3), 1), block((3, 3), 2)
    torch.testing.assert_close(average_blocks([(first, (3, 3)), (second, (3, 3))], (3, 3)), (first + second) / 2)


def test_maps_of_half_precision_weigh_as_much_as_others() -> None:
    first, second = block((3, 3), 1).bfloat16(), block((3, 3), 2)
    exact = first.double() / first.double().sum(1, keepdim=True)
    result = average_blocks([(first, (3, 3)), (second, (3, 3))], (3, 3))
    torch.testing.assert_close(result.double(), (exact + second.double()) / 2, atol=1e-6, rtol=0)


def test_adds_in_place_and_leaves_the_block_alone() -> None:
    attention = block((2, 2))
    before = attention.clone()
    total = torch.ones(16, 16, dtype=torch.float64)
    add_block(total, attention, (2, 2), (4, 4))
    torch.testing.assert_close(total - 1, plain.upsampled(attention, (2, 2), (4, 4)), atol=1e-7, rtol=0)
    assert torch.equal(attention, before)


def test_normalises_in_place() -> None:
    values = 3 * block((2, 2))
    assert normalise_rows(values) is values
    torch.testing.assert_close(values.sum(1), torch.ones(4))


@pytest.mark.parametrize(
    ("block_grid", "grid", "shape", "words"),
    [
        ((2, 2), (4, 4), (5, 4), "(5, 4) is not that of a grid of 2x2"),
        ((0, 2), (4, 4), (0, 0), "0x2"),
        ((4, 2), (2, 4), (8, 8), "common grid of 2x4 is coarser"),
    ],
)
def test_what_does_not_fit_is_refused(
    block_grid: tuple[int, int], grid: tuple[int, int], shape: tuple[int, int], words: str
) -> None:
    with pytest.raises(DataError) as error:
        average_blocks([(torch.ones(shape), block_grid)], grid)
    assert words in str(error.value)


def test_a_total_of_another_grid_is_refused() -> None:
    with pytest.raises(DataError, match="grid of 4x4"):
        add_block(torch.zeros(9, 9), block((2, 2)), (2, 2), (4, 4))


def test_no_blocks_are_refused() -> None:
    with pytest.raises(DataError, match="at least one block"):
        average_blocks([], (4, 4))
