"""A plain folder of images and masks, for data of one's own.

    SPLIT/images/NAME.jpg    SPLIT/masks/NAME.png    as many splits as there are folders
    images/NAME.jpg          masks/NAME.png          no splits: then there is one, called `all`

`im` and `gt`, the names of DIS5K, will do for `images` and `masks`.
"""

from __future__ import annotations

from pathlib import Path

from edgebench.data.adapters.base import MaskedImages
from edgebench.data.adapters.listing import require_folder
from edgebench.errors import DataError, nearest

ALL = "all"
_NAMES = {"images": "masks", "im": "gt"}


class PairsDataset(MaskedImages):
    """Images and masks of one split.

    Args:
        folder: Holds `images` and `masks`, or a folder per split that does.
        split: Name of the split's folder, or `all`.

    Raises:
        DataError: a folder or split is missing, or images and masks do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        splits = {ALL: folder} if _images(folder) else {}
        splits |= {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and _images(path)}
        if not splits:
            raise DataError(
                f"{folder}: not a folder of images and masks. It holds `images` and `masks` (or `im` and `gt`), or a "
                f"folder for each split that does."
            )
        if split not in splits:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, splits)}")
        images = _images(splits[split])
        assert images is not None
        super().__init__(images, images.with_name(_NAMES[images.name]))


def _images(folder: Path) -> Path | None:
    return next((folder / name for name in _NAMES if (folder / name).is_dir()), None)
