"""DIS5K (Qin et al., ECCV 2022) as its authors distribute it, and whatever else is laid out so.

    DIS-TR/im/NAME.jpg    DIS-TR/gt/NAME.png      3,000 images to train on
    DIS-VD/...                                    470 to compare variants on
    DIS-TE1/... to DIS-TE4/...                    500 each to test on, in order of rising complexity

The authors' code takes the images in order of their names and drops those whose mask has another size; here they are
paired by name and such a mask is an error.
"""

from __future__ import annotations

from pathlib import Path

from edgebench.data.adapters.base import MaskedImages
from edgebench.data.adapters.listing import require_folder, unpacked
from edgebench.errors import DataError, nearest

PARTS = {"train": "DIS-TR", "vd": "DIS-VD"} | {f"te{k}": f"DIS-TE{k}" for k in (1, 2, 3, 4)}
IMAGES, MASKS = "im", "gt"


class Dis5kDataset(MaskedImages):
    """One part of DIS5K.

    Args:
        folder: Holds `DIS-TR` and the others, or a folder `DIS5K` with them.
        split: `train`, `vd`, or `te1` to `te4`.

    Raises:
        DataError: a folder or split is missing, or images and masks do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        if split not in PARTS:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, PARTS)}")
        part = unpacked(folder, "DIS5K", PARTS.values()) / PARTS[split]
        super().__init__(part / IMAGES, part / MASKS)
