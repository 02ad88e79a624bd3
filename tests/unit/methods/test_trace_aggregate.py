"""Blocks of several resolutions on one grid."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgebench.errors import DataError
from edgebench.methods.trace.aggregate import BlockMean, add_block, average_blocks, normalise_rows
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


def given_by_rows(blocks: list[tuple[Tensor, tuple[int, int]]], rows: int) -> BlockMean:
    mean = BlockMean()
    for attention, grid in blocks:
        for start in range(0, len(attention), rows):
            span = slice(start, min(start + rows, len(attention)))
            mean.add(attention[None, span], span, grid)
    return mean


@pytest.mark.parametrize("rows", [1, 5, 100])
def test_rows_at_a_time_give_the_same_mean(rows: int) -> None:
    grids = [(4, 8), (2, 4), (4, 8), (1, 2), (2, 4)]
    blocks = [(block(grid, seed, zeros=0.3), grid) for seed, grid in enumerate(grids)]
    result = given_by_rows(blocks, rows).result()
    assert result.dtype == torch.float32
    torch.testing.assert_close(result[0], average_blocks(blocks, (4, 8)), atol=1e-6, rtol=0)
    finer = given_by_rows(blocks, rows).result((8, 16))
    torch.testing.assert_close(finer[0], average_blocks(blocks, (8, 16)), atol=1e-6, rtol=0)


def test_sides_that_are_no_multiples_are_nearly_the_same() -> None:
    grids = [(4, 5), (3, 2), (3, 2)]
    blocks = [(block(grid, seed), grid) for seed, grid in enumerate(grids)]
    result, expected = given_by_rows(blocks, 4).result()[0], average_blocks(blocks, (4, 5))
    torch.testing.assert_close(result.sum(1), torch.ones(20))
    assert 0 < (result - expected).abs().max() < 0.05 * expected.max()


def test_rows_that_do_not_fit_are_refused() -> None:
    mean = BlockMean()
    with pytest.raises(DataError, match="rows 2 to 4 of a grid of 2x2"):
        mean.add(torch.ones(1, 1, 4), slice(2, 4), (2, 2))
    with pytest.raises(DataError, match="rows 3 to 5 of a grid of 2x2"):
        mean.add(torch.ones(1, 2, 4), slice(3, 5), (2, 2))
    with pytest.raises(DataError, match="at least one block"):
        mean.result()
