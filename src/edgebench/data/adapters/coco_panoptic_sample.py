"""The sample of COCO's panoptic annotations in github.com/cocodataset/panopticapi.

sample_data/input_images/000000142238.jpg
sample_data/panoptic_examples.json, sample_data/panoptic_examples/000000142238.png
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebench.data import panoptic as panoptic_files  # the module, not its names: it imports this package
from edgebench.data.adapters.base import Images, files_by_id
from edgebench.data.adapters.listing import require_folder
from edgebench.data.adapters.segments import SegmentFiles
from edgebench.data.instances import Instance, Instances, encode
from edgebench.errors import DataError, nearest

_SPLITS = ("val",)


class CocoPanopticSampleDataset(Images):
    """Its images; they are of val2017.

    Args:
        folder: Holds `sample_data`.
        split: `val`.

    Raises:
        DataError: a folder or split is missing.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        if split not in _SPLITS:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, _SPLITS)}")
        images = folder / "sample_data" / "input_images"
        require_folder(images)
        super().__init__(images, files_by_id(images).items())
        self._segments = SegmentFiles([folder / "sample_data" / "panoptic_examples.json"])

    def numeric_id(self, image_id: str) -> int:
        """The number by which the annotations call an image.

        Raises:
            DataError: its name is no number.
        """
        self.image_path(image_id)
        if not image_id.isdecimal():
            raise DataError(f"{self.image_path(image_id)}: its name is no number, as COCO's are.")
        return int(image_id)

    def panoptic(self, image_id: str) -> tuple[NDArray[np.uint32], dict[int, panoptic_files.Segment]]:
        """The segment of each pixel, uint32 (H, W) with 0 for none, and class, crowd and area of each segment.

        Raises:
            DataError: the annotations do not know the image, or they and its PNG disagree.
        """
        number = self.numeric_id(image_id)
        image = self._segments.find(number)
        if image is None:
            raise DataError(f"{self._segments.files[0]}: lists no image {number}. Fetch the data set again.")
        ids = panoptic_files.read_segments(image)
        self._require_size(image_id, ids.shape, image.png)
        return ids, image.segments

    def instances(self, image_id: str) -> Instances:
        """The segments that are things."""
        ids, segments = self.panoptic(image_id)
        return Instances(
            self.size(image_id),
            [
                Instance(encode(ids == key), category=segment.category, crowd=segment.crowd, area=segment.area)
                for key, segment in segments.items()
                if self.categories[segment.category].thing
            ],
        )

    def semantic(self, image_id: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Class of each pixel, uint8 (H, W), 0 = unlabelled."""
        return self._segments.semantic(*self.panoptic(image_id))

    @property
    def categories(self) -> Mapping[int, panoptic_files.Category]:
        """COCO's 80 classes of things and 53 of stuff."""
        return self._segments.categories
