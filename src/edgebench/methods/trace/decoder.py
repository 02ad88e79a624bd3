"""TRACE's edge decoder: a small pyramid of convolutions on what tokens attend to, not on the picture.

Neither the decoder's layers nor its input are published beyond "FPN followed by a CNN" and a size of about 0.1
million parameters. What it sees of a self-attention map is linear in the map, so that a map is reduced a span of
rows at a time as it is read, and never held.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace.backbone import Backbone
from edgebench.methods.trace.capture import choose_blocks, read_attention, token_grid
from edgebench.methods.trace.divergence import Grid

DecoderInput = Literal["keys16", "relative", "hidden"]
Join = Literal["mean", "each"]
BINS = 16
"""Bins along a side, to which the keys of input `keys16` are pooled."""
_LEVELS = 3
_GROUPS = 8


@dataclass(frozen=True)
class DecoderConfig:
    """What the decoder sees and how large it is.

    Attributes:
        input: `keys16`: where each token looks, on 16 x 16 squares of the picture. `relative`: how much it looks at
            each of the tokens around it, the same everywhere, so that a few pictures teach it; what lies beyond the
            window is not seen. `hidden`: the tokens that go into the attention, without its maps.
        join: Of the blocks of one resolution the decoder sees the `mean`, or `each`.
        window: Side of the window of `relative`, tokens, odd.
        width: Channels of every layer.

    Raises:
        ConfigError: a value is unknown or out of range.
    """

    input: DecoderInput = "keys16"
    join: Join = "mean"
    window: int = 9
    width: int = 40

    def __post_init__(self) -> None:
        for key, value, known in (("input", self.input, get_args(DecoderInput)), ("join", self.join, get_args(Join))):
            if value not in known:
                raise ConfigError(f"TRACE's decoder: {key} {value!r} is unknown; choose one of {', '.join(known)}.")
        if self.window < 1 or self.window % 2 == 0:
            raise ConfigError(f"TRACE's decoder: window {self.window} has no middle. Give an odd number of tokens.")
        if self.width < 1:
            raise ConfigError(f"TRACE's decoder: width {self.width} is no number of channels. Give 1 or more.")


@dataclass(frozen=True)
class Level:
    """The blocks of one resolution.

    Attributes:
        grid: (h, w) in tokens.
        blocks: Indices into `Backbone.blocks`.
        channels: What the decoder sees of one token.
    """

    grid: Grid
    blocks: tuple[int, ...]
    channels: int

    @staticmethod
    def from_list(values: Sequence[Any]) -> Level:
        """The level that `astuple` made, after a way through JSON."""
        (height, width), blocks, channels = values
        return Level((int(height), int(width)), tuple(map(int, blocks)), int(channels))


@torch.no_grad()
def find_levels(backbone: Backbone, config: DecoderConfig, blocks: Sequence[int | str] | None = None) -> list[Level]:
    """The resolutions of a network's self-attention, the finest first; it answers once to a blank picture.

    Args:
        backbone: The network.
        config: What the decoder is to see.
        blocks: Blocks that are looked at, as in `edgebench.methods.trace.capture.choose_blocks`.

    Raises:
        ConfigError: there is no such block, blocks of one resolution differ in width, so that there is no mean, or
            the tokens themselves cannot be read.
    """
    device = next(backbone.network.parameters()).device
    latents = backbone.encode(torch.zeros(1, 3, backbone.size, backbone.size, device=device))
    by_grid: dict[Grid, dict[int, int]] = {}
    with _Given(backbone, choose_blocks(backbone, blocks)) as given:
        backbone.answer(latents, 0)
    for index, (args, kwargs) in given.items():
        block = backbone.blocks[index]
        _, keys = block.queries_keys(block.module, args, kwargs)
        grid = token_grid(keys.shape[2], latents.shape[-2], latents.shape[-1])
        if config.input == "hidden":
            seen = block.hidden(args, kwargs, keys.shape[2]).shape[2]
        else:
            seen = BINS**2 if config.input == "keys16" else config.window**2
        by_grid.setdefault(grid, {})[index] = seen
    levels = []
    for grid, channels in sorted(by_grid.items(), reverse=True):
        if config.join == "mean" and len(set(channels.values())) > 1:
            raise ConfigError(
                f"TRACE's decoder: blocks of {grid[0]}x{grid[1]} tokens have {sorted(set(channels.values()))} numbers "
                "in a token, which have no mean. Set join: each, or choose other blocks."
            )
        widths = list(channels.values())
        levels.append(Level(grid, tuple(channels), widths[0] if config.join == "mean" else sum(widths)))
    return levels


def read_features(
    backbone: Backbone, latents: Tensor, tau: int, config: DecoderConfig, levels: Sequence[Level], gradient: bool
) -> tuple[list[Tensor], Tensor]:
    """What the decoder sees, from one pass of the network.

    Args:
        backbone: The network.
        latents: (B, C, h, w), noised to `tau`.
        tau: Level of noise, 0 in TRACE.
        config: What is seen.
        levels: What `find_levels` found.
        gradient: Keep the graph. The softmax of a span is then made again in the backward pass instead of kept, and
            the network may checkpoint its blocks besides.

    Returns:
        A tensor (B, channels, h, w) per level, and the network's answer.
    """
    chosen = [index for level in levels for index in level.blocks]
    spans: dict[int, list[Tensor]] = {index: [] for index in chosen}
    grids = {index: level.grid for level in levels for index in level.blocks}
    if config.input == "hidden":
        with torch.set_grad_enabled(gradient):
            with _Given(backbone, chosen) as given:
                answer = backbone.answer(latents, tau)
            for index in chosen:
                block = backbone.blocks[index]
                spans[index] = [block.hidden(*given[index], grids[index][0] * grids[index][1])]
    else:

        def sink(block: int, grid: Grid, rows: slice, attention: Tensor) -> None:
            if config.input == "keys16":
                spans[block].append(pooled_keys(attention, grid))
            else:
                spans[block].append(relative_keys(attention, grid, rows, config.window))

        answer = read_attention(backbone, latents, tau, sink, blocks=chosen, gradient=gradient)
    with torch.set_grad_enabled(gradient):
        features = [_joined((torch.cat(spans.pop(index), 1) for index in level.blocks), config) for level in levels]
        return [
            each.transpose(1, 2).unflatten(2, level.grid) for each, level in zip(features, levels, strict=True)
        ], answer


def _joined(blocks: Iterable[Tensor], config: DecoderConfig) -> Tensor:
    """Blocks (B, tokens, channels) of one resolution joined, and scaled so that an even spread gives log 2."""
    parts = list(blocks)
    joined = torch.stack(parts).mean(0) if config.join == "mean" else torch.cat(parts, 2)
    if config.input == "hidden":
        return joined.float()
    return joined.mul(BINS**2 if config.input == "keys16" else joined.shape[1]).log1p()


def pooled_keys(attention: Tensor, grid: Grid) -> Tensor:
    """Rows of attention (B, rows, h * w) with their keys added up in 16 x 16 squares of the picture (B, rows, 256).

    A key that lies in several squares counts in each by its share, so that sums stay what they are.
    """
    rows, columns = (_bins(side, attention) for side in grid)
    keys = attention.unflatten(2, grid)
    return (rows @ (keys @ columns.T)).flatten(2)


def _bins(side: int, like: Tensor) -> Tensor:
    """Share of each of `side` equal parts of a line that lies in each of 16: (16, side), columns summing to 1."""
    ends = torch.arange(side + 1, device=like.device, dtype=torch.float64) * BINS / side
    bins = torch.arange(BINS, device=like.device, dtype=torch.float64)[:, None]
    inside = torch.minimum(ends[1:], bins + 1) - torch.maximum(ends[:-1], bins)
    return (inside.clamp_(min=0) * side / BINS).to(like.dtype)


def relative_keys(attention: Tensor, grid: Grid, rows: slice, window: int) -> Tensor:
    """What the queries `rows` attend to in a window around each: (B, rows, h * w) -> (B, rows, window ** 2).

    Beyond the picture's border there are no keys, which get 0.
    """
    height, width = grid
    query = torch.arange(rows.start, rows.stop, device=attention.device)[:, None]
    away = torch.arange(window, device=attention.device) - window // 2
    y = query // width + away.repeat_interleave(window)
    x = query % width + away.repeat(window)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    keys = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).expand(len(attention), -1, -1)
    return attention.gather(2, keys) * inside


class Decoder(nn.Module):
    """From what is seen of the attention to edges, on a grid of twice the finest resolution.

    A 1x1 convolution per resolution; a pyramid from coarse to fine, to which pooling adds levels until there are
    three; all levels on the finest grid, joined; two 3x3 convolutions, with an enlargement between them.

    Args:
        config: Width.
        levels: Resolutions, the finest first.
    """

    def __init__(self, config: DecoderConfig, levels: Sequence[Level]) -> None:
        super().__init__()
        width = config.width
        self.grids = [level.grid for level in levels]
        while len(self.grids) < _LEVELS and min(self.grids[-1]) > 1:
            height, across = self.grids[-1]
            self.grids.append((-(-height // 2), -(-across // 2)))
        self.lateral = nn.ModuleList(_layer(level.channels, width, 1) for level in levels)
        self.smooth = nn.ModuleList(_layer(width, width, 3) for _ in self.grids)
        self.fuse = _layer(width * len(self.grids), width, 1)
        self.coarse = _layer(width, width, 3)
        self.fine = _layer(width, width, 3)
        self.head = nn.Conv2d(width, 1, 1)

    @property
    def size(self) -> Grid:
        """(H, W) of the edges."""
        return 2 * self.grids[0][0], 2 * self.grids[0][1]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features (B, channels, h, w) of each resolution -> probability of an edge, float32 (B, H, W).

        Raises:
            DataError: the features are those of another network.
        """
        if len(features) != len(self.lateral):
            raise DataError(f"TRACE's decoder: {len(features)} resolutions instead of {len(self.lateral)}.")
        levels = [lateral(each) for lateral, each in zip(self.lateral, features, strict=True)]
        while len(levels) < len(self.grids):
            levels.append(functional.avg_pool2d(levels[-1], 2, ceil_mode=True))
        for fine, coarse in reversed(list(pairwise(range(len(levels))))):
            levels[fine] = levels[fine] + _resized(levels[coarse], self.grids[fine])
        smoothed = [smooth(each) for smooth, each in zip(self.smooth, levels, strict=True)]
        joined = torch.cat([_resized(each, self.grids[0]) for each in smoothed], 1)
        hidden = self.fine(_resized(self.coarse(self.fuse(joined)), self.size))
        edges: Tensor = self.head(hidden)
        return edges.float().squeeze(1).sigmoid()


