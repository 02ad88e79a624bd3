"""Images in tar files: those that `edgebench fetch` packs, and the `webdataset` output of img2dataset."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from edgebench.data.adapters.base import Unannotated
from edgebench.data.adapters.listing import require_folder
from edgebench.data.images import IMAGE_SUFFIXES, image_size, read_image
from edgebench.data.shards import Shards
from edgebench.errors import DataError


class ShardDataset(Unannotated):
    """Images without annotations; the id is the member's name without suffix, `/` as `__`.

    Members that are no images (captions, JSON) are passed over.

    Args:
        folder: Holds the tar files.

    Raises:
        DataError: no tar file, a damaged one, no image, or two images would share an id.
    """

    def __init__(self, folder: Path) -> None:
        require_folder(folder)
        self._folder = folder
        self._shards = Shards(folder, IMAGE_SUFFIXES)
        self._names: dict[str, str] = {}
        for name in self._shards.names:
            image_id = member_id(name)
            if image_id in self._names:
                raise DataError(
                    f"{self._shards.where(name)} and {self._shards.where(self._names[image_id])} would both have "
                    f"the id {image_id!r}. Pack the data set again, with other names."
                )
            self._names[image_id] = name
        if not self._names:
            raise DataError(f"{folder}: its tar files hold no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        self.ids = sorted(self._names)

    def image(self, image_id: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        name = self._name(image_id)
        return read_image(self._shards.where(name), self._shards.read(name))

    def size(self, image_id: str) -> tuple[int, int]:
        """(H, W) from the image's header."""
        name = self._name(image_id)
        return image_size(self._shards.where(name), self._shards.read(name))

    def _name(self, image_id: str) -> str:
        if image_id not in self._names:
            raise DataError(f"{self._shards.folder}: no image with the id {image_id!r} among {len(self._names)}.")
        return self._names[image_id]


def member_id(name: str) -> str:
    """The id of the image that a member of this name holds."""
    return os.path.splitext(name.removeprefix("./"))[0].replace("/", "__")
