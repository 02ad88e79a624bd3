"""Data Science Bowl 2018 (Caicedo et al., Nature Methods 2019): nuclei of many kinds under the microscope.

stage1_train/ID/images/ID.png       with an opaque alpha channel
stage1_train/ID/masks/ANY.png       one picture per nucleus
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebench.data import masks as mask_files  # the modules, not their names: they import this package
from edgebench.data import panoptic as panoptic_files
from edgebench.data.adapters.base import Images, files_by_id
from edgebench.data.adapters.listing import some_names, split_folder
from edgebench.data.adapters.painting import painted, segmented
from edgebench.data.instances import Instance, Instances, encode
from edgebench.errors import DataError

NUCLEUS, GROUND = 1, 2


class Dsb2018Dataset(Images):
    """One stage's images with their nuclei.

    Args:
        folder: Holds a folder for each stage.
        split: Name of that folder: `stage1_train`.

    Raises:
        DataError: a folder is missing, an image's folder has no image of its name, or no masks.
    """

    def __init__(self, folder: Path, split: str) -> None:
        place = split_folder(folder, split)
        folders = [path for path in sorted(place.iterdir()) if path.is_dir() and not path.name.startswith(".")]
        images = {path.name: path / "images" / f"{path.name}.png" for path in folders}
        for what, lacking in (
            ("image", [name for name, path in images.items() if not path.is_file()]),
            ("masks", [path.name for path in folders if not (path / "masks").is_dir()]),
        ):
            if lacking:
                raise DataError(
                    f"{place}: {len(lacking)} of {len(folders)} folders have no {what}: {some_names(lacking)}. Fetch "
                    f"the data set again, or remove them."
                )
        super().__init__(place, images.items())

    def instances(self, image_id: str) -> Instances:
        """Nuclei of an image, in the order of the files' names.

        Raises:
            DataError: there is no mask, or one is damaged, empty or of another size than the image.
        """
        folder = self.image_path(image_id).parents[1] / "masks"
        files = files_by_id(folder, [".png"])
        if not files:
            raise DataError(f"{folder}: holds no mask. Fetch the data set again.")
        items = []
        for path in files.values():
            mask = mask_files.read_levels(path) > 0
            self._require_size(image_id, mask.shape, path)
            if not mask.any():
                raise DataError(f"{path}: an empty mask. Fetch the data set again, or remove it.")
            items.append(Instance(encode(mask), category=NUCLEUS))
        return Instances(self.size(image_id), items)

    def panoptic(self, image_id: str) -> tuple[NDArray[np.uint32], dict[int, panoptic_files.Segment]]:
        """Segments, uint32 (H, W): one per nucleus, smaller over larger ones, and one for the ground between them."""
        return segmented(self.instances(image_id), GROUND)

    def semantic(self, image_id: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Class of each pixel, uint8 (H, W), as in the panoptic map: there is none without class."""
        classes = painted(self.instances(image_id), GROUND)
        classes[classes == 0] = GROUND
        return classes

    @property
    def categories(self) -> dict[int, panoptic_files.Category]:
        """Nuclei, and the ground between them."""
        return {
            NUCLEUS: panoptic_files.Category("nucleus", thing=True),
            GROUND: panoptic_files.Category("ground", thing=False),
        }
