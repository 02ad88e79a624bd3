"""What TRACE asks of a pre-trained network: its self-attention at a level of noise, with an empty text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

STEPS = 1000
"""Levels of noise of every backbone: 0 is clean, 999 nearly nothing but noise."""

QueriesKeys = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], tuple[Tensor, Tensor]]


class Schedule(Protocol):
    """How noise is mixed in, and what the network's answer says about the clean latents."""

    def noised(self, clean: Tensor, noise: Tensor, tau: int) -> Tensor:
        """Latents (B, C, h, w) at level `tau` (0 to 999), mixed in one go with `noise` of their shape."""
        ...

    def clean(self, noisy: Tensor, answer: Tensor, tau: int) -> Tensor:
        """The clean latents that the network's answer at level `tau` implies, all of one shape (B, C, h, w)."""
        ...


@dataclass(frozen=True)
class Ddpm:
    """Denoising diffusion (SD1.5, SDXL, PixArt-alpha), whose networks predict the noise.

    Attributes:
        kept: float64 (1000,), share of the clean latents' power left at each level (alpha-bar).
    """

    kept: Tensor

    @staticmethod
    def scaled_linear(start: float = 0.00085, end: float = 0.012) -> Ddpm:
        """The schedule of Stable Diffusion."""
        return Ddpm((1 - torch.linspace(start**0.5, end**0.5, STEPS, dtype=torch.float64) ** 2).cumprod(0))

    @staticmethod
    def linear(start: float = 0.0001, end: float = 0.02) -> Ddpm:
        """The schedule of PixArt-alpha."""
        return Ddpm((1 - torch.linspace(start, end, STEPS, dtype=torch.float64)).cumprod(0))

    def noised(self, clean: Tensor, noise: Tensor, tau: int) -> Tensor:
        """As in `Schedule`."""
        kept = float(self.kept[tau])
        return kept**0.5 * clean + (1 - kept) ** 0.5 * noise

    def clean(self, noisy: Tensor, answer: Tensor, tau: int) -> Tensor:
        """As in `Schedule`."""
        kept = float(self.kept[tau])
        return (noisy - (1 - kept) ** 0.5 * answer) / kept**0.5


@dataclass(frozen=True)
class Flow:
    """Flow matching (SD3.5, FLUX.1), whose networks predict noise minus clean latents.

    The share of noise is `tau` / 1000, without the shift that samplers give high resolutions.
    """

    def noised(self, clean: Tensor, noise: Tensor, tau: int) -> Tensor:
        """As in `Schedule`."""
        share = tau / STEPS
        return (1 - share) * clean + share * noise

    def clean(self, noisy: Tensor, answer: Tensor, tau: int) -> Tensor:
        """As in `Schedule`."""
        return noisy - tau / STEPS * answer


@dataclass(frozen=True)
class Block:
    """One self-attention module.

    Attributes:
        name: Where it stands in the network (`down_blocks.0.attentions.0.transformer_blocks.0.attn1`).
        module: It itself; a hook before its call sees what it is given.
        queries_keys: From the module and its arguments to queries and keys of the image's tokens, each
            (B, heads, tokens, d), normalised and rotated as the module does it and scaled so that
            softmax(queries keys^T) over the keys is the map of a head.
        projections: Names, below `name`, of the linear layers of queries, keys, values and output.
        causal: Whether a token attends to itself and to earlier ones only, as in a language model.
        rows: From the hidden states that the module is given to those of the image's tokens (B, tokens, width), row by
            row; None where they are the last ones of (B, all tokens, width) and in this order.
    """

    name: str
    module: nn.Module
    queries_keys: QueriesKeys
    projections: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    causal: bool = False
    rows: Callable[[Tensor], Tensor] | None = None

    def hidden(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any], tokens: int) -> Tensor:
        """Hidden states of the image's `tokens` (B, tokens, width), row by row, from the arguments of the module."""
        given: Tensor = arguments[0] if arguments else keywords["hidden_states"]
        return given[:, -tokens:] if self.rows is None else self.rows(given)


class Backbone(Protocol):
    """A network whose self-attention is read."""

    @property
    def network(self) -> nn.Module:
        """The denoiser or encoder; adapters go into it, and moving it to a device is all that moving takes."""
        ...

    @property
    def blocks(self) -> Sequence[Block]:
        """Its self-attention, in the order in which it runs."""
        ...

    @property
    def schedule(self) -> Schedule | None:
        """How noise is mixed in; None for a network without time, such as DINOv2."""
        ...

    @property
    def size(self) -> int:
        """Side of the square that pictures are resized to, pixels."""
        ...

    def encode(self, pictures: Tensor) -> Tensor:
        """RGB (B, 3, size, size) in [-1, 1] -> what the network sees: clean latents (B, C, h, w), or pixels."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> RGB (B, 3, size, size) around [-1, 1], not clipped."""
        ...

    def answer(self, latents: Tensor, tau: int) -> Tensor:
        """What the network says at level `tau` with an empty text, of the latents' shape; hooks fire meanwhile."""
        ...
