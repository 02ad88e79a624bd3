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


def short_of_memory(error: Exception) -> bool:
    """Whether `error` says that memory did not suffice, be it Python's, PyTorch's or a GPU's."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error).lower())


def how_to_save_memory(settings: Mapping[str, Any]) -> str:
    """What of a run's `settings` decides how much memory it takes, as advice; empty where nothing does."""
    words = [advice for key, advice in _ADVICE.items() if key in settings and settings[key] not in (True, "bf16")]
    return f"Less is needed with {', '.join(words)}." if words else ""
