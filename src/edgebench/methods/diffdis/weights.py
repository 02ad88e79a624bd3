"""Weight files of DiffDIS: safetensors whose metadata say how to build the network and its code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from edgebench.errors import ConfigError, DataError
from edgebench.methods.diffdis.codec import PatchCodec
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.presets import NetworkConfig
from edgebench.methods.weight_files import load_strictly, read_weights

METHOD = "diffdis"
_CODEC = "codec."


def weight_metadata(config: NetworkConfig, codec: object) -> dict[str, str]:
    """What a weight file says about itself; the VAE of Stable Diffusion is only named, not held."""
    known = {"factor": codec.factor, "channels": codec.channels} if isinstance(codec, PatchCodec) else "vae"
    return {"method": METHOD, "config": json.dumps(config.to_dict()), "codec": json.dumps(known)}


def weight_tensors(state: Mapping[str, Tensor], codec: object) -> dict[str, Tensor]:
    """What a weight file holds: the network's `state`, and a patch code, which is small."""
    own = codec.state_dict() if isinstance(codec, PatchCodec) else {}
    return {**state, **{f"{_CODEC}{name}": tensor.detach().cpu() for name, tensor in own.items()}}


def load_weights(path: str | Path) -> tuple[DiffdisNetwork, PatchCodec | None]:
    """Build the network that a weight file describes, in evaluation mode on the CPU.

    Returns:
        The network and its patch code; None where it works on the latents of Stable Diffusion's VAE.

    Raises:
        DataError: the file is missing or damaged, or holds the weights of another model.
    """
    metadata, state = read_weights(path, METHOD, "DiffDIS", ("config", "codec"))
    try:
        config = NetworkConfig.from_dict(json.loads(metadata["config"]))
        known = json.loads(metadata["codec"])
        codec = None if known == "vae" else PatchCodec(**known)
    except (ConfigError, TypeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: the network's configuration cannot be read ({error}). Train it again.") from error
    network = DiffdisNetwork(config)
    load_strictly(network, {n: t for n, t in state.items() if not n.startswith(_CODEC)}, path)
    if codec is not None:
        load_strictly(codec, {n.removeprefix(_CODEC): t for n, t in state.items() if n.startswith(_CODEC)}, path)
    return network.eval(), codec
