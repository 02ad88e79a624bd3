"""Maps that somebody else computed, for the predict stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgebench.data.adapters import Dataset
from edgebench.data.adapters.base import MaskedImages
from edgebench.data.edge_maps import MAP_SUFFIXES, read_edge_map
from edgebench.data.grey import files_by_id
from edgebench.data.masks import MASK_SUFFIXES, read_mask
from edgebench.errors import DataError
from edgebench.stages.predictors import Prepared
from edgebench.stages.spec import RunSpec


def brought(spec: RunSpec, dataset: Dataset) -> Prepared:
    """The maps of a folder, which are masks where the data set has masks, and edge maps elsewhere.

    Raises:
        DataError: an image has no map there.
    """
    folder = Path(spec.settings["folder"]).expanduser()
    if isinstance(dataset, MaskedImages):
        files, read = files_by_id(folder, MASK_SUFFIXES, "masks"), read_mask
    else:
        files, read = files_by_id(folder, MAP_SUFFIXES, "edge maps"), read_edge_map
    missing = [image_id for image_id in dataset.ids if image_id not in files]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(dataset.ids)} images have no map here, the first is '{missing[0]}'. "
            f"Name the maps like the images, for example {missing[0]}.png."
        )

    def maps(images: list[np.ndarray], ids: list[str]) -> list[np.ndarray]:
        found = [read(files[image_id]) for image_id in ids]
        for each, image_id in zip(found, ids, strict=True):
            height, width = dataset.size(image_id)
            if each.shape != (height, width):
                raise DataError(
                    f"{files[image_id]}: is {each.shape[1]}x{each.shape[0]} pixels, its image {width}x{height}. "
                    f"Bring maps of the images' own size."
                )
        return found

    return Prepared(maps, {"brought_from": str(folder)}, sees=False)
