"""Weight files of DiffDIS: safetensors whose metadata say how to build the network and its code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from edgebench.errors import ConfigError, DataError
from edgebench.methods.diffdis.codec import PatchCodec
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.presets import NetworkConfig

METHOD = "diffdis"
_CODEC = "codec."
_SHOWN = 3


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
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such weight file. Train the network first, or give another file.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a readable safetensors file ({error}). Make or fetch it again.") from error
    if metadata.get("method") != METHOD or not {"config", "codec"} <= metadata.keys():
        raise DataError(
            f"{path}: not DiffDIS weights (the file says method={metadata.get('method', 'nothing')!r}). "
            f"Give a weights file that edgebench wrote for DiffDIS."
        )
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


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load `state` into `module`; every name and every shape must agree.

    Raises:
        DataError: they do not; the message names the file and the first that differ.
    """
    expected = module.state_dict()
    wrong = [f"{name} is missing" for name in expected if name not in state]
    wrong += [f"{name} is unknown" for name in state if name not in expected]
    wrong += [
        f"{name} is {'x'.join(map(str, state[name].shape))} instead of {'x'.join(map(str, value.shape))}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise DataError(
            f"{path}: weights of another model: {'; '.join(wrong[:_SHOWN])}{more}. "
            f"Give the weights that belong to this network."
        )
    module.load_state_dict(dict(state))
