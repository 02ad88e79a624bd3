"""Opening whatever network TRACE can read, by what a folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace.backbone import Backbone
from edgebench.methods.trace.diffusion_loading import DTYPES, is_diffusion, load_backbone
from edgebench.methods.trace.encoders.encoder import Reads
from edgebench.methods.trace.encoders.loading import Layers, is_encoder, load_encoder
from edgebench.methods.trace.small import load_small

_SMALL = "weights.safetensors"


def open_backbone(
    folder: str | Path,
    size: int | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    reads: Reads = "attention",
    layers: Layers = "vision",
) -> Backbone:
    """The network in `folder`, in evaluation mode on the CPU; `network.to(device)` moves it.

    Args:
        folder: Of a diffusion model in diffusers' layout, of an encoder, or of a training of our small backbone.
        size: Side of the square that pictures are resized to, pixels; None takes what the network was trained at, and
            the small backbone has no other.
        precision: Of the network; the small backbone is float32.
        reads: Of an encoder, as in `load_encoder`; diffusion models are read by their attention.
        layers: Of an encoder, as in `load_encoder`.

    Raises:
        ConfigError: an option does not fit the network.
        DataError: the folder holds no network that TRACE reads, or not all of it.
    """
    folder = Path(folder)
    if (folder / _SMALL).is_file():
        return load_small(folder / _SMALL)
    if is_encoder(folder):
        return load_encoder(folder, reads, layers, size, DTYPES[precision])
    if reads != "attention" or layers != "vision":
        raise ConfigError(f"reads '{reads}' and layers '{layers}': {folder} is no encoder, which alone takes these.")
    if is_diffusion(folder):
        return load_backbone(folder, size, precision)
    raise DataError(
        f"{folder}: holds no network that TRACE reads: no diffusion model (unet or transformer), no encoder and no "
        f"{_SMALL}. Fetch the checkpoint again, or name another."
    )


def backbone_note(backbone: Any) -> dict[str, Any]:
    """What a run's record should say of a network."""
    return {"backbone": note} if (note := getattr(backbone, "note", None)) else {}
