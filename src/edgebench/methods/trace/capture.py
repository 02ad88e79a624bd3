"""Reading the self-attention of a network while it runs, without changing what it answers.

A hook before each attention module takes what the module is given and computes queries and keys once more with the
module's own layers. Their softmax is made a few heads and a span of query rows at a time, so that the maps of all
heads and blocks never exist together, and the module's own fused attention runs untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, partial
from math import log
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace.aggregate import BlockMean
from edgebench.methods.trace.backbone import Backbone, Block
from edgebench.methods.trace.divergence import Grid

# Elements of the softmax held at once: on a processor they fit its second cache, a GPU wants large matrices.
_ELEMENTS = {"cpu": 1 << 18}
_ELEMENTS_ELSEWHERE = 1 << 26
_LEAST_ROWS = 64
_HALF = (torch.bfloat16, torch.float16)


class Sink(Protocol):
    """What takes the attention of a block, a span of query rows after the other."""

    def __call__(self, block: int, grid: Grid, rows: slice, attention: Tensor, /) -> None:
        """Take a span.

        Args:
            block: Index into `Backbone.blocks`.
            grid: (h, w) of the block's tokens, in row-major order.
            rows: Which queries; the spans of a block follow one another and cover it.
            attention: float32 (B, rows, h * w), mean over the heads, rows summing to 1. The sink may keep it.
        """
        ...


class _Enough(Exception):  # noqa: N818 -- no error: the last block that was asked for is read
    pass


def read_attention(
    backbone: Backbone,
    latents: Tensor,
    tau: int,
    sink: Sink,
    blocks: Sequence[int | str] | None = None,
    gradient: bool = False,
    elements: int | None = None,
) -> Tensor:
    """Let the network answer once and hand its self-attention to `sink`, block by block and span by span.

    Args:
        backbone: The network.
        latents: (B, C, h, w), what `Backbone.encode` returned, noised to `tau`.
        tau: Level of noise, 0 to 999; a network without time ignores it.
        sink: Takes the attention.
        blocks: As in `choose_blocks`.
        gradient: Keep the graph of the answer and of what the sink gets. The spans are then made after the pass, so
            that the network may checkpoint its blocks, and once more in the backward pass instead of being kept.
        elements: Elements of the softmax held at once; None chooses by device.

    Returns:
        What `Backbone.answer` says, as without hooks.

    Raises:
        ConfigError: a block is unknown.
        DataError: a block did not run.
    """
    reader = _Reader(backbone, sink, choose_blocks(backbone, blocks), tuple(latents.shape[-2:]), gradient, elements)
    with torch.set_grad_enabled(gradient):
        with reader.listening():
            answer = backbone.answer(latents, tau)
        reader.finish()
    return answer


@torch.no_grad()
def attention_map(
    backbone: Backbone,
    latents: Tensor,
    tau: int,
    grid: Grid | None = None,
    blocks: Sequence[int | str] | None = None,
    elements: int | None = None,
) -> Tensor:
    """Self-attention of a network at a level of noise: mean over heads and blocks, on the finest grid.

    One pass, which ends with the last of the blocks. The sums of each resolution are held and a span of one block.

    Args:
        backbone: The network.
        latents: As for `read_attention`.
        tau: Level of noise, 0 to 999.
        grid: (H, W) of the map; None takes the finest grid of the blocks.
        blocks: As in `choose_blocks`.
        elements: As for `read_attention`.

    Returns:
        float32 (B, H * W, H * W), rows summing to 1.

    Raises:
        ConfigError: a block is unknown.
        DataError: a block did not run, or is finer than `grid`.
    """
    mean = BlockMean()
    chosen = choose_blocks(backbone, blocks)
    reader = _Reader(
        backbone,
        lambda _, block_grid, rows, attention: mean.add(attention, rows, block_grid),
        chosen,
        tuple(latents.shape[-2:]),
        elements=elements,
        stop=True,
    )
    with reader.listening():
        backbone.answer(latents, tau)
    reader.finish()
    return mean.result(grid)


def choose_blocks(backbone: Backbone, blocks: Sequence[int | str] | None) -> list[int]:
    """Indices of the blocks that are meant, each once, in the order in which they run.

    Args:
        backbone: The network.
        blocks: Indices, negative ones counting from the end, or names in which `*` stands for anything; None means
            all.

    Raises:
        ConfigError: there is no such block, or none is named; lists the known ones.
    """
    names = [block.name for block in backbone.blocks]
    if blocks is None:
        return list(range(len(names)))
    chosen: set[int] = set()
    for wanted in blocks:
        if isinstance(wanted, int):
            found = [wanted % len(names)] if -len(names) <= wanted < len(names) else []
        else:
            found = [index for index, name in enumerate(names) if fnmatchcase(name, wanted)]
        if not found:
            raise ConfigError(f"blocks: {wanted!r} is no self-attention block of this network. {_known(names)}")
        chosen.update(found)
    if not chosen:
        raise ConfigError(f"blocks: names no self-attention block. {_known(names)}")
    return sorted(chosen)


def _known(names: Sequence[str]) -> str:
    shown = names if len(names) <= 8 else [*names[:4], "...", *names[-3:]]
    return f"Name them by index, 0 to {len(names) - 1}, or by name or pattern (`*`): {', '.join(shown)}."


@cache
def token_grid(tokens: int, height: int, width: int) -> Grid:
    """The grid of that many tokens whose sides are most nearly as height to width.

    Args:
        tokens: Of one block, at least 1.
        height: Of the latents.
        width: Of the latents.
    """
    wanted = log(tokens * height / width) / 2
    rows = min((each for each in range(1, tokens + 1) if tokens % each == 0), key=lambda each: abs(log(each) - wanted))
    return rows, tokens // rows


def head_mean(queries: Tensor, keys: Tensor, heads: int, first: int | None = None) -> Tensor:
    """Mean over the heads of softmax(queries keys^T), computed in float32.

    Args:
        queries: (B, heads, rows, d), scaled.
        keys: (B, heads, tokens, d).
        heads: As many at once.
        first: Where causal, which token the first query is; none attends to later ones.

    Returns:
        float32 (B, rows, tokens), rows summing to 1.
    """
    total: Tensor | None = None
    for some, others in zip(queries.split(heads, 1), keys.split(heads, 1), strict=True):
        logits = _logits(some, others)
        if first is not None:
            later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(first + 1)
            logits = logits.masked_fill(later, -torch.inf)
        part = logits.softmax(-1)
        part = part.squeeze(1) if part.shape[1] == 1 else part.sum(1)
        total = part if total is None else total + part if part.requires_grad else total.add_(part)
    assert total is not None
    return total / queries.shape[1] if total.requires_grad else total.div_(queries.shape[1])


def _logits(queries: Tensor, keys: Tensor) -> Tensor:
    learns = torch.is_grad_enabled() and (queries.requires_grad or keys.requires_grad)
    if queries.is_cuda and queries.dtype in _HALF and not learns:
        # Products of the halves themselves, summed and kept in float32: as exact as converting, and much faster.
        flat = torch.bmm(queries.flatten(0, 1), keys.flatten(0, 1).mT, out_dtype=torch.float32)
        return flat.unflatten(0, queries.shape[:2])
    return queries.float() @ keys.float().mT


@dataclass
class _Reader:
    """The hooks of one pass and what they do."""

    backbone: Backbone
    sink: Sink
    chosen: list[int]
    size: tuple[int, ...]
    gradient: bool = False
    elements: int | None = None
    stop: bool = False
    given: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    read: set[int] = field(default_factory=set)

    def listening(self) -> ExitStack:
        """A context in which the network is read; hooks go when it ends, however it does."""
        stack = ExitStack()
        stack.push(lambda kind, *_: kind is _Enough)
        try:
            for index in self.chosen:
                handle = self.backbone.blocks[index].module.register_forward_pre_hook(
                    partial(self._before, index), with_kwargs=True
                )
                stack.callback(handle.remove)
        except BaseException:
            stack.close()
            raise
        return stack

    def finish(self) -> None:
        """Read what had to wait for the end of the pass."""
        for index in self.chosen:
            if index in self.given:
                self._hand_over(index, *self.given.pop(index))
        if missing := [self.backbone.blocks[index].name for index in self.chosen if index not in self.read]:
            raise DataError(
                f"self-attention of {missing[0]} was asked for, but the network did not run it, nor {len(missing) - 1} "
                "others. Choose other blocks."
            )

    def _before(self, index: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.gradient:
            # Tensors made here would belong to a checkpointed block, which is run again without hooks.
            self.given.setdefault(index, (args, kwargs))
            return
        with torch.no_grad():
            self._hand_over(index, args, kwargs)
        if self.stop and len(self.read) == len(self.chosen):
            raise _Enough

    def _hand_over(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        block: Block = self.backbone.blocks[index]
        queries, keys = block.queries_keys(block.module, args, kwargs)
        # Under autocast the products would be rounded, and the softmax with them.
        with torch.autocast(queries.device.type, enabled=False):
            batch, heads, tokens, _ = queries.shape
            grid = token_grid(tokens, self.size[0], self.size[1])
            if queries.device.type == "cpu":
                queries, keys = queries.float(), keys.float()
            keys = keys.contiguous()
            held = (self.elements or _ELEMENTS.get(queries.device.type, _ELEMENTS_ELSEWHERE)) // (batch * tokens)
            rows = min(max(held // heads, min(_LEAST_ROWS, held), 1), tokens)
            at_once = min(max(held // rows, 1), heads)
            for start in range(0, tokens, rows):
                span = slice(start, min(start + rows, tokens))
                part = queries[:, :, span]
                first = start if block.causal else None
                if part.requires_grad or keys.requires_grad:
                    made = checkpoint(
                        head_mean, part, keys, at_once, first, use_reentrant=False, preserve_rng_state=False
                    )
                else:
                    made = head_mean(part, keys, at_once, first)
                self.sink(index, grid, span, made)
        self.read.add(index)
