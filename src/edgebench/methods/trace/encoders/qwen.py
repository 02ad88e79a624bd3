"""Qwen2.5-VL's vision tower: attention in windows, but for a few blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    apply_rotary_pos_emb_vision,
)
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from edgebench.methods.trace.backbone import Block
from edgebench.methods.trace.encoders.encoder import (
    CLIP,
    GRID,
    Encoder,
    Reads,
    by_head,
    check_reads,
    feature_blocks,
    hidden_of,
    on_device,
    side_of,
)

PROJECTIONS = ("qkv", "proj")


class PatchOrder:
    """In which order Qwen2.5-VL holds the patches of a picture: by window, and in it by square of merged patches.

    Args:
        config: Of the vision tower.
    """

    def __init__(self, config: Any) -> None:
        self.patch = side_of(config.patch_size)
        self.merge = int(config.spatial_merge_size)
        self.window = int(config.window_size)
        self.frames = side_of(config.temporal_patch_size)
        self._raster = torch.zeros(0, dtype=torch.long)

    def cut(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Patches as the network takes them, and remember where they are.

        Args:
            pixels: (B, 3, H, W), sides multiples of merged patches.

        Returns:
            (B * h * w, 3 * frames * patch * patch), square by square, the picture repeated as the frames of a clip;
            and the grids (B, 3): 1, h and w of each picture.
        """
        batch, _, height, width = pixels.shape
        rows, columns = height // self.patch, width // self.patch
        sides = (rows // self.merge, self.merge, self.patch, columns // self.merge, self.merge, self.patch)
        squares = pixels.unflatten(2, sides[:3]).unflatten(5, sides[3:]).permute(0, 2, 5, 3, 6, 1, 4, 7)
        clips = squares.unsqueeze(6).expand(*squares.shape[:6], self.frames, *squares.shape[6:])
        one = torch.tensor([[1, rows, columns]])
        self._raster = self._places(one)
        return clips.reshape(batch * rows * columns, -1), one.expand(batch, 3).to(pixels.device)

    def rows(self, hidden: Tensor) -> Tensor:
        """Hidden states of the tower (B * tokens, D) -> (B, tokens, D), row by row of the picture cut last."""
        raster = on_device(self._raster, hidden)
        return hidden.view(-1, len(raster), hidden.shape[-1])[:, raster]

    def _places(self, grid: Tensor) -> Tensor:
        """For each patch, row by row, which place it has in the tower, (h * w,)."""
        windows, _ = get_vision_window_index(grid, self.merge, self.window, self.patch)
        row, column = get_vision_position_ids(grid, self.merge).unbind(1)
        held = (row * grid[0, 2] + column).view(-1, self.merge**2)[windows]
        return held.flatten().argsort()


def qwen_encoder(
    tower: Qwen2_5_VisionTransformerPretrainedModel, reads: Reads = "attention", size: int | None = None
) -> Encoder:
    """The vision tower of Qwen2.5-VL, its patches given row by row.

    Args:
        tower: The tower (`model.visual`).
        reads: Its `attention`, of the blocks alone that attend to the whole picture (`fullatt_block_indexes`), or the
            similarity of the `features` of every block.
        size: Side of the square that pictures are resized to, a multiple of two patches (28 pixels); None takes 64
            patches a side (not published).

    Raises:
        ConfigError: `reads` is unknown, or `size` no multiple.
    """
    check_reads(reads)
    order = PatchOrder(tower.config)
    layers: Any = tower.blocks

    def read(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Tensor, Tensor]:
        # Rotated in the tower's own order, whose positions are at hand, and put in rows thereafter.
        both = module.qkv(hidden_of(arguments, keywords)).unflatten(-1, (3, module.num_heads, -1))[:, :2]
        rotated = apply_rotary_pos_emb_vision(*both.unbind(1), *keywords["position_embeddings"])
        queries, keys = (by_head(order.rows(each.flatten(1)), module.num_heads) for each in rotated)
        return queries * module.scaling, keys

    names = [f"blocks.{index}.attn" for index in range(len(layers))]
    blocks: Sequence[Block]
    if reads == "features":
        blocks = feature_blocks(names, [*layers[1:], tower.merger], order.rows, PROJECTIONS)
    else:
        whole = sorted(tower.fullatt_block_indexes)
        blocks = [Block(names[index], layers[index].attn, read, PROJECTIONS, rows=order.rows) for index in whole]

    def tokens(pixels: Tensor) -> Tensor:
        patches, grids = order.cut(pixels)
        return order.rows(tower(patches, grid_thw=grids).last_hidden_state)

    multiple = order.patch * order.merge
    return Encoder(
        tower, blocks, tokens, order.patch, multiple, GRID * order.patch if size is None else size, CLIP, reads
    )
