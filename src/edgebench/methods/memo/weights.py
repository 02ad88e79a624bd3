"""Weight files of MEMO: safetensors whose metadata say how to build the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from edgebench.errors import ConfigError, DataError
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import NetworkConfig

METHOD = "memo"
_SHOWN = 3


def weight_metadata(config: NetworkConfig) -> dict[str, str]:
    """What a weight file says about itself."""
    return {"method": METHOD, "config": json.dumps(config.to_dict())}


def load_network(path: str | Path) -> MemoNetwork:
    """Build the network that a weight file describes, in evaluation mode on the CPU.

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
    if metadata.get("method") != METHOD or "config" not in metadata:
        raise DataError(
            f"{path}: not MEMO weights (the file says method={metadata.get('method', 'nothing')!r}). "
            f"Give a weights file that edgebench wrote for MEMO."
        )
    try:
        config = NetworkConfig.from_dict(json.loads(metadata["config"]))
    except (ConfigError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: the network's configuration cannot be read ({error}). Train it again.") from error
    network = MemoNetwork(config)
    load_strictly(network, state, path)
    return network.eval()


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load `state` into `module`; every name and every shape must agree.

    Raises:
        DataError: they do not; the message names the file and the first that differ.
    """
    check_names(module.state_dict(), state, path)
    module.load_state_dict(dict(state))


def check_names(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str | Path) -> None:
    """Check that `state` has the names and shapes of `expected`, no more and no less.

    Raises:
        DataError: it does not; the message names the file and the first that differ.
    """
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
            f"Give the weights that belong to this network, or choose the preset that belongs to the file."
        )
