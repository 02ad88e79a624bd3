"""A plain folder of images, in any depth."""

from __future__ import annotations

from pathlib import Path

from edgebench.data.adapters.base import Images
from edgebench.data.adapters.listing import files_below, require_folder


class FolderDataset(Images):
    """Images without annotations; the id is the path below the folder, without suffix, `/` as `__`.

    Args:
        folder: Any folder; hidden files and folders are left out.

    Raises:
        DataError: the folder is missing or holds no image, or two images would share an id.
    """

    def __init__(self, folder: Path) -> None:
        require_folder(folder)
        super().__init__(folder, files_below(folder))
