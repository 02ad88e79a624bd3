"""Weight files of DiffDIS: safetensors with the network and its code, whose metadata say how to build both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from diffusers import AutoencoderKL
from torch import Tensor

from edgebench.errors import ConfigError, DataError
from edgebench.methods.codec import Codec, PatchCodec, VaeCodec
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.presets import NetworkConfig
from edgebench.methods.weight_files import load_strictly, read_metadata, read_weights

METHOD = "diffdis"
PUBLISHED_SIZE = 1024
_CODEC = "codec."


def weight_metadata(config: NetworkConfig, codec: Codec) -> dict[str, str]:
    """What a weight file says about itself."""
    known: dict[str, Any]
    if isinstance(codec, VaeCodec):
        # Names that begin with _ say where the autoencoder was loaded from and by which version.
        known = {"vae": {key: value for key, value in codec.vae.config.items() if not key.startswith("_")}}
    else:
        known = {"factor": codec.factor, "channels": codec.channels}
    return {"method": METHOD, "config": json.dumps(config.to_dict()), "codec": json.dumps(known)}


def weight_tensors(state: Mapping[str, Tensor], codec: Codec) -> dict[str, Tensor]:
    """What a weight file holds: the network's `state` and the code, so that it needs no other file."""
    assert isinstance(codec, PatchCodec | VaeCodec)
    own = {f"{_CODEC}{name}": tensor.detach().cpu() for name, tensor in codec.state_dict().items()}
    return {**state, **own}


def load_weights(
    path: str | Path, precision: Literal["fp32", "bf16"] = "fp32", tiled: bool = False
) -> tuple[DiffdisNetwork, Codec]:
    """Build the network that a weight file describes, and its code, in evaluation mode on the CPU.

    Args:
        path: The file.
        precision: Of an autoencoder's convolutions; see `VaeCodec`.
        tiled: Whether an autoencoder decodes in tiles.

    Raises:
        DataError: the file is missing or damaged, or holds the weights of another model.
    """
    metadata, state = read_weights(path, METHOD, "DiffDIS", ("config", "codec"))
    try:
        config = NetworkConfig.from_dict(json.loads(metadata["config"]))
        known = json.loads(metadata["codec"])
        codec: PatchCodec | VaeCodec
        if "vae" in known:
            autoencoder: Any = AutoencoderKL.from_config(known["vae"])
            codec = VaeCodec(autoencoder, precision, tiled)
        else:
            codec = PatchCodec(**known)
    except (ConfigError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the network's configuration cannot be read ({error}). Train it again.") from error
    network = DiffdisNetwork(config)
    load_strictly(network, {n: t for n, t in state.items() if not n.startswith(_CODEC)}, path)
    load_strictly(codec, {n.removeprefix(_CODEC): t for n, t in state.items() if n.startswith(_CODEC)}, path)
    return network.eval(), codec


def trained_size(path: str | Path) -> int:
    """Side of the square that pictures were resized to when the weights of a file were trained, pixels.

    1024, as published, where the file does not say.

    Raises:
        DataError: the file is missing or damaged, or its size is no number.
    """
    size = read_metadata(path).get("size", str(PUBLISHED_SIZE))
    if not size.isdecimal():
        raise DataError(f"{path}: its metadata give the size {size!r}, where pixels were expected. Train it again.")
    return int(size)
