"""The folder that DiffDIS' authors released, in diffusers' layout, converted once to our weight file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edgebench.errors import DataError
from edgebench.files import atomic_path
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.presets import PRESETS, NetworkConfig
from edgebench.methods.diffdis.pretrained import WEIGHTS, empty_text, load_vae, our_names
from edgebench.methods.diffdis.weights import weight_metadata, weight_tensors
from edgebench.methods.weight_files import check_names

TEXT = "text"


@dataclass(frozen=True)
class ReleasedWeights:
    """What a released folder was found to hold.

    Attributes:
        preset: Name of the network's size.
        parameters: Number of trained values.
    """

    preset: str
    parameters: int


def convert_released(
    folder: str | Path,
    target: str | Path,
    notes: Mapping[str, str] | None = None,
    configs: Mapping[str, NetworkConfig] = PRESETS,
) -> ReleasedWeights:
    """Write U-Net, autoencoder and empty text of a released folder as a file that `load_weights` reads.

    The U-Net is mapped into memory, not read, and written as it stands, in float32.

    Args:
        folder: With `unet`, `vae` and `text_encoder`.
        target: The safetensors file to write.
        notes: What the file's metadata should say besides.
        configs: Networks among which the right one is recognised.

    Raises:
        DataError: a file is missing or damaged, or the U-Net is none of these networks.
    """
    folder = Path(folder)
    preset = released_preset(folder, configs)
    source, codec, text = folder / "unet" / WEIGHTS, load_vae(folder), empty_text(folder)
    with torch.device("meta"):
        network = DiffdisNetwork(configs[preset])
    check_names({TEXT: network.text}, {TEXT: text}, folder / "text_encoder")
    with safe_open(source, framework="pt") as file:
        unet = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
        state = our_names({name: _as_float32(tensor) for name, tensor in unet.items()}, source)
        metadata = {**weight_metadata(configs[preset], codec), **(notes or {})}
        with atomic_path(target) as path:
            save_file(weight_tensors({**state, TEXT: text}, codec), path, metadata)
    return ReleasedWeights(preset, sum(parameter.numel() for parameter in network.parameters()))


def released_preset(folder: str | Path, configs: Mapping[str, NetworkConfig] = PRESETS) -> str:
    """Name of the network that the U-Net in `folder` belongs to; only the names and shapes in its file are read.

    Raises:
        DataError: the file is missing or damaged, or belongs to none of `configs`.
    """
    path = Path(folder) / "unet" / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: no readable weights ({error}). Fetch the released checkpoint again.") from error
    found = our_names({name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, path)
    networks: dict[str, dict[str, Tensor]] = {}
    for name, config in configs.items():
        with torch.device("meta"):
            networks[name] = DiffdisNetwork(config).state_dict()
        del networks[name][TEXT]  # a constant of ours; the authors compute it every time
        if {key: value.shape for key, value in networks[name].items()} == {k: v.shape for k, v in found.items()}:
            return name

    def likeness(name: str) -> int:
        return sum(key in found and found[key].shape == value.shape for key, value in networks[name].items())

    closest = max(networks, key=likeness)
    check_names(networks[closest], found, f"{path} (nearest to preset '{closest}')")
    raise AssertionError("unreachable: equal names and shapes were recognised above")


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
