"""LLaVA-1.5: the vision tower (CLIP), or the language model where it sees the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionModel, LlavaModel
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, repeat_kv

from edgebench.errors import ConfigError
from edgebench.methods.trace.backbone import Block, QueriesKeys
from edgebench.methods.trace.encoders.dino import plain_queries_keys
from edgebench.methods.trace.encoders.encoder import (
    CLIP,
    Encoder,
    Reads,
    check_reads,
    feature_blocks,
    hidden_of,
    side_of,
)

TOWER_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
LANGUAGE_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
BEFORE_IMAGE = "USER: "
"""What LLaVA-1.5's template has before the image. Attention is causal: the question behind it changes nothing."""


def tower_encoder(
    tower: CLIPVisionModel, feature_layer: int = -2, reads: Reads = "attention", size: int | None = None
) -> Encoder:
    """The vision tower of LLaVA, up to the layer whose features the language model is given; class token left out.

    Args:
        tower: The tower.
        feature_layer: `vision_feature_layer` of LLaVA's configuration, counted as in `hidden_states` of
            transformers: 0 stands for the embeddings, -1 for what leaves the last layer.
        reads: Its `attention`, or the similarity of its `features`.
        size: Side of the square that pictures are resized to; None takes that which the tower was trained for (336).
            At another one, positions are resampled.

    Raises:
        ConfigError: `reads` or the layer is unknown, or `size` no multiple of the patch.
    """
    check_reads(reads)
    config: Any = tower.config
    layers: Any = tower.encoder.layers
    patch = side_of(config.patch_size)
    used = feature_layer if feature_layer >= 0 else len(layers) + 1 + feature_layer
    if not 1 <= used <= len(layers):
        raise ConfigError(
            f"vision_feature_layer {feature_layer}: the vision tower has {len(layers)} layers. Give a configuration "
            "that belongs to it."
        )
    names = [f"encoder.layers.{index}.self_attn" for index in range(used)]
    blocks: Sequence[Block]
    if reads == "features":
        # Behind the very last layer, no module is called with all features.
        followers = layers[1 : used + 1]
        blocks = feature_blocks(names[: len(followers)], followers, _without_class, TOWER_PROJECTIONS)
    else:
        read = plain_queries_keys(1, heads="num_heads", scale="scale")
        blocks = [
            Block(name, layer.self_attn, read, TOWER_PROJECTIONS)
            for name, layer in zip(names, layers[:used], strict=True)
        ]

    def tokens(pixels: Tensor) -> Tensor:
        answer = tower(pixel_values=pixels, interpolate_pos_encoding=True, output_hidden_states=True)
        return _without_class(answer.hidden_states[used])

    trained = side_of(config.image_size)
    return Encoder(tower, blocks, tokens, patch, patch, trained if size is None else size, CLIP, reads)


def language_encoder(
    network: LlavaModel, before: Sequence[int], reads: Reads = "attention", size: int | None = None
) -> Encoder:
    """The language model of LLaVA at the positions of the image's tokens (24x24 for LLaVA-1.5).

    Its attention is causal: a token attends to itself and to those above it and to its left, so the rest of every
    row is exactly 0, and a divergence of neighbouring rows says how the mask cuts them, too: the floor inside its
    logarithm stands for what is infinite. The vision tower or the similarity of `features` has no such bias.

    Args:
        network: LLaVA without its head.
        before: Tokens of the text that stands before the image, the begin-of-text token included; see `BEFORE_IMAGE`.
        reads: Its `attention`, or the similarity of its `features`.
        size: Only that which LLaVA was trained for, or None.

    Raises:
        ConfigError: `reads` is unknown, or `size` another one.
    """
    check_reads(reads)
    config: Any = network.config
    trained, patch = side_of(config.vision_config.image_size), side_of(config.vision_config.patch_size)
    if size not in (None, trained):
        raise ConfigError(f"size {size}: LLaVA's language model knows images of {trained} pixels only. Leave it out.")
    if config.vision_feature_select_strategy != "default":
        raise ConfigError("vision_feature_select_strategy must be 'default', as that of LLaVA-1.5.")
    image = slice(len(before), len(before) + (trained // patch) ** 2)
    layers: Any = network.language_model.layers
    names = [f"language_model.layers.{index}.self_attn" for index in range(len(layers))]
    blocks: Sequence[Block]
    if reads == "features":
        followers = [*layers[1:], network.language_model.norm]
        blocks = feature_blocks(names, followers, lambda hidden: hidden[:, image], LANGUAGE_PROJECTIONS)
    else:
        read = language_queries_keys(image)
        blocks = [
            Block(n, layer.self_attn, read, LANGUAGE_PROJECTIONS, causal=True)
            for n, layer in zip(names, layers, strict=True)
        ]
    row = torch.tensor([*before, *[config.image_token_id] * (image.stop - image.start)])

    def tokens(pixels: Tensor) -> Tensor:
        words = row.to(pixels.device).expand(len(pixels), -1)
        return network(input_ids=words, pixel_values=pixels, use_cache=False).last_hidden_state[:, image]

    return Encoder(network, blocks, tokens, patch, trained, trained, CLIP, f"{reads} of the language model")


def language_queries_keys(positions: slice) -> QueriesKeys:
    """Reads queries and keys of an attention module of Llama at some positions, keys repeated for grouped heads."""

    def read(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Tensor, Tensor]:
        hidden = hidden_of(arguments, keywords)[:, positions]
        queries, keys = (
            layer(hidden).unflatten(-1, (-1, module.head_dim)).transpose(1, 2)
            for layer in (module.q_proj, module.k_proj)
        )
        cosine, sine = (values[:, positions] for values in keywords["position_embeddings"])
        queries, keys = apply_rotary_pos_emb(queries, keys, cosine, sine)
        return queries * module.scaling, repeat_kv(keys, module.num_key_value_groups)

    return read


def _without_class(hidden: Tensor) -> Tensor:
    return hidden[:, 1:]
