"""HRSOD (Zeng et al., ICCV 2019), high-resolution salient objects, as its archive unpacks.

HRSOD_release/HRSOD_train/NAME.jpg    HRSOD_release/HRSOD_train_mask/NAME.png    1,610 images to train on
HRSOD_release/HRSOD_test/NAME.jpg     HRSOD_release/HRSOD_test_mask/NAME.png     400 to test on
"""

from __future__ import annotations

from pathlib import Path

from edgebench.data.adapters.base import MaskedImages
from edgebench.data.adapters.listing import require_folder, unpacked
from edgebench.errors import DataError, nearest

PARTS = {"train": "HRSOD_train", "test": "HRSOD_test"}


class HrsodDataset(MaskedImages):
    """One part of HRSOD.

    Args:
        folder: Holds `HRSOD_train`, `HRSOD_train_mask` and the two of the test part, or a folder `HRSOD_release`
            with them.
        split: `train` or `test`.

    Raises:
        DataError: a folder or split is missing, or images and masks do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        if split not in PARTS:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, PARTS)}")
        images = unpacked(folder, "HRSOD_release", PARTS.values()) / PARTS[split]
        super().__init__(images, images.with_name(f"{images.name}_mask"))
