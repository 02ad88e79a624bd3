"""What all methods share about weights: files that say what they are, strict loading, the authors' names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from edgebench.errors import DataError

_SHOWN = 3


def read_weights(
    path: str | Path, method: str, title: str, keys: Iterable[str] = ("config",)
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the tensors of a safetensors file that edgebench wrote.

    Args:
        path: The file.
        method: What its metadata must say under `method`.
        title: The method's name for people.
        keys: What its metadata must hold besides.

    Raises:
        DataError: the file is missing or damaged, or holds the weights of another method.
    """
    metadata = read_metadata(path)
    if metadata.get("method") != method or not set(keys) <= metadata.keys():
        raise DataError(
            f"{path}: not {title} weights (the file says method={metadata.get('method', 'nothing')!r}). "
            f"Give a weights file that edgebench wrote for {title}."
        )
    try:
        return metadata, load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """What a safetensors file says about itself; nothing where no program of ours wrote it.

    Raises:
        DataError: the file is missing or damaged.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such weight file. Train the network first, or give another file.")
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> DataError:
    return DataError(f"{path}: not a readable safetensors file ({error}). Make or fetch it again.")


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


def renamed(official: str, rules: Sequence[tuple[str, str]]) -> str:
    """The name that the first fitting rule (pattern, replacement) makes of the authors' name `official`.

    Raises:
        KeyError: no rule fits.
    """
    for pattern, replacement in rules:
        name, found = re.subn(pattern, replacement, official, count=1)
        if found:
            return name
    raise KeyError(official)