def _layer(channels: int, width: int, side: int) -> nn.Sequential:
    """A convolution as in UPerNet, whose batch normalisation would depend on who shares a small batch."""
    return nn.Sequential(
        nn.Conv2d(channels, width, side, padding=side // 2, bias=False),
        nn.GroupNorm(math.gcd(width, _GROUPS), width),
        nn.GELU(),
    )


def _resized(values: Tensor, size: Grid) -> Tensor:
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    return functional.interpolate(values, size, mode="bilinear", align_corners=False)


def decoder_dict(config: DecoderConfig, levels: Sequence[Level]) -> dict[str, Any]:
    """Both as plain JSON values."""
    return {
        "config": asdict(config),
        "levels": [[list(each.grid), list(each.blocks), each.channels] for each in levels],
    }


class _Given:
    """What self-attention modules are given while a context is open, by block."""

    def __init__(self, backbone: Backbone, blocks: Sequence[int]) -> None:
        self._backbone, self._blocks = backbone, blocks
        self._handles: list[Any] = []

    def __enter__(self) -> dict[int, tuple[tuple[Any, ...], dict[str, Any]]]:
        given: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        for index in self._blocks:

            def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], index: int = index) -> None:
                given.setdefault(index, (args, kwargs))  # a checkpointed block runs again in the backward pass

            hook = self._backbone.blocks[index].module.register_forward_pre_hook(keep, with_kwargs=True)
            self._handles.append(hook)
        return given

    def __exit__(self, *_: object) -> None:
        for each in self._handles:
            each.remove()
