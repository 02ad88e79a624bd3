"""Panoptic maps of single images, from the JSON files of COCO's format and the PNG files beside them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebench.data import panoptic as panoptic_files  # the module, not its names: it imports this package
from edgebench.data.adapters.painting import as_classes


class SegmentFiles:
    """What some JSON files say of images, which go by numbers; a folder of each one's name holds its PNG files.

    A file is searched once per process, and of its annotations only those of the image asked for are parsed.

    Args:
        files: The JSON files, all with the same categories.
    """

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    @cached_property
    def categories(self) -> Mapping[int, panoptic_files.Category]:
        """The classes by id, things and stuff.

        Raises:
            DataError: the first file is missing, or its categories are not complete.
        """
        from edgebench.data.json_lists import json_lists

        path = self.files[0]
        return panoptic_files.read_categories(path, {"categories": list(json_lists(path).entries("categories"))})

    def find(self, number: int) -> panoptic_files.SegmentedImage | None:
        """The entry of an image; None where no file has one.

        Raises:
            DataError: a file is missing, or the entry is damaged.
        """
        from edgebench.data.json_lists import json_lists

        for path in self.files:
            for index, record in json_lists(path).entries_of("annotations", "image_id", number):
                where = f"annotations[{index}]"
                return panoptic_files.segmented_image(path, path.with_suffix(""), record, where, self.categories)
        return None

    def semantic(
        self, ids: NDArray[np.uint32], segments: Mapping[int, panoptic_files.Segment]
    ) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Class of each pixel (H, W) of a panoptic map; 0 where there is no segment."""
        keys, places = np.unique(ids, return_inverse=True)
        classes = np.array([segments[int(key)].category if key else 0 for key in keys])
        return as_classes(classes[places.reshape(ids.shape)], max(self.categories))
