"""A plain folder of images, in any depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgebench.data.adapters.base import Images
from edgebench.data.adapters.listing import require_folder, walk_files
from edgebench.errors import DataError


class FolderDataset(Images):
    """Images without annotations; the id is the path below the folder, without suffix, `/` as `__`.

    Args:
        folder: Any folder; hidden files and folders are left out.

    Raises:
        DataError: the folder is missing or holds no image, or two images would share an id.
    """

    def __init__(self, folder: Path) -> None:
        require_folder(folder)
        super().__init__(
            folder,
            (("__".join(path.relative_to(folder).with_suffix("").parts), path) for path in walk_files(folder)),
        )

    def boundaries(self, image_id: str) -> list[np.ndarray]:
        """Always an error: a plain folder has no annotations.

        Raises:
            DataError: always.
        """
        raise DataError(
            f"{self._folder}: a plain image folder has no boundaries (asked for {image_id!r}). "
            f"Choose a data set with annotations, such as one of layout `bsds`."
        )
