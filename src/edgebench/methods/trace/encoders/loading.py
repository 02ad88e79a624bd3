"""From a folder of the hub to an encoder, chosen by what its `config.json` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import (
    CLIPVisionModel,
    Dinov2Model,
    Dinov2WithRegistersModel,
    DINOv3ViTModel,
    LlavaConfig,
    LlavaModel,
    PreTrainedModel,
    Qwen2_5_VLConfig,
)
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from transformers.utils import logging

from edgebench.errors import ConfigError, DataError, nearest
from edgebench.methods.trace.encoders.dino import dino_encoder
from edgebench.methods.trace.encoders.encoder import Encoder, Reads, check_reads
from edgebench.methods.trace.encoders.eva import eva_encoder, load_eva
from edgebench.methods.trace.encoders.llava import BEFORE_IMAGE, language_encoder, tower_encoder
from edgebench.methods.trace.encoders.qwen import qwen_encoder

Layers = Literal["vision", "language"]
_AGAIN = "Fetch it again (`edgebench fetch NAME`), or name the folder that holds it."
_DINO: dict[str, type[PreTrainedModel]] = {
    "dinov2": Dinov2Model,
    "dinov2_with_registers": Dinov2WithRegistersModel,
    "dinov3_vit": DINOv3ViTModel,
}


def load_encoder(
    folder: str | Path,
    reads: Reads = "attention",
    layers: Layers = "vision",
    size: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Encoder:
    """An encoder from a folder of transformers or timm; of a model of images and text, only what is read is loaded.

    Args:
        folder: `config.json` and safetensors, in one file or several with their index.
        reads: The `attention`, or the similarity of `features`: softmax(cos / 0.1) over the patches.
        layers: Of LLaVA, its `vision` tower or its `language` model at the image's tokens, which also needs
            `tokenizer.json`. The papers do not say which was read. Other encoders have vision layers only.
        size: Side of the square that pictures are resized to, a multiple of the patch; None takes the model's own,
            as `dino_encoder`, `tower_encoder`, `eva_encoder` and `qwen_encoder` say.
        dtype: Of the weights.

    Raises:
        ConfigError: an option is unknown or does not belong to this model.
        DataError: the folder holds no such model, or not all of it.
        EdgebenchError: timm is needed and missing.
    """
    check_reads(reads)
    if layers not in get_args(Layers):
        raise ConfigError(f"layers {layers!r} is unknown.{nearest(layers, get_args(Layers))}")
    kind = _kind(folder)
    if layers == "language" and kind != "llava":
        raise ConfigError(f"layers 'language': {folder} holds {kind}. Take 'vision'; only LLaVA has both.")
    if kind in _DINO:
        return dino_encoder(_read(_DINO[kind], folder, dtype), reads, size)
    if kind == "timm":
        return eva_encoder(load_eva(folder).to(dtype), reads, size)
    if kind == "llava":
        return _llava(folder, reads, layers, size, dtype)
    config: Any = Qwen2_5_VLConfig.from_pretrained(str(folder), local_files_only=True)
    tower = _read(
        Qwen2_5_VisionTransformerPretrainedModel,
        folder,
        dtype,
        config=config.vision_config,
        key_mapping={r"^(model\.)?visual\.": ""},
    )
    return qwen_encoder(tower, reads, size)


def is_encoder(folder: str | Path) -> bool:
    """Whether a folder holds a model that `load_encoder` knows."""
    try:
        _kind(folder)
    except DataError:
        return False
    return True


def _kind(folder: str | Path) -> str:
    path = Path(folder, "config.json")
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no readable configuration of a model ({error}). {_AGAIN}") from error
    kinds = [*_DINO, "llava", "qwen2_5_vl", "timm"]
    kind = config.get("model_type") or ("timm" if "architecture" in config else "")
    if kind not in kinds:
        raise DataError(f"{path}: model_type {kind!r} is no encoder that TRACE reads.{nearest(kind, kinds)}")
    return kind


def _llava(folder: str | Path, reads: Reads, layers: Layers, size: int | None, dtype: torch.dtype) -> Encoder:
    config: Any = LlavaConfig.from_pretrained(str(folder), local_files_only=True)
    vision, text = config.vision_config.model_type, config.text_config.model_type
    if (vision, text) != ("clip_vision_model", "llama"):
        raise DataError(f"{folder}: a LLaVA of {vision} and {text}, not of CLIP and Llama. Give LLaVA-1.5.")
    if layers == "language":
        return language_encoder(_read(LlavaModel, folder, dtype), _before_image(folder), reads, size)
    tower = _read(
        CLIPVisionModel,
        folder,
        dtype,
        config=config.vision_config,
        key_mapping={r"^(model\.)?vision_tower\.(vision_model\.)?": ""},
    )
    return tower_encoder(tower, config.vision_feature_layer, reads, size)


def _before_image(folder: str | Path) -> list[int]:
    path = Path(folder, "tokenizer.json")
    try:
        if not path.is_file():
            raise OSError("there is no such file")
        return Tokenizer.from_file(str(path)).encode(BEFORE_IMAGE).ids
    except Exception as error:  # the library raises nothing more special
        raise DataError(f"{path}: no tokenizer of LLaVA's language model ({error}). {_AGAIN}") from error


def _read(family: Any, folder: str | Path, dtype: torch.dtype, **more: Any) -> Any:
    """A model of transformers with all of its weights."""
    # It would warn of each weight of the parts that are left in the file.
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        model, report = family.from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, output_loading_info=True, dtype=dtype, **more
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{folder}: holds no weights of {family.__name__} ({reason}). {_AGAIN}") from error
    finally:
        logging.set_verbosity(before)
    for problem in ("missing_keys", "mismatched_keys"):
        if wrong := sorted(map(str, report[problem])):
            raise DataError(
                f"{folder}: weights of another {family.__name__}: {wrong[0]} is {problem.split('_')[0]}, and "
                f"{len(wrong) - 1} more. {_AGAIN}"
            )
    return model
