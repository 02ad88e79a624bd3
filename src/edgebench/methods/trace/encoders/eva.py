"""EVA02 of timm, which is an extra: `pip install 'edgebench[timm]'`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from edgebench.errors import DataError, EdgebenchError
from edgebench.methods.trace.backbone import Block
from edgebench.methods.trace.encoders.encoder import (
    Encoder,
    Reads,
    Statistics,
    by_head,
    check_reads,
    feature_blocks,
    side_of,
)

WEIGHTS = "model.safetensors"


def eva_encoder(network: Any, reads: Reads = "attention", size: int | None = None) -> Encoder:
    """An EVA or EVA02 of timm; class token and registers are left out.

    Args:
        network: `timm.models.eva.Eva`, made with `dynamic_img_size=True`. Its attention is made to call its fused
            projection as a layer, because adapters put into it would be passed over otherwise.
        reads: Its `attention`, or the similarity of its `features`.
        size: Side of the square that pictures are resized to; None takes that which it was trained for (224 for
            EVA02-E). At another one, positions are resampled.

    Raises:
        ConfigError: `reads` is unknown, or `size` no multiple of the patch.
    """
    check_reads(reads)
    config = network.pretrained_cfg
    skipped = network.num_prefix_tokens
    fused = network.blocks[0].attn.qkv is not None
    projections = ("qkv", "proj") if fused else ("q_proj", "k_proj", "v_proj", "proj")
    for block in network.blocks:
        block.attn.qkv_bias_separate = True

    def patches(hidden: Tensor) -> Tensor:
        return hidden[:, skipped:]

    names = [f"blocks.{index}.attn" for index in range(len(network.blocks))]
    blocks: Sequence[Block]
    if reads == "features":
        blocks = feature_blocks(names, [*network.blocks[1:], network.norm], patches, projections)
    else:
        blocks = [
            Block(name, block.attn, eva_queries_keys, projections)
            for name, block in zip(names, network.blocks, strict=True)
        ]
    patch = side_of(network.patch_embed.patch_size)
    statistics = Statistics(tuple(config["mean"]), tuple(config["std"]))
    return Encoder(
        network,
        blocks,
        lambda pixels: patches(network.forward_features(pixels)),
        patch,
        patch,
        side_of(config["input_size"][1:]) if size is None else size,
        statistics,
        reads,
    )


def eva_queries_keys(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Queries and keys of an attention module of EVA, normalised and rotated if it does so; first tokens left out."""
    from timm.layers import apply_rot_embed_cat

    hidden = (arguments[0] if arguments else keywords["x"])[:, module.num_prefix_tokens :]
    if module.qkv is None:
        both = module.q_proj(hidden), module.k_proj(hidden)
    else:
        fused = module.qkv(hidden)
        if module.q_bias is not None:
            fused = fused + torch.cat((module.q_bias, module.k_bias, module.v_bias))
        both = fused.chunk(3, -1)[:2]
    queries, keys = (by_head(each, module.num_heads) for each in both)
    queries, keys = module.q_norm(queries), module.k_norm(keys)
    rotation = keywords.get("rope")
    if rotation is not None:
        half = getattr(module, "rotate_half", False)
        queries, keys = (apply_rot_embed_cat(each, rotation, half=half) for each in (queries, keys))
    return queries * module.scale, keys


def load_eva(folder: str | Path) -> Any:
    """The network of a folder as timm writes it: `config.json` and `model.safetensors`.

    Raises:
        EdgebenchError: timm does not start here; see `import_timm`.
        DataError: the folder holds no EVA, or not all of it.
    """
    timm = import_timm()
    from timm.models.eva import Eva

    if not Path(folder, WEIGHTS).is_file():
        raise DataError(f"{folder}: there is no {WEIGHTS}. Fetch it again, or name the folder that holds it.")
    architecture = json.loads(Path(folder, "config.json").read_text()).get("architecture")
    if not timm.is_model(architecture):
        raise DataError(f"{folder}: timm {timm.__version__} knows no architecture {architecture!r}. Take a newer timm.")
    try:
        network = timm.create_model(f"local-dir:{Path(folder).absolute()}", pretrained=True, dynamic_img_size=True)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{folder}: timm cannot read {architecture} ({reason}). Fetch it again.") from error
    if not isinstance(network, Eva):
        raise DataError(f"{folder}: {architecture} is no EVA. Give an EVA or EVA02 of timm.")
    return network


def import_timm() -> ModuleType:
    """Timm, or a sentence on what is missing.

    Raises:
        EdgebenchError: timm is missing, or torchvision, without which timm does not start, or that torchvision was
            built for another torch (as it is beside a torch for CPUs when it comes from PyPI).
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise EdgebenchError(
            f"EVA02 needs timm ({error}). Type `pip install 'edgebench[timm]'`, which brings torchvision with it."
        ) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise EdgebenchError(
            f"EVA02 needs timm, which does not start here ({error}): it uses torchvision, and that must be built for "
            f"the installed torch {torch.__version__}. Install both from one place, such as `pip install torch "
            "torchvision --index-url https://download.pytorch.org/whl/cpu`."
        ) from error
    return timm
