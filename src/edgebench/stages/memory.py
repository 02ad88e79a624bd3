"""What to say when memory does not suffice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What a person may change in a run's settings, where it has them; whatever is a change makes another run.
_ADVICE = {
    "batch": "a smaller batch",
    "accumulate": "more accumulate to make up for it",
    "gradient_checkpointing": "gradient_checkpointing: true",
    "tiled": "tiled: true",
    "precision": "precision: bf16",
}


# As Python, PyTorch on a CPU, CUDA, and a loader's processes say it. Other faults of a GPU speak of memory, too.
_SAID = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "shared memory")


def short_of_memory(error: Exception) -> bool:
    """Whether `error` says that memory did not suffice, be it Python's, PyTorch's or a GPU's."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(each in said for each in _SAID))


def how_to_save_memory(settings: Mapping[str, Any]) -> str:
    """What of a run's `settings` decides how much memory it takes, as advice; empty where nothing does."""
    open_to_change = (key for key in _ADVICE if settings.get(key, True) is not True and settings[key] != "bf16")
    words = [_ADVICE[key] for key in open_to_change]
    return f"Less is needed with {', '.join(words)}." if words else ""
