"""Where the networks of a run compute."""

from __future__ import annotations

from edgebench.errors import EdgebenchError


def choose_device(wanted: str) -> str:
    """`cpu` or `cuda`, whichever `auto` means here.

    Raises:
        EdgebenchError: a GPU is wanted where there is none.
    """
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise EdgebenchError(
            "device: cuda, but PyTorch sees no GPU here. Use `device: auto`; `edgebench doctor` says more."
        )
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
