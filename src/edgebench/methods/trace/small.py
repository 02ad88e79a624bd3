"""A small diffusion transformer, which stands in for a pre-trained one where nothing can be fetched.

It has no convolutions: what tokens learn of one another they learn by attention, so that objects show in its maps
after minutes of training. A U-Net of that size leaves its attention nearly uniform.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import PixArtTransformer2DModel
from torch import Tensor, nn

from edgebench.errors import ConfigError, DataError, nearest
from edgebench.methods.codec import PatchCodec
from edgebench.methods.trace.backbone import Block, Ddpm
from edgebench.methods.weight_files import load_strictly, read_weights

METHOD = "trace_backbone"
CODEC = "codec."
_TEXT = 16  # width of the one token of text, which is 0: nothing is ever said


@dataclass(frozen=True)
class SmallConfig:
    """Sizes of the small transformer and of the code of patches that it works on.

    Attributes:
        size: Side of the square that pictures are resized to, pixels.
        factor: Side of a patch, which is one token, in pixels.
        channels: Principal components that are kept of a patch.
        layers: Transformer blocks.
        heads: Heads of each.
        head_width: Numbers in a head.

    Raises:
        ConfigError: the size is not a multiple of the factor.
    """

    size: int = 96
    factor: int = 4
    channels: int = 12
    layers: int = 4
    heads: int = 3
    head_width: int = 32

    def __post_init__(self) -> None:
        if self.size < self.factor or self.size % self.factor:
            raise ConfigError(
                f"TRACE's small backbone: size {self.size} is not a multiple of its patches' {self.factor} pixels."
            )

    @property
    def tokens(self) -> int:
        """Tokens along a side of the picture."""
        return self.size // self.factor


PRESETS = {
    "small": SmallConfig(),
    "mini": SmallConfig(size=192, channels=16, layers=8, heads=6, head_width=64),
}
"""`small` (700,524 parameters, 24 x 24 tokens) learns drawn scenes in minutes on one core, `mini` (20,234,128, 48 x 48
tokens) photographs in an hour on a GPU."""


def preset(name: str, size: int | None = None) -> SmallConfig:
    """The sizes called `name`, for pictures of another `size` in pixels if one is given.

    Raises:
        ConfigError: there is none of that name, or the size does not fit its patches.
    """
    if name not in PRESETS:
        raise ConfigError(f"TRACE's small backbone: preset {name!r} is unknown.{nearest(name, PRESETS)}")
    chosen = PRESETS[name]
    return chosen if size is None else SmallConfig(**{**asdict(chosen), "size": size})


class SmallTransformer(nn.Module):
    """The denoiser, with the empty text that it is always given.

    Args:
        config: Its sizes.
    """

    text: Tensor

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        width = config.heads * config.head_width
        self.config = config
        self.transformer: Any = PixArtTransformer2DModel(
            num_attention_heads=config.heads,
            attention_head_dim=config.head_width,
            in_channels=config.channels,
            out_channels=config.channels,
            num_layers=config.layers,
            cross_attention_dim=width,
            sample_size=config.tokens,
            patch_size=1,
            caption_channels=_TEXT,
            interpolation_scale=1,
            use_additional_conditions=False,
        )
        self.register_buffer("text", torch.zeros(1, 1, _TEXT), persistent=False)

    def forward(self, latents: Tensor, tau: Tensor) -> Tensor:
        """Noisy latents (B, channels, h, w) and levels of noise int64 (B,) -> the noise that is in them."""
        text = self.text.expand(len(latents), -1, -1)
        answer: Tensor = self.transformer(latents, encoder_hidden_states=text, timestep=tau, return_dict=False)[0]
        return answer

    def enable_gradient_checkpointing(self) -> None:
        """Keep only the blocks' inputs for the backward pass."""
        self.transformer.enable_gradient_checkpointing()


class SmallBackbone:
    """The small transformer with its code of pictures, as a `Backbone`.

    Args:
        network: The denoiser.
        codec: The code it was trained on.

    Raises:
        ConfigError: the two do not fit one another.
    """

    def __init__(self, network: SmallTransformer, codec: PatchCodec) -> None:
        config = network.config
        if (codec.factor, codec.channels) != (config.factor, config.channels):
            raise ConfigError(
                f"TRACE's small backbone: its code has patches of {codec.factor} pixels and {codec.channels} channels, "
                f"the network expects {config.factor} and {config.channels}."
            )
        self.network = network
        self.codec = codec
        self.schedule = Ddpm.scaled_linear()
        self.size = config.size
        self.blocks = [
            Block(f"transformer.transformer_blocks.{number}.attn1", block.attn1, queries_keys)
            for number, block in enumerate(network.transformer.transformer_blocks)
        ]

    def encode(self, pictures: Tensor) -> Tensor:
        """As in `Backbone`."""
        return self.codec.to(pictures.device).encode(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        """As in `Backbone`."""
        return self.codec.to(latents.device).decode_colour(latents)

    def answer(self, latents: Tensor, tau: int) -> Tensor:
        """As in `Backbone`."""
        answer: Tensor = self.network(latents, torch.full((len(latents),), tau, device=latents.device))
        return answer


def queries_keys(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Queries and keys of diffusers' plain self-attention, both (B, heads, tokens, d), as `Block` asks for them."""
    attention: Any = module
    hidden = arguments[0] if arguments else named["hidden_states"]
    queries, keys = (
        each(hidden).unflatten(-1, (attention.heads, -1)).transpose(1, 2) for each in (attention.to_q, attention.to_k)
    )
    return queries * attention.scale, keys


def weight_metadata(config: SmallConfig) -> dict[str, str]:
    """What the weight file of a small backbone says about itself."""
    return {"method": METHOD, "config": json.dumps(asdict(config)), "size": str(config.size)}


def weight_tensors(state: Mapping[str, Tensor], codec: PatchCodec) -> dict[str, Tensor]:
    """What the weight file holds: the network's `state` and the code, so that it needs no other file."""
    return {**state, **{f"{CODEC}{name}": each.detach().cpu() for name, each in codec.state_dict().items()}}


def build(config_json: str, path: str | Path) -> SmallBackbone:
    """A small backbone with random weights, of the sizes that the file `path` states as JSON.

    Raises:
        DataError: they are no sizes.
    """
    try:
        config = SmallConfig(**json.loads(config_json))
    except (ConfigError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the backbone's sizes cannot be read ({error}). Train it again.") from error
    return SmallBackbone(SmallTransformer(config), PatchCodec(config.factor, config.channels))


def fill(backbone: SmallBackbone, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load what `weight_tensors` gave.

    Raises:
        DataError: names or shapes differ; the message names the file `path`.
    """
    load_strictly(backbone.network, {n: t for n, t in state.items() if not n.startswith(CODEC)}, path)
    load_strictly(backbone.codec, {n.removeprefix(CODEC): t for n, t in state.items() if n.startswith(CODEC)}, path)


def load_small(path: str | Path) -> SmallBackbone:
    """The small backbone of a weight file that method `trace_backbone` wrote, in evaluation mode on the CPU.

    Raises:
        DataError: the file is missing or damaged, or holds the weights of another method.
    """
    metadata, state = read_weights(path, METHOD, "TRACE backbone")
    backbone = build(metadata["config"], path)
    fill(backbone, state, path)
    backbone.network.eval()
    return backbone
