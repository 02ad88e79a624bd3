"""The five diffusion backbones of TRACE: SD1.5, SDXL, PixArt-alpha, SD3.5-L and FLUX.1, as diffusers has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from diffusers import (
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn

from edgebench.errors import ConfigError, nearest
from edgebench.methods.codec import Codec
from edgebench.methods.trace.backbone import STEPS, Block, Schedule

FamilyName = Literal["sd15", "sdxl", "pixart_alpha", "sd35", "flux1"]
EmptyText = Mapping[str, Tensor]
"""What the denoiser is told of the empty text: `hidden` (1, tokens, width) and, where the family has them, `pooled`
(1, width) and `mask` (1, tokens)."""

_GUIDANCE = 1.0  # of FLUX.1-dev, which was trained with it as an input: none


@dataclass(frozen=True)
class Family:
    """What tells the models of one family from the others.

    Attributes:
        name: Of the family.
        network: diffusers' class of the denoiser.
        part: Folder of the denoiser in diffusers' layout.
        attention: How the names of its self-attention modules end.
        ask: From network, latents (B, C, h, w), level of noise, empty text and side of the picture in pixels to what
            the network says of the latents (B, C, h, w).
        flow: Whether it predicts a velocity of flow matching; else the noise.
    """

    name: FamilyName
    network: Any
    part: Literal["unet", "transformer"]
    attention: str
    ask: Callable[[Any, Tensor, int, EmptyText, int], Tensor]
    flow: bool = False


class DiffusionBackbone:
    """A denoiser with the code of its latents and the embedding of the empty text; a `Backbone`.

    Attributes:
        family: Which of the five it belongs to.
        codec: Code of pictures; frozen and in float32, because SDXL's overflows otherwise.
        text: The empty text.
        note: What a run's record should say of it.
    """

    network: nn.Module
    blocks: Sequence[Block]
    schedule: Schedule | None
    size: int

    def __init__(
        self,
        family: Family,
        network: nn.Module,
        codec: Codec,
        text: EmptyText,
        schedule: Schedule,
        size: int,
        note: Mapping[str, Any] | None = None,
    ) -> None:
        """Take over the parts, which are made ready for prediction alone.

        Raises:
            ConfigError: the size does not fit the network.
        """
        self.family = family
        self.network = network.eval().requires_grad_(False)
        self.codec = codec
        self.text = dict(text)
        self.schedule = schedule
        self.size = size
        self.note = dict(note or {})
        self.blocks = _blocks(family, network, self.text["hidden"].shape[1])
        multiple = codec.factor * _divisor(family, network)
        if size < 1 or size % multiple:
            near = max(1, round(size / multiple)) * multiple
            raise ConfigError(f"size {size} must be a multiple of {multiple} for {family.name}, {near} for example.")

    def encode(self, pictures: Tensor) -> Tensor:
        """As in `Backbone`; float32. The code follows the pictures to their device."""
        return self.codec.to(pictures.device).encode(pictures.float())

    def decode(self, latents: Tensor) -> Tensor:
        """As in `Backbone`."""
        return self.codec.to(latents.device).decode_colour(latents.float())

    def answer(self, latents: Tensor, tau: int) -> Tensor:
        """As in `Backbone`; the network computes in its own precision, the answer is float32."""
        kind = next(each.dtype for each in self.network.parameters() if each.is_floating_point())
        if self.text["hidden"].device != latents.device:
            self.text = {name: tensor.to(latents.device) for name, tensor in self.text.items()}
        text = {
            name: (tensor if name == "mask" else tensor.to(kind)).expand(len(latents), *tensor.shape[1:])
            for name, tensor in self.text.items()
        }
        return self.family.ask(self.network, latents.to(kind), tau, text, self.size).float()


def family_named(name: str) -> Family:
    """The family of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in FAMILIES:
        raise ConfigError(f"family {name!r} is unknown.{nearest(name, get_args(FamilyName))}")
    return FAMILIES[name]


def _blocks(family: Family, network: nn.Module, text: int) -> list[Block]:
    """The self-attention modules in the order in which they run."""
    blocks = []
    for name, module in network.named_modules():
        if not name.endswith(family.attention):
            continue
        if family.name == "flux1":
            single = name.startswith("single_")
            read = partial(_flux, text=text if single else 0)
            # The blocks of the second half have no output layer of the attention alone.
            names = ("to_q", "to_k", "to_v") if single else ("to_q", "to_k", "to_v", "to_out.0")
            blocks.append(Block(name, module, read, names))
        else:
            blocks.append(Block(name, module, _attention))
    if family.part == "unet":
        order = ("down_blocks", "mid_block", "up_blocks")
        blocks.sort(key=lambda block: order.index(block.name.split(".")[0]))  # stable: within each they run in order
    return blocks


def _divisor(family: Family, network: Any) -> int:
    if family.part == "unet":
        return 2 ** (len(network.config["block_out_channels"]) - 1)
    return 2 if family.name == "flux1" else int(network.config["patch_size"])


