"""An encoder without time behind the interface of a backbone: what all kinds share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

from torch import Tensor, nn
from torch.nn.functional import normalize

from edgebench.errors import ConfigError, DataError, nearest
from edgebench.methods.trace.backbone import Block, Schedule

Reads = Literal["attention", "features"]
TEMPERATURE = 0.1
GRID = 64
"""Patches along a side, where a network takes pictures of any size: as many as the diffusion backbones have tokens."""

Tokens = Callable[[Tensor], Tensor]


class Statistics(NamedTuple):
    """Means and deviations of a network's pixels, which lie in [0, 1] before.

    Attributes:
        mean: Of red, green and blue.
        deviation: Of red, green and blue.
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = Statistics((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


class Encoder:
    """A network that sees pictures as patches, such as DINOv2; it satisfies `Backbone`.

    There is no time: `answer` takes any level for the same, and nobody searches for one. "Latents" are pixels,
    normalised as the network was trained.

    Args:
        network: The network, put into evaluation mode and frozen.
        blocks: What is read, in the order in which it runs.
        tokens: Pixels (B, 3, H, W) -> features of the patches (B, H/patch * W/patch, D), row by row.
        patch: Side of the patches that the grid consists of, pixels.
        multiple: What the sides of a picture must be multiples of; the patch, or more.
        size: Side of the square that pictures are resized to.
        statistics: Of the pixels.
        reads: What is read, for a run's record.

    Raises:
        ConfigError: `size` is no multiple.
    """

    schedule: Schedule | None = None

    def __init__(
        self,
        network: nn.Module,
        blocks: Sequence[Block],
        tokens: Tokens,
        patch: int,
        multiple: int,
        size: int,
        statistics: Statistics,
        reads: str,
    ) -> None:
        if size < multiple or size % multiple:
            below = max(size // multiple, 1) * multiple
            raise ConfigError(
                f"size {size}: the network cuts pictures into squares of {multiple} pixels. Give a multiple of them, "
                f"such as {below} or {below + multiple}."
            )
        self.network = network.eval().requires_grad_(False)
        self.blocks: Sequence[Block] = tuple(blocks)
        self.patch = patch
        self.multiple = multiple
        self.size = size
        self.statistics = statistics
        self.note = {"network": type(network).__name__, "reads": reads, "size": size, "grid": size // patch}
        self._tokens = tokens

    def encode(self, pictures: Tensor) -> Tensor:
        """RGB (B, 3, H, W) in [-1, 1] -> pixels as the network wants them, float32, same shape.

        Raises:
            DataError: the sides are no multiples of the patch.
        """
        if any(side % self.multiple or not side for side in pictures.shape[-2:]):
            raise DataError(
                f"picture of {pictures.shape[-2]}x{pictures.shape[-1]} pixels: the network needs multiples of "
                f"{self.multiple}. Resize it first."
            )
        mean, deviation = self._statistics(pictures.float())
        return ((pictures.float() + 1) / 2 - mean) / deviation

    def decode(self, latents: Tensor) -> Tensor:
        """What `encode` was given, (B, 3, H, W) in [-1, 1]; no autoencoder is in between."""
        mean, deviation = self._statistics(latents)
        return (latents * deviation + mean) * 2 - 1

    def answer(self, latents: Tensor, tau: int = 0) -> Tensor:
        """Features of the patches, float32 (B, D, h, w), whatever the level `tau`; hooks fire meanwhile."""
        height, width = (side // self.patch for side in latents.shape[-2:])
        tokens = self._tokens(latents.to(next(self.network.parameters()).dtype))
        return tokens.float().transpose(1, 2).unflatten(2, (height, width))

    def _statistics(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = (pixels.new_tensor(values).view(3, 1, 1) for values in self.statistics)
        return mean, deviation


def hidden_of(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Tensor:
    """The hidden states (B, tokens, D) that a module is called with."""
    return arguments[0] if arguments else keywords["hidden_states"]


def by_head(values: Tensor, heads: int) -> Tensor:
    """(B, tokens, heads * d) -> (B, heads, tokens, d)."""
    return values.unflatten(-1, (heads, -1)).transpose(1, 2)


def feature_blocks(
    names: Sequence[str], followers: Sequence[nn.Module], picked: Tokens, projections: tuple[str, ...]
) -> list[Block]:
    """Blocks whose map is the similarity of the features that leave them: softmax(cos(f_i, f_j) / 0.1).

    For networks whose attention is no full map of the patches, such as that in windows. Adapters still go into the
    projections of the attention by whose name the block goes; its features depend on them.

    Args:
        names: Of the self-attention modules.
        followers: Which module is called with the features that leave each block, as its first argument.
        picked: Hidden states -> features of the patches (B, tokens, D), row by row.
        projections: As of `Block`.
    """

    def similarity(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Tensor, Tensor]:
        unit = normalize(picked(hidden_of(arguments, keywords)).float(), dim=-1)[:, None]
        return unit / TEMPERATURE, unit

    return [
        Block(name, follower, similarity, projections, rows=picked)
        for name, follower in zip(names, followers, strict=True)
    ]


def check_reads(reads: str) -> None:
    """Raise a `ConfigError` unless `reads` is one of `Reads`."""
    if reads not in get_args(Reads):
        raise ConfigError(f"reads {reads!r} is unknown.{nearest(reads, get_args(Reads))}")


def side_of(value: Any) -> int:
    """A side that a configuration gives as a number or as two equal ones."""
    return int(value if isinstance(value, int) else value[0])


def on_device(index: Tensor, other: Tensor) -> Tensor:
    """`index`, of any shape, on the device of `other`."""
    return index if index.device == other.device else index.to(other.device)
