"""DINOv2, with and without registers, and DINOv3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import Dinov2Model, Dinov2WithRegistersModel, DINOv3ViTModel
from transformers.models.dinov3_vit.modeling_dinov3_vit import apply_rotary_pos_emb

from edgebench.methods.trace.backbone import Block, QueriesKeys
from edgebench.methods.trace.encoders.encoder import (
    GRID,
    IMAGENET,
    Encoder,
    Reads,
    by_head,
    check_reads,
    feature_blocks,
    hidden_of,
    side_of,
)

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
DinoNetwork = Dinov2Model | Dinov2WithRegistersModel | DINOv3ViTModel


def dino_encoder(network: DinoNetwork, reads: Reads = "attention", size: int | None = None) -> Encoder:
    """A DINO encoder whose patches attend to one another; class token and registers are left out.

    DINOv2's learnt positions are resampled to the grid as transformers does it; DINOv3's are rotary.

    Args:
        network: DINOv2 or DINOv3.
        reads: Its `attention`, or the similarity of its `features`.
        size: Side of the square that pictures are resized to; None takes 64 patches a side (not published).

    Raises:
        ConfigError: `reads` is unknown, or `size` no multiple of the patch.
    """
    check_reads(reads)
    config: Any = network.config
    patch = side_of(config.patch_size)
    for key in ("pos_embed_shift", "pos_embed_jitter", "pos_embed_rescale"):
        # DINOv3 would move its positions at random while adapters are trained, but not when edges are predicted.
        if hasattr(config, key):
            setattr(config, key, None)
    skipped = 1 + getattr(config, "num_register_tokens", 0)
    path = "model.layer" if isinstance(network, DINOv3ViTModel) else "encoder.layer"
    layers: Any = network.get_submodule(path)
    names = [f"{path}.{index}.attention" for index in range(len(layers))]

    def patches(hidden: Tensor) -> Tensor:
        return hidden[:, skipped:]

    blocks: Sequence[Block]
    if reads == "features":
        norm = network.norm if isinstance(network, DINOv3ViTModel) else network.layernorm
        blocks = feature_blocks(names, [*layers[1:], norm], patches, PROJECTIONS)
    else:
        rotary = isinstance(network, DINOv3ViTModel)
        read = rotated_queries_keys(skipped) if rotary else plain_queries_keys(skipped)
        blocks = [Block(name, layer.attention, read, PROJECTIONS) for name, layer in zip(names, layers, strict=True)]

    def tokens(pixels: Tensor) -> Tensor:
        return patches(network(pixel_values=pixels).last_hidden_state)

    return Encoder(network, blocks, tokens, patch, patch, GRID * patch if size is None else size, IMAGENET, reads)


def plain_queries_keys(skipped: int, heads: str = "num_attention_heads", scale: str = "scaling") -> QueriesKeys:
    """Reads queries and keys of an attention module without rotary positions, first tokens left out.

    Args:
        skipped: How many tokens stand before those of the image.
        heads: The module's attribute that holds the number of heads.
        scale: That which holds the factor of the products.
    """

    def read(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Tensor, Tensor]:
        hidden = hidden_of(arguments, keywords)[:, skipped:]
        queries, keys = (by_head(layer(hidden), getattr(module, heads)) for layer in (module.q_proj, module.k_proj))
        return queries * getattr(module, scale), keys

    return read


def rotated_queries_keys(skipped: int) -> QueriesKeys:
    """Reads queries and keys of DINOv3, whose patches are rotated by their positions, first tokens left out."""

    def read(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Tensor, Tensor]:
        hidden = hidden_of(arguments, keywords)[:, skipped:]
        queries, keys = (by_head(layer(hidden), module.num_heads) for layer in (module.q_proj, module.k_proj))
        queries, keys = apply_rotary_pos_emb(queries, keys, *keywords["position_embeddings"])
        return queries * module.scaling, keys

    return read
