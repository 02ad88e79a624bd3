"""A plain folder of images, in any depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgebench.data.adapters.listing import find_path, index_by_id, require_folder, walk_files
from edgebench.data.images import image_size, read_image
from edgebench.errors import DataError


class FolderDataset:
    """Images without annotations; the id is the path below the folder, without suffix, `/` as `__`.

    Args:
        folder: Any folder; hidden files and folders are left out.

    Raises:
        DataError: the folder is missing or holds no image, or two images would share an id.
    """

    def __init__(self, folder: Path) -> None:
        require_folder(folder)
        self._folder = folder
        self._paths = index_by_id(
            (("__".join(path.relative_to(folder).with_suffix("").parts), path) for path in walk_files(folder)),
            folder,
        )
        self.ids = list(self._paths)

    def image_path(self, image_id: str) -> Path:
        """File of an image."""
        return find_path(self._paths, image_id, self._folder)

    def image(self, image_id: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return read_image(self.image_path(image_id))

    def size(self, image_id: str) -> tuple[int, int]:
        """(H, W) from the image's header."""
        return image_size(self.image_path(image_id))

    def boundaries(self, image_id: str) -> list[np.ndarray]:
        """Always an error: a plain folder has no annotations.

        Raises:
            DataError: always.
        """
        raise DataError(
            f"{self._folder}: a plain image folder has no boundaries (asked for {image_id!r}). "
            f"Choose a data set with annotations, such as one of layout `bsds`."
        )
