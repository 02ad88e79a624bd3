"""DAVIS 2016 (Perazzi et al., CVPR 2016) at 480p: frames of videos, each with the mask of what moves.

    JPEGImages/480p/SEQUENCE/NNNNN.jpg    Annotations/480p/SEQUENCE/NNNNN.png

Ids are `SEQUENCE__NNNNN`.
"""

from __future__ import annotations

from pathlib import Path

from edgebench.data.adapters.base import MaskedImages
from edgebench.data.adapters.listing import require_folder
from edgebench.errors import DataError, nearest

_SPLITS = ("val",)


class DavisDataset(MaskedImages):
    """Frames of the validation sequences, those that are there.

    Args:
        folder: Holds `JPEGImages` and `Annotations`.
        split: `val`.

    Raises:
        DataError: a folder or split is missing, or frames and masks do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        if split not in _SPLITS:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, _SPLITS)}")
        super().__init__(folder / "JPEGImages" / "480p", folder / "Annotations" / "480p")
