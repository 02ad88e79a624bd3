"""Names of the authors' weights and ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from edgebench.methods.weight_files import renamed

Value = TypeVar("Value")

_RULES: tuple[tuple[str, str], ...] = (
    (r"^(embedder|pre_conv)\.", r"\1."),
    (r"^dino_to_unet_feat_map\.", "dino_map."),
    (r"^dino\.(cls_token|register_tokens|mask_token)$", r"dino.model.embeddings.\1"),
    (r"^dino\.pos_embed$", "dino.model.embeddings.position_embeddings"),
    (r"^dino\.patch_embed\.proj\.", "dino.model.embeddings.patch_embeddings.projection."),
    (r"^dino\.norm\.", "dino.model.layernorm."),
    (r"^dino\.blocks\.(\d+)\.attn\.", r"dino.model.encoder.layer.\1.attention."),
    (r"^dino\.blocks\.(\d+)\.ls(\d)\.gamma$", r"dino.model.encoder.layer.\1.layer_scale\2.lambda1"),
    (r"^dino\.blocks\.(\d+)\.", r"dino.model.encoder.layer.\1."),
    (
        r"^(conv_in|conv_norm_out|conv_out|time_embedding|down_blocks|mid_block|up_blocks)\.",
        r"unet.\1.",
    ),
)


def our_name(official: str) -> str:
    """Our name of the authors' parameter `official`; adapters (`X.lora_A.unet_lora.weight`) follow.

    Raises:
        KeyError: the authors' network has no such parameter.
    """
    return renamed(official, _RULES)


def from_official(state: Mapping[str, Value]) -> dict[str, Value]:
    """The authors' state dict under our names, values untouched.

    Raises:
        KeyError: a name is not one of the authors' network.
    """
    return {our_name(name): value for name, value in state.items()}
