"""Checkpoints that are whole or do not count: tensors as safetensors, the rest as JSON, no pickles.

A checkpoint is `step-N.safetensors` and `step-N.json`. The JSON is written last and holds the digest of the
tensors and of itself, so half a checkpoint is never taken for one. The two newest are kept.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgebench.errors import EdgebenchError
from edgebench.files import atomic_path, digest, read_json, sha256_file, write_json

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back: steps done, tensors on the CPU, and the JSON values saved with them."""

    path: Path
    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def path_of(folder: Path, step: int) -> Path:
    """Where the tensors of the checkpoint after `step` steps lie."""
    return folder / f"step-{step:09d}.safetensors"


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file atomically; equal content gives equal bytes.

    Raises:
        EdgebenchError: the disk is full or the folder cannot be written.
    """
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)
            _sort_header(temporary)
    except SafetensorError as error:
        raise EdgebenchError(
            f"{path}: could not be written ({error}). Nothing was left half written. "
            f"Free some space or choose another folder, then run the same command again."
        ) from error


def _sort_header(path: Path) -> None:
    """Sort the metadata, which safetensors writes in a different order every time."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        if metadata := header.get("__metadata__"):
            header["__metadata__"] = dict(sorted(metadata.items()))
            text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
            file.seek(8)
            file.write(text.ljust(length))


def save(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> Path:
    """Write the checkpoint after `step` steps, then remove all but the two newest.

    Raises:
        EdgebenchError: it could not be written; the earlier ones are untouched.
    """
    path = path_of(folder, step)
    write_tensors(path, tensors)
    record = {"step": step, "bytes": path.stat().st_size, "sha256": sha256_file(path), "state": state}
    write_json(path.with_suffix(".json"), record | {"digest": digest(record)})
    remove_others(folder, steps(folder)[:KEPT])
    return path


def newest(folder: Path, say: bool = True) -> Checkpoint | None:
    """Read the newest whole checkpoint in `folder`; None when there is none.

    A damaged one is passed over in favour of the one before, and `say` reports that on standard error.
    """
    for step in steps(folder):
        path = path_of(folder, step)
        try:
            record = read_json(path.with_suffix(".json"))
            expected = record.pop("digest", None) if isinstance(record, dict) else None
            if expected is None or digest(record) != expected:
                raise EdgebenchError(f"{path.with_suffix('.json')}: does not fit its own digest.")
            if not path.exists() or path.stat().st_size != record["bytes"] or sha256_file(path) != record["sha256"]:
                raise EdgebenchError(f"{path}: truncated or changed since it was written.")
            return Checkpoint(path, step, load_file(path), record["state"])
        except EdgebenchError as error:
            if say:
                print(
                    f"{error} This checkpoint is damaged; trying the one before it.",
                    file=sys.stderr,
                    flush=True,
                )
    return None


def remove_others(folder: Path, keep: list[int]) -> None:
    """Remove all checkpoints except those of steps `keep`, and what a killed writer left behind."""
    kept = {path_of(folder, step).stem for step in keep}
    for path in sorted(folder.iterdir()):  # .json sorts before .safetensors: first it stops counting
        if path.stem not in kept and (path.name.startswith((".", "step-"))):
            path.unlink()


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in `folder` that were written to the end, newest first."""
    matches = (re.fullmatch(r"step-(\d{9})\.json", path.name) for path in folder.glob("step-*.json"))
    return sorted((int(match[1]) for match in matches if match), reverse=True)
