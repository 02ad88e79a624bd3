"""The mean of self-attention maps of several resolutions on the finest grid."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from edgebench.errors import DataError
from edgebench.methods.trace.divergence import Grid


@torch.no_grad()
def add_block(total: Tensor, attention: Tensor, block_grid: Grid, grid: Grid, weight: float = 1.0) -> None:
    """Add a block's map, brought to the finest grid, to `total` in place.

    A fine query takes the row of the coarse one that it lies in. Of its keys, a coarse one's attention is spread
    bilinearly and the row normalised again (neither is published). Rows enter with sum 1, so that blocks count
    alike. Beside the total, one row of coarse queries is held on the fine grid.

    Args:
        total: (H * W, H * W), float32 or float64.
        attention: mean over heads (h * w, h * w), any floating-point type.
        block_grid: (h, w), at most (H, W).
        grid: (H, W).
        weight: What the rows enter with instead of sum 1.

    Raises:
        DataError: a map does not fit its grid, or the block's grid is the finer one.

    Source: TRACE, ICLR 2026: blocks upsampled to the largest grid and averaged with equal weights.
    """
    (height, width), (low_height, low_width) = grid, block_grid
    for values, (rows, columns) in ((total, grid), (attention, block_grid)):
        if min(rows, columns) < 1 or values.shape != (rows * columns, rows * columns):
            raise DataError(
                f"self-attention map of shape {tuple(values.shape)} is not that of a grid of {rows}x{columns} tokens. "
                "Give the grid of this map."
            )
    if low_height > height or low_width > width:
        raise DataError(
            f"self-attention map of {low_height}x{low_width} tokens: the common grid of {height}x{width} is coarser. "
            "Take the largest grid of all blocks."
        )
    columns_of = torch.arange(width, device=total.device) * low_width // width
    starts = [-(-row * height // low_height) for row in range(low_height + 1)]  # floor(y h / H) = row from here on
    fine = total.view(height, width, -1)
    for row, coarse in enumerate(attention.split(low_width)):
        keys = coarse.to(total.dtype).view(low_width, 1, low_height, low_width)
        spread = interpolate(keys, grid, mode="bilinear", align_corners=False).view(low_width, -1)
        spread *= weight / spread.sum(1, keepdim=True)
        fine[starts[row] : starts[row + 1]] += spread[columns_of]


@torch.no_grad()
def normalise_rows(attention: Tensor) -> Tensor:
    """Divide each row of a map (queries, keys) by its sum, in place, and return the map."""
    return attention.div_(attention.sum(1, keepdim=True))


def average_blocks(blocks: Iterable[tuple[Tensor, Grid]], grid: Grid) -> Tensor:
    """Mean of the maps of all blocks, taken one at a time, as `add_block` brings them to the finest grid.

    Args:
        blocks: maps (h * w, h * w), mean over heads, with their grids (h, w).
        grid: (H, W), the finest.

    Returns:
        float32 (H * W, H * W), rows summing to 1, on the device of the first block.

    Raises:
        DataError: there is no block, or one does not fit its grid or the finest one.
    """
    total: Tensor | None = None
    for attention, block_grid in blocks:
        if total is None:
            total = torch.zeros(2 * (grid[0] * grid[1],), device=attention.device)
        add_block(total, attention, block_grid, grid)
    if total is None:
        raise DataError("no block's self-attention was captured. Choose at least one block.")
    return normalise_rows(total)


class BlockMean:
    """`average_blocks` of maps that come a span of query rows at a time, for a batch.

    The maps of one resolution are added before they are brought to the finest grid, once. Where the grids' sides are
    whole multiples, as those of all backbones, bilinear spreading multiplies the sum of every row alike, and the
    result is that of `average_blocks`; elsewhere rows are normalised after that addition instead of before it.
    """

    def __init__(self) -> None:
        self._sums: dict[Grid, Tensor] = {}
        self._blocks: dict[Grid, int] = {}

    @torch.no_grad()
    def add(self, attention: Tensor, rows: slice, block_grid: Grid) -> None:
        """Add the rows of a block.

        Args:
            attention: mean over heads (B, rows, h * w), rows summing to 1.
            rows: which queries of the block; every block gives each of its queries once, beginning with the first.
            block_grid: (h, w).

        Raises:
            DataError: the rows do not fit the grid.
        """
        tokens = block_grid[0] * block_grid[1]
        if attention.shape[1:] != (rows.stop - rows.start, tokens) or rows.stop > tokens:
            raise DataError(
                f"self-attention of shape {tuple(attention.shape)} is not that of the rows {rows.start} to {rows.stop} "
                f"of a grid of {block_grid[0]}x{block_grid[1]} tokens. Give the grid of this map."
            )
        if block_grid not in self._sums:
            self._sums[block_grid] = attention.new_zeros((len(attention), tokens, tokens), dtype=torch.float32)
        self._sums[block_grid][:, rows] += attention
        self._blocks[block_grid] = self._blocks.get(block_grid, 0) + (rows.start == 0)

    @torch.no_grad()
    def result(self, grid: Grid | None = None) -> Tensor:
        """The mean, which takes the sums over.

        Args:
            grid: (H, W) to bring all maps to; None takes the finest.

        Returns:
            float32 (B, H * W, H * W), rows summing to 1.

        Raises:
            DataError: nothing was added, or something finer than `grid`.
        """
        if not self._sums:
            raise DataError("no block's self-attention was captured. Choose at least one block.")
        if grid is None:
            heights, widths = zip(*self._sums, strict=True)
            grid = max(heights), max(widths)
        total = self._sums.pop(grid, None)
        for block_grid in sorted(self._sums):
            coarse = self._sums.pop(block_grid)
            if total is None:
                total = coarse.new_zeros((len(coarse), *2 * (grid[0] * grid[1],)))
            for each, other in zip(total, coarse, strict=True):
                add_block(each, other, block_grid, grid, self._blocks[block_grid])
        assert total is not None
        for each in total:
            normalise_rows(each)
        return total
