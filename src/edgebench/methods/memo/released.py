"""The checkpoints that MEMO's authors released: DeepSpeed files, converted once to our weight files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from edgebench.data.images import describe_content
from edgebench.errors import DataError
from edgebench.files import atomic_path
from edgebench.methods.memo.lora import ADAPTER, merge_lora
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.official import from_official
from edgebench.methods.memo.presets import PRESETS, NetworkConfig
from edgebench.methods.memo.weights import weight_metadata
from edgebench.methods.weight_files import check_names

LIVE = "denoiser."
AVERAGED = "ema_denoiser.module."
AVERAGED_COUNT = "ema_denoiser.n_averaged"

# What training frameworks leave beside the weights. Nothing of it is imported or run: it becomes an empty map.
_FRAMEWORKS = {
    *("argparse", "deepspeed", "lightning", "lightning_fabric", "numpy", "omegaconf", "pathlib", "pytorch_lightning"),
    *("torch", "typing"),
}


@dataclass(frozen=True)
class ReleasedWeights:
    """Weights of a released checkpoint under our names, adapters merged.

    Attributes:
        preset: Name of the network's size.
        config: The network.
        state: float32 weights by name.
        averaged: Updates that the moving average had seen; 0 when these are the weights of the last step, None when
            the file does not say.
        lora_rank: Rank of the adapters that were merged; None without.
        adapter_parameters: Number of values of the adapters that were merged.
    """

    preset: str
    config: NetworkConfig
    state: dict[str, Tensor]
    averaged: int | None
    lora_rank: int | None
    adapter_parameters: int


def convert_released(
    source: str | Path,
    target: str | Path,
    notes: Mapping[str, str] | None = None,
    configs: Mapping[str, NetworkConfig] = PRESETS,
) -> ReleasedWeights:
    """Write the weights of a released checkpoint as a file that `load_network` reads.

    The file is mapped into memory, not read, so that about as much is needed as the weights themselves take.

    Args:
        source: `mp_rank_00_model_states.pt`.
        target: The safetensors file to write.
        notes: What the file's metadata should say besides.
        configs: Networks among which the right one is recognised.

    Raises:
        DataError: see `read_released`.
    """
    released = read_released(source, configs)
    seen = f" of {released.averaged} updates" if released.averaged else ""
    metadata = {
        **weight_metadata(released.config),
        "weights": "last step" if released.averaged == 0 else f"moving average{seen}",
        "adapters": f"merged, rank {released.lora_rank}" if released.lora_rank else "none",
        **(notes or {}),
    }
    with atomic_path(target) as path:
        save_file({name: value.contiguous() for name, value in released.state.items()}, path, metadata)
    return released


def read_released(
    source: str | Path, configs: Mapping[str, NetworkConfig] = PRESETS, device: str = "cpu"
) -> ReleasedWeights:
    """Read a training checkpoint of MEMO's authors.

    Its key `module` holds the network twice, as `denoiser.*` and, averaged, as `ema_denoiser.module.*`. The
    average is what the authors' loader takes; where there is none, or none yet (`n_averaged` 0), it is the last
    step. Which network it is shows by its names and shapes.

    Args:
        source: The DeepSpeed file. No code in it is run.
        configs: Networks among which the right one is recognised.
        device: Where the weights go; with `meta` names and shapes are checked, but no weight is read.

    Raises:
        DataError: the file is missing, damaged, would run code, or holds something else; says what to do.
    """
    source = Path(source)
    module = _load(source).get("module")
    if not isinstance(module, dict) or not all(isinstance(value, Tensor) for value in module.values()):
        raise DataError(f"{source}: holds no weights under the key 'module', as MEMO's released files do. {_AGAIN}")
    count = module.get(AVERAGED_COUNT)
    averaged = int(count) if count is not None and count.numel() == 1 else None
    if not any(name.startswith(AVERAGED) for name in module):
        averaged = 0
    prefix = LIVE if averaged == 0 else AVERAGED
    official = {
        name.removeprefix(prefix): value.to(device) for name, value in module.items() if name.startswith(prefix)
    }
    if not official:
        raise DataError(f"{source}: 'module' holds no weights named {prefix}*, as MEMO's released files do. {_AGAIN}")
    try:
        ours = from_official(official)
    except KeyError as error:
        raise DataError(f"{source}: {prefix}{error.args[0]} is no weight of MEMO's network. {_AGAIN}") from None
    adapters = {name: value for name, value in ours.items() if f".{ADAPTER}." in name}
    ranks = {value.shape[0] for name, value in adapters.items() if ".lora_A." in name}
    try:
        state = {name: value.float() for name, value in merge_lora(ours).items()}
    except (KeyError, RuntimeError) as error:
        raise DataError(f"{source}: its adapters are not complete ({str(error).splitlines()[0]}). {_AGAIN}") from None
    preset = _recognised(state, configs, source)
    added = sum(value.numel() for value in adapters.values())
    return ReleasedWeights(preset, configs[preset], state, averaged, max(ranks) if ranks else None, added)


_AGAIN = "Fetch it again (`edgebench fetch NAME`), or name the right file with --mirror."


class _Nothing:
    """Stands for an object of a training framework: whatever it was made from, an empty map comes out."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


def _load(source: Path) -> dict[str, Any]:
    """The content of a PyTorch file, its tensors mapped from disk."""
    if not source.is_file():
        raise DataError(f"{source}: no such file. {_AGAIN}")
    if what := describe_content(source):
        raise DataError(f"{source}: {what}. {_AGAIN}")
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(str(source))
        code = sorted(name for name in foreign if name.partition(".")[0] not in _FRAMEWORKS)
        if code:
            raise DataError(
                f"{source}: would run code when loaded ({', '.join(code)}). It is no file of plain weights and is not "
                f"opened. {_AGAIN}"
            )
        with torch.serialization.safe_globals([(_Nothing, name) for name in foreign]):
            content = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, ValueError, UnpicklingError, EOFError, KeyError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{source}: not a whole PyTorch file ({reason}). {_AGAIN}") from None
    return content if isinstance(content, dict) else {}


def _recognised(state: Mapping[str, Tensor], configs: Mapping[str, NetworkConfig], source: Path) -> str:
    """Name of the network that the weights belong to; every name and shape agrees."""
    shapes = {name: value.shape for name, value in state.items()}
    networks: dict[str, dict[str, Tensor]] = {}
    for name, config in configs.items():
        with torch.device("meta"):
            networks[name] = MemoNetwork(config).state_dict()
        if {key: value.shape for key, value in networks[name].items()} == shapes:
            return name

    def likeness(name: str) -> int:
        return sum(shapes.get(key) == value.shape for key, value in networks[name].items())

    closest = max(networks, key=likeness)
    check_names(networks[closest], state, f"{source} (nearest to preset '{closest}')")
    raise AssertionError("unreachable: equal names and shapes were recognised above")
