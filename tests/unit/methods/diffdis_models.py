"""A DiffDIS network of random weights, as a file that people could have trained."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from skimage import data

from edgebench.methods.codec import PatchCodec
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.presets import NetworkConfig
from edgebench.methods.diffdis.weights import weight_metadata, weight_tensors

CONFIG = NetworkConfig((8, 16), (1, 2), (False, False), 1, 4, text=4, tokens=1, latent=6, prediction="sample")


def write_diffdis(folder: Path, size: int = 64, config: NetworkConfig = CONFIG) -> Path:
    """Write `weights.safetensors` of a network that works at `size` pixels, a multiple of 8; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network, codec = DiffdisNetwork(config), PatchCodec.fit([data.chelsea()[:64, :64]], 4, config.latent)
    metadata = weight_metadata(config, codec) | {"size": str(size)}
    save_file(weight_tensors(network.state_dict(), codec), folder / "weights.safetensors", metadata)
    return folder / "weights.safetensors"
