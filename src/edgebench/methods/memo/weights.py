"""Weight files of MEMO: safetensors whose metadata say how to build the network."""

from __future__ import annotations

import json
from pathlib import Path

from edgebench.errors import ConfigError, DataError
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import NetworkConfig
from edgebench.methods.weight_files import load_strictly, read_weights

METHOD = "memo"


def weight_metadata(config: NetworkConfig) -> dict[str, str]:
    """What a weight file says about itself."""
    return {"method": METHOD, "config": json.dumps(config.to_dict())}


def load_network(path: str | Path) -> MemoNetwork:
    """Build the network that a weight file describes, in evaluation mode on the CPU.

    Raises:
        DataError: the file is missing or damaged, or holds the weights of another model.
    """
    metadata, state = read_weights(path, METHOD, "MEMO")
    try:
        config = NetworkConfig.from_dict(json.loads(metadata["config"]))
    except (ConfigError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: the network's configuration cannot be read ({error}). Train it again.") from error
    network = MemoNetwork(config)
    load_strictly(network, state, path)
    return network.eval()
