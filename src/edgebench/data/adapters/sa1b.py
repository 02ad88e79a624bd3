"""SA-1B (Kirillov et al., ICCV 2023): photographs with all masks that SAM's data engine found, without classes.

sa_000000/sa_1.jpg    sa_000000/sa_1.json     one folder for each of the 1,000 archives
"""

from __future__ import annotations

from pathlib import Path

from edgebench.data import panoptic as panoptic_files  # the module, not its names: it imports this package
from edgebench.data.adapters.base import Images, check_pairs, files_by_id
from edgebench.data.adapters.listing import split_folder
from edgebench.data.instances import Instance, Instances, compress
from edgebench.errors import DataError, EdgebenchError
from edgebench.files import read_json


class Sa1bDataset(Images):
    """The images of one archive with their masks, which overlap.

    Args:
        folder: Holds a folder for each archive.
        split: Name of that folder, such as `sa_000000`.

    Raises:
        DataError: a folder is missing, or images and annotations do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        place = split_folder(folder, split)
        images, self._annotations = files_by_id(place), files_by_id(place, [".json"])
        check_pairs(images, self._annotations, place, place)
        super().__init__(place, images.items())

    def instances(self, image_id: str) -> Instances:
        """All masks of an image, with SAM's own estimate of their quality as score.

        Raises:
            DataError: the annotation is damaged or of another image's size.
        """
        from edgebench.data.coco import check_annotation

        self.image_path(image_id)
        path, size = self._annotations[image_id], self.size(image_id)
        try:
            content = read_json(path)
            stated = int(content["image"]["height"]), int(content["image"]["width"])
            listed = list(content["annotations"])
        except (EdgebenchError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not annotations of SA-1B ({error!r}). Fetch the data set again.") from None
        self._require_size(image_id, stated, path)
        items = []
        for index, annotation in enumerate(listed):
            where = f"{path}: annotations[{index}]"
            if not isinstance(annotation, dict):
                raise DataError(f"{where}: {annotation!r:.60} is not an object.")
            entry = check_annotation({**annotation, "image_id": 0, "category_id": 1}, {0: size}, {1: ""}, where)
            score = annotation.get("predicted_iou", 1.0)
            if not isinstance(score, int | float):
                raise DataError(f"{where}: predicted_iou is {score!r}, not a number.")
            items.append(Instance(compress(entry["segmentation"], size), float(score), area=entry.get("area")))
        return Instances(size, items)

    @property
    def categories(self) -> dict[int, panoptic_files.Category]:
        """One class for everything."""
        return {1: panoptic_files.Category("object", thing=True)}
