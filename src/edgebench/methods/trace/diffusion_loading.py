"""Diffusion backbones from folders in diffusers' layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL

from edgebench.errors import DataError
from edgebench.methods.codec import VaeCodec
from edgebench.methods.diffusers_folder import load_part, read_config
from edgebench.methods.trace.backbone import Ddpm, Flow, Schedule
from edgebench.methods.trace.diffusion import FAMILIES, DiffusionBackbone, Family
from edgebench.methods.trace.empty_text import check_text, empty_text

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_LATENT_SIDE = 128  # of FLUX.1, whose configuration states none
_KNOWN = "SD1.5, SDXL, PixArt-alpha, SD3.5 and FLUX.1"


def load_backbone(
    folder: str | Path, size: int | None = None, precision: Literal["fp32", "bf16"] = "fp32"
) -> DiffusionBackbone:
    """The diffusion model in `folder`, in evaluation mode on the CPU.

    Args:
        folder: In diffusers' layout: `unet` or `transformer`, `vae`, `scheduler`, text encoders. The empty text is
            kept there, see `empty_text`.
        size: Side of the square that pictures are resized to, pixels; None takes what the model was trained at (512
            for SD1.5, 1024 for the others).
        precision: Of the denoiser; the autoencoder is float32.

    Raises:
        ConfigError: the size does not fit the network.
        DataError: a part is missing or damaged, or the model is of another family.
    """
    folder = Path(folder)
    family = folder_family(folder)
    network = load_part(folder / family.part, family.network.from_pretrained, DTYPES[precision])
    codec = VaeCodec(load_part(folder / "vae", AutoencoderKL.from_pretrained), colour=True)
    text, how = empty_text(folder, family.name, network.config)
    check_text(text, text_widths(family, network.config), folder)
    side = network.config.get("sample_size") or _LATENT_SIDE
    note = {"family": family.name, "empty_text": how}
    return DiffusionBackbone(family, network, codec, text, _schedule(folder, family), size or side * codec.factor, note)


def is_diffusion(folder: str | Path) -> bool:
    """Whether a folder holds a denoiser in diffusers' layout."""
    return any((Path(folder) / part / "config.json").is_file() for part in ("unet", "transformer"))


def folder_family(folder: str | Path) -> Family:
    """The family of the model in `folder`, by the configuration of its denoiser.

    Raises:
        DataError: there is none, or it is of no family that TRACE is defined for.
    """
    folder = Path(folder)
    part = next((each for each in ("unet", "transformer") if (folder / each / "config.json").is_file()), None)
    if part is None:
        raise DataError(
            f"{folder}: holds neither unet/config.json nor transformer/config.json, so no diffusion model. Fetch it "
            f"again, or give the folder of {_KNOWN}."
        )
    config = read_config(folder / part / "config.json")
    kind = config.get("_class_name")
    if kind == "Transformer2DModel" and config.get("norm_type") == "ada_norm_single":
        kind = "PixArtTransformer2DModel"  # the published files keep the name that it had before diffusers split it
    for family in FAMILIES.values():
        if family.network.__name__ == kind and family.name not in ("sd15", "sdxl"):
            return family
    extra = config.get("addition_embed_type")
    if kind == "UNet2DConditionModel" and extra in (None, "text_time"):
        return FAMILIES["sdxl" if extra else "sd15"]
    raise DataError(f"{folder}/{part}/config.json: a {kind} is none of {_KNOWN}. Give the folder of one of these.")


def text_widths(family: Family, config: Any) -> dict[str, int]:
    """Widths of the empty text that a denoiser takes, by name."""
    if family.name in ("sd35", "flux1"):
        return {"hidden": config["joint_attention_dim"], "pooled": config["pooled_projection_dim"]}
    if family.name == "pixart_alpha":
        return {"hidden": config["caption_channels"]}
    widths = {"hidden": config["cross_attention_dim"]}
    if family.name == "sdxl":
        widths["pooled"] = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    return widths


def _schedule(folder: Path, family: Family) -> Schedule:
    if family.flow:
        return Flow()
    path = folder / "scheduler" / "scheduler_config.json"
    config = read_config(path)
    if config.get("prediction_type", "epsilon") != "epsilon":
        raise DataError(
            f"{path}: the model predicts {config['prediction_type']!r}, not the noise (epsilon), as TRACE's do. Give "
            f"the folder of {_KNOWN}."
        )
    kinds = {"scaled_linear": Ddpm.scaled_linear, "linear": Ddpm.linear}
    try:
        return kinds[config["beta_schedule"]](float(config["beta_start"]), float(config["beta_end"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: states no known schedule of noise ({error}). Fetch it again.") from error
