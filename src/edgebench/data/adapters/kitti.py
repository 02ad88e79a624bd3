"""KITTI's semantic and instance segmentation (Alhaija et al., IJCV 2018): streets, labelled as Cityscapes.

    training/image_2/000000_10.png        200 images
    training/instance/000000_10.png       16 bits: 256 times the class, plus the number of the object or 0
    testing/image_2/000000_10.png         200 images without annotations

Classes are the ids of Cityscapes. A pixel of a countable class without a number belongs to a group of objects, which
counts as a crowd. This is not KITTI's detection set, the 7,481 images with boxes that CutLER and ProMerge use.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebench.data import panoptic as panoptic_files  # the modules, not their names: they import this package
from edgebench.data import semantic as class_maps
from edgebench.data.adapters.base import Images, check_pairs, files_by_id
from edgebench.data.adapters.listing import require_folder
from edgebench.data.instances import Instance, Instances, encode
from edgebench.errors import DataError, nearest

STUFF = {
    **{7: "road", 8: "sidewalk", 9: "parking", 10: "rail track", 11: "building", 12: "wall", 13: "fence"},
    **{14: "guard rail", 15: "bridge", 16: "tunnel", 17: "pole", 18: "polegroup", 19: "traffic light"},
    **{20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky"},
}
THINGS = {
    **{24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 29: "caravan", 30: "trailer", 31: "train"},
    **{32: "motorcycle", 33: "bicycle"},
}
"""Smaller ids are no class: unlabelled, the car that carries the camera, whatever is static, and so on."""


class KittiDataset(Images):
    """One part of KITTI.

    Args:
        folder: Holds `training` and `testing`.
        split: `training` or `testing`; the latter has no annotations.

    Raises:
        DataError: a folder or split is missing, or images and annotations do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        if split not in ("training", "testing"):
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, ('training', 'testing'))}")
        images, self._annotations = folder / split / "image_2", folder / split / "instance"
        require_folder(images)
        found = files_by_id(images)
        if split == "training":
            require_folder(self._annotations)
            check_pairs(found, files_by_id(self._annotations, [".png"]), images, self._annotations)
        super().__init__(images, found.items())

    def instances(self, image_id: str) -> Instances:
        """Countable objects, and groups of them as crowds."""
        ids, segments = self.panoptic(image_id)
        size = ids.shape[0], ids.shape[1]
        return Instances(
            size,
            [
                Instance(encode(ids == key), category=segment.category, crowd=segment.crowd, area=segment.area)
                for key, segment in segments.items()
                if segment.category in THINGS
            ],
        )

    def panoptic(self, image_id: str) -> tuple[NDArray[np.uint32], dict[int, panoptic_files.Segment]]:
        """Segments, uint32 (H, W), by the file's own numbers: 256 times the class plus the object's; 0 = no class.

        Raises:
            DataError: there is no annotation, it is damaged, lost its upper 8 bits, has another size than the image,
                or a class that is none.
        """
        path = self._annotations / f"{image_id}.png"
        self.image_path(image_id)
        labels = class_maps.read_semantic(path)
        if labels.max() < 256:
            raise DataError(
                f"{path}: values up to {labels.max()}, where each is 256 times the class plus the object's number. "
                f"Was it saved with 8 bits? Fetch the data set again."
            )
        self._require_size(image_id, labels.shape, path)
        ids = labels.astype(np.uint32)
        ids[ids < 256 * min(STUFF)] = 0
        segments = {}
        present, areas = np.unique(ids, return_counts=True)
        for key, area in zip(present.tolist(), areas.tolist(), strict=True):
            category, number = divmod(key, 256)
            if key and category not in self.categories:
                raise DataError(f"{path}: a pixel of {key}, class {category}; classes go to {max(THINGS)}.")
            if key:
                segments[key] = panoptic_files.Segment(category, category in THINGS and not number, area)
        return ids, segments

    def semantic(self, image_id: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Class of each pixel, uint8 (H, W): an id of Cityscapes, or 0 for none."""
        return (self.panoptic(image_id)[0] // 256).astype(np.uint8)

    @property
    def categories(self) -> dict[int, panoptic_files.Category]:
        """Classes of Cityscapes, by its ids."""
        return {
            **{key: panoptic_files.Category(name, thing=False) for key, name in STUFF.items()},
            **{key: panoptic_files.Category(name, thing=True) for key, name in THINGS.items()},
        }
