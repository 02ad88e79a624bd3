"""DUTS (Wang et al., CVPR 2017) as its two archives unpack.

DUTS-TR/DUTS-TR-Image/NAME.jpg    DUTS-TR/DUTS-TR-Mask/NAME.png    10,553 images to train on
DUTS-TE/DUTS-TE-Image/NAME.jpg    DUTS-TE/DUTS-TE-Mask/NAME.png    5,019 to test on
"""

from __future__ import annotations

from pathlib import Path

from edgebench.data.adapters.base import MaskedImages
from edgebench.data.adapters.listing import require_folder, unpacked
from edgebench.errors import DataError, nearest

PARTS = {"train": "DUTS-TR", "test": "DUTS-TE"}


class DutsDataset(MaskedImages):
    """One part of DUTS.

    Args:
        folder: Holds `DUTS-TR` and `DUTS-TE`, or a folder `DUTS` with them.
        split: `train` or `test`.

    Raises:
        DataError: a folder or split is missing, or images and masks do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        if split not in PARTS:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, PARTS)}")
        part = unpacked(folder, "DUTS", PARTS.values()) / PARTS[split]
        super().__init__(part / f"{part.name}-Image", part / f"{part.name}-Mask")
