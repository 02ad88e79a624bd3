"""Names of the authors' weights and ours, by which released U-Nets are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from edgebench.methods.weight_files import renamed

Value = TypeVar("Value")

_BETWEEN = r"^(mid_block\.attentions\.0\.transformer_blocks\.0)\."
_RULES: tuple[tuple[str, str], ...] = (
    (r"^rgb_conv\.(\d+)\.0\.", r"injectors.\1.stem."),
    (r"^rgb_conv\.(\d+)\.1\.", r"injectors.\1.norm."),
    # In the authors' code the first multiplies the skip and the second is added.
    (r"^rgb_proj\.(\d+)\.", r"injectors.\1.scale."),
    (r"^rgb_proj1\.(\d+)\.", r"injectors.\1.shift."),
    (_BETWEEN + r"norm2_\.", r"unet.\1.norm_between."),
    (_BETWEEN + r"attn3\.", r"unet.\1.attention_between."),
    (
        r"^(conv_in|conv_norm_out|conv_out|time_embedding|class_embedding|down_blocks|mid_block|up_blocks)\.",
        r"unet.\1.",
    ),
)


def our_name(official: str) -> str:
    """Our name of the authors' tensor `official`; those of a stock Stable Diffusion U-Net have one too.

    Raises:
        KeyError: the authors' network has no such tensor.
    """
    return renamed(official, _RULES)


def from_official(state: Mapping[str, Value]) -> dict[str, Value]:
    """The authors' state dict under our names, values untouched.

    Raises:
        KeyError: a name is not one of the authors' network.
    """
    return {our_name(name): value for name, value in state.items()}