def _attention(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Queries and keys of diffusers' `Attention`; with text beside the picture (SD3), those of the picture alone.

    A softmax over the picture's keys is the joint one, cut to them and normalised again.
    """
    hidden = args[0] if args else kwargs["hidden_states"]
    queries, keys = (
        layer(hidden).unflatten(-1, (module.heads, -1)).transpose(1, 2) for layer in (module.to_q, module.to_k)
    )
    if module.norm_q is not None:
        queries = module.norm_q(queries)
    if module.norm_k is not None:
        keys = module.norm_k(keys)
    return queries * queries.shape[-1] ** -0.5, keys


def _flux(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], text: int) -> tuple[Tensor, Tensor]:
    """Queries and keys of FLUX' attention, those of the picture: its tokens come after `text` others or alone.

    Positions are counted over text and picture; the picture's come last.
    """
    hidden = (args[0] if args else kwargs["hidden_states"])[:, text:]
    rotation = tuple(each[-hidden.shape[1] :] for each in kwargs["image_rotary_emb"])

    def turned(layer: Any, norm: Any) -> Any:
        return apply_rotary_emb(norm(layer(hidden).unflatten(-1, (-1, module.head_dim))), rotation, sequence_dim=1)

    queries, keys = turned(module.to_q, module.norm_q), turned(module.to_k, module.norm_k)
    return queries.transpose(1, 2) * module.head_dim**-0.5, keys.transpose(1, 2)


def _times(latents: Tensor, tau: float) -> Tensor:
    return torch.full((len(latents),), tau, device=latents.device)


def _ask_sd15(network: Any, latents: Tensor, tau: int, text: EmptyText, size: int) -> Tensor:
    return network(latents, _times(latents, tau), encoder_hidden_states=text["hidden"]).sample


def _ask_sdxl(network: Any, latents: Tensor, tau: int, text: EmptyText, size: int) -> Tensor:
    # Original size, crop and target size: the picture was never cropped.
    sizes = latents.new_tensor([size, size, 0, 0, size, size]).expand(len(latents), -1)
    conditions = {"text_embeds": text["pooled"], "time_ids": sizes}
    return network(
        latents, _times(latents, tau), encoder_hidden_states=text["hidden"], added_cond_kwargs=conditions
    ).sample


def _ask_pixart(network: Any, latents: Tensor, tau: int, text: EmptyText, size: int) -> Tensor:
    conditions: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
    if network.use_additional_conditions:
        sides = latents.new_tensor([size, size]).expand(len(latents), -1)
        conditions = {"resolution": sides, "aspect_ratio": sides[:, :1] / sides[:, 1:]}
    said = network(
        latents,
        encoder_hidden_states=text["hidden"],
        encoder_attention_mask=text.get("mask"),
        timestep=_times(latents, tau),
        added_cond_kwargs=conditions,
    ).sample
    return said[:, : latents.shape[1]]  # the second half of the channels is the variance


def _ask_sd35(network: Any, latents: Tensor, tau: int, text: EmptyText, size: int) -> Tensor:
    return network(
        latents,
        encoder_hidden_states=text["hidden"],
        pooled_projections=text["pooled"],
        timestep=_times(latents, tau),
    ).sample


def _ask_flux(network: Any, latents: Tensor, tau: int, text: EmptyText, size: int) -> Tensor:
    height, width = (side // 2 for side in latents.shape[-2:])
    places = torch.cartesian_prod(torch.zeros(1), torch.arange(height).float(), torch.arange(width).float())
    said = network(
        hidden_states=packed(latents),
        encoder_hidden_states=text["hidden"],
        pooled_projections=text["pooled"],
        timestep=_times(latents, tau / STEPS),
        img_ids=places.to(latents),
        txt_ids=latents.new_zeros(text["hidden"].shape[1], 3),
        guidance=_times(latents, _GUIDANCE) if network.config["guidance_embeds"] else None,
    ).sample
    return unpacked(said, height, width)


def packed(latents: Tensor) -> Tensor:
    """Squares of 2 x 2 latents as one token each: (B, C, h, w) -> (B, h / 2 * w / 2, 4 C), in FLUX' order."""
    return nn.functional.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `packed`: (B, height * width, 4 C) -> (B, C, 2 height, 2 width)."""
    return nn.functional.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (height, width)), 2)


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("sd15", UNet2DConditionModel, "unet", ".attn1", _ask_sd15),
        Family("sdxl", UNet2DConditionModel, "unet", ".attn1", _ask_sdxl),
        Family("pixart_alpha", PixArtTransformer2DModel, "transformer", ".attn1", _ask_pixart),
        Family("sd35", SD3Transformer2DModel, "transformer", ".attn", _ask_sd35, flow=True),
        Family("flux1", FluxTransformer2DModel, "transformer", ".attn", _ask_flux, flow=True),
    )
}
