"""Pre-trained parts of Stable Diffusion, from folders in diffusers' layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel

from edgebench.errors import ConfigError, DataError
from edgebench.methods.codec import VaeCodec
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.official import from_official
from edgebench.methods.diffdis.presets import NetworkConfig
from edgebench.methods.diffusers_folder import load_part, read_config
from edgebench.methods.weight_files import load_strictly

WEIGHTS = "diffusion_pytorch_model.safetensors"
_EXTRA = ("norm_between.", "attention_between.", "class_embedding.", "injectors.", "text")


def backbone_config(folder: str | Path, config: NetworkConfig) -> NetworkConfig:
    """`config` with the widths and the prediction type of the Stable Diffusion model in `folder`.

    Args:
        folder: With `unet/config.json` and `scheduler/scheduler_config.json`.
        config: Its switches stay as they are.

    Raises:
        DataError: a file is missing, or the model is of another family.
    """
    folder = Path(folder)
    unet, schedule = (read_config(folder / each) for each in ("unet/config.json", "scheduler/scheduler_config.json"))
    foreign = [key for key in ("addition_embed_type", "encoder_hid_dim_type") if unet.get(key)]
    levels = [str(each) for each in unet.get("down_block_types", [])]
    if foreign or not set(levels) <= {"CrossAttnDownBlock2D", "DownBlock2D"}:
        raise DataError(
            f"{folder}: not a model of the Stable Diffusion 1 or 2 family ({', '.join(foreign) or levels}). "
            f"Give the folder of SD-Turbo or SD 2.1."
        )
    text = read_config(folder / "text_encoder/config.json")
    try:
        heads = unet["attention_head_dim"]
        return replace(
            config,
            channels=tuple(unet["block_out_channels"]),
            heads=tuple(heads) if isinstance(heads, list) else (heads,) * len(levels),
            attention=tuple(each.startswith("CrossAttn") for each in levels),
            layers=unet["layers_per_block"],
            groups=unet["norm_num_groups"],
            text=text["hidden_size"],
            tokens=2,
            linear=unet.get("use_linear_projection", False),
            latent=unet["out_channels"],
            prediction=schedule.get("prediction_type", "epsilon"),
        )
    except (KeyError, ConfigError) as error:
        raise DataError(
            f"{folder}: unet/config.json or text_encoder/config.json lacks what describes this family ({error}). "
            f"Fetch it again."
        ) from error


def from_backbone(folder: str | Path, config: NetworkConfig) -> DiffdisNetwork:
    """A DiffDIS network that starts from the Stable Diffusion model in `folder`, as the authors' does.

    The input convolution takes the picture and the noisy latent with half the pre-trained kernel each; the
    attention between the streams starts as a copy of self-attention; the injectors start without effect.

    Raises:
        DataError: a file is missing, damaged or of another model.
    """
    folder = Path(folder)
    network = DiffdisNetwork(backbone_config(folder, config))
    path = folder / "unet" / WEIGHTS
    stock = our_names(_tensors(path), path)
    if "unet.conv_in.weight" in stock:
        stock["unet.conv_in.weight"] = widened(stock["unet.conv_in.weight"])
    added = {name: t for name, t in network.state_dict().items() if any(each in name for each in _EXTRA)}
    load_strictly(network, {**added, **stock}, path)
    network.start_interaction()
    network.text.copy_(empty_text(folder))
    return network


def widened(kernel: Tensor) -> Tensor:
    """The input kernel (N, C, 3, 3) for two latents side by side, (N, 2 C, 3, 3): repeated and halved."""
    return kernel.repeat(1, 2, 1, 1) / 2


def empty_text(folder: str | Path) -> Tensor:
    """What the text encoder in `folder` says to an empty text: float32 (1, 2, width), beginning and end.

    Raises:
        DataError: the encoder is missing or damaged.
    """
    encoder = load_part(Path(folder) / "text_encoder", CLIPTextModel.from_pretrained).eval()
    size = encoder.config.vocab_size
    with torch.no_grad():
        # CLIP's vocabulary ends with the marks for beginning and end; the files' own entries are often wrong.
        return encoder(torch.tensor([[size - 2, size - 1]])).last_hidden_state.float()


def load_vae(folder: str | Path, precision: Literal["fp32", "bf16"] = "fp32", tiled: bool = False) -> VaeCodec:
    """The autoencoder in `folder`/vae as a code of pictures.

    Raises:
        DataError: it is missing or damaged.
    """
    return VaeCodec(load_part(Path(folder) / "vae", AutoencoderKL.from_pretrained), precision, tiled)


def our_names(state: Mapping[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """The tensors of the U-Net file `path` under our names.

    Raises:
        DataError: a tensor is no part of this network.
    """
    try:
        return from_official(state)
    except KeyError as error:
        raise DataError(f"{path}: holds {error}, which is no part of this network. Give another folder.") from error


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return {
            name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()
        }
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: no readable weights ({error}). Fetch the pre-trained model again.") from error
