"""What is wrong with the folder of a finished run, as far as names, sizes and heads of its files tell."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edgebench.errors import EdgebenchError
from edgebench.plan.methods import settings_class

Map = dict[str, Any]


def damage(folder: Path, record: Any, id: str) -> str:
    """What is wrong with a finished run, as far as names, sizes and heads of its files tell; empty for nothing."""
    if not isinstance(record, dict) or record.get("id") != id:
        return f"run.json: is not the record of run {id}"
    if record.get("stage") == "train":
        fault = _weights_fault(folder / "weights.safetensors")
        return f"weights.safetensors: {fault}" if fault else ""
    if record.get("stage") == "evaluate":
        try:
            whole = isinstance(json.loads((folder / "scores.json").read_text()), dict)
        except (OSError, ValueError):
            whole = False
        return "" if whole else "scores.json: is missing or damaged"
    if record.get("stage") == "predict":
        return _outputs_fault(folder, record)
    return ""


def _weights_fault(path: Path) -> str:
    """Whether a safetensors file is as long as its head says."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if not 0 < length < size:
                return "its head is damaged"
            head = json.loads(file.read(length))
        end = max((each["data_offsets"][1] for name, each in head.items() if name != "__metadata__"), default=0)
    except FileNotFoundError:
        return "is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its head is damaged"
    return "" if size == 8 + length + end else f"has {size} bytes, not the {8 + length + end} that its head says"


def _outputs_fault(folder: Path, record: Map) -> str:
    try:
        written = settings_class("predict", record["settings"]["method"], str(folder)).WRITES
    except (EdgebenchError, KeyError, TypeError):
        return ""
    # Edges drawn on the contours of masks are labels, too, but keep their place among the maps.
    output = next((folder / each for each in (written, "maps") if (folder / each).is_dir()), None)
    if output is None:
        return f"{written}: is missing"
    names = [name for name in os.listdir(output) if not name.startswith(".")]
    # Names of images may hold folders, and shards hold many: then the number of entries says nothing.
    flat = all((output / name).suffix != ".tar" and "." in name for name in names)
    stems = {name.rpartition(".")[0] for name in names}
    expected = (record.get("n_images") or 0) - (record.get("n_failed") or 0)
    if not names or (flat and len(stems) < expected):
        return f"{output.name}: holds {len(stems)} of {expected} images"
    return ""
