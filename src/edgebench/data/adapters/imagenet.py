"""ImageNet's classification images (Russakovsky et al., IJCV 2015), here without their classes.

    ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_10026.JPEG      1,281,167 images
    ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG          50,000, also sorted into a folder per class

The split `train_sample` is 20,000 of the training images: those whose ids have the smallest SHA-256, so that all
classes take part. It is edgebench's own, for what is too slow for all of them.

There are so many that only names are kept, not a path for each.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from itertools import pairwise
from pathlib import Path

from edgebench.data.adapters.base import Images
from edgebench.data.adapters.listing import require_folder, smallest_digests
from edgebench.data.images import IMAGE_SUFFIXES
from edgebench.errors import DataError, nearest

SAMPLE = 20_000
_SPLITS = {"train": "train", "train_sample": "train", "val": "val"}
_NESTING = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", ".")


class ImagenetDataset(Images):
    """The images of one split; ids are the names without suffix.

    Args:
        folder: The unpacked archive, or any folder of its nesting down to the one that holds `train` and `val`.
        split: `train`, `train_sample` or `val`.

    Raises:
        DataError: a folder or split is missing, there is no image, or two share a name.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        name = _SPLITS.get(split, split)
        root = next((folder / each for each in _NESTING if (folder / each / name).is_dir()), None)
        if root is None or split not in _SPLITS:
            raise DataError(
                f"{folder}: no split '{split}'.{nearest(split, _SPLITS)} The archive has it in {_NESTING[0]}/{name}."
            )
        self._folder = root / name
        # Parts of the paths, not paths: a million of those would take half a GB.
        names: list[tuple[str, str, str]] = []
        with os.scandir(self._folder) as entries:
            places = sorted(entry.name for entry in entries if entry.is_dir())
        for place in ("", *places):
            with os.scandir(self._folder / place) as entries:
                for entry in entries:
                    stem, suffix = os.path.splitext(entry.name)
                    if suffix.lower() in IMAGE_SUFFIXES and not stem.startswith("."):
                        names.append((stem, place, suffix))
        names.sort()
        if not names:
            raise DataError(f"{self._folder}: holds no images. Check the path.")
        for one, other in pairwise(names):
            if one[0] == other[0]:
                raise DataError(f"{self._folder}: two images have the id {one[0]!r}. Rename or remove one.")
        if split == "train_sample":
            chosen = smallest_digests((name for name, _, _ in names), SAMPLE)
            names = [each for each in names if each[0] in chosen]
        self._names = names
        self.ids = [name for name, _, _ in names]

    def image_path(self, image_id: str) -> Path:
        """File of an image.

        Raises:
            DataError: there is none of this id.
        """
        index = bisect_left(self.ids, image_id)
        if index == len(self.ids) or self.ids[index] != image_id:
            raise DataError(f"{self._folder}: no image with the id {image_id!r} among {len(self.ids)}.")
        stem, place, suffix = self._names[index]
        return self._folder / place / f"{stem}{suffix}"
