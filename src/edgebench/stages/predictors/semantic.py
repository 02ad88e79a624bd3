"""Class maps, of the data set itself or of somebody else, for the predict stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgebench.data.adapters import Dataset
from edgebench.data.grey import files_by_id
from edgebench.data.semantic import read_semantic, to_classes
from edgebench.errors import DataError
from edgebench.stages.predictors import Prepared
from edgebench.stages.spec import RunSpec


def brought_semantic(spec: RunSpec, dataset: Dataset) -> Prepared:
    """The class maps of a folder.

    Raises:
        DataError: an image has no map there.
    """
    folder = Path(spec.settings["folder"]).expanduser()
    files = files_by_id(folder, (".png",), "class maps")
    missing = [image_id for image_id in dataset.ids if image_id not in files]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(dataset.ids)} images have no class map here, the first is "
            f"'{missing[0]}'. Name the maps like the images, for example {missing[0]}.png."
        )
    values = spec.settings["values"]
    # A plan file is JSON, whose keys are text.
    mapping = None if values is None else {int(value): int(category) for value, category in values.items()}

    def one(image_id: str) -> np.ndarray:
        stored = read_semantic(files[image_id])
        height, width = dataset.size(image_id)
        if stored.shape != (height, width):
            raise DataError(
                f"{files[image_id]}: is {stored.shape[1]}x{stored.shape[0]} pixels, its image {width}x{height}. "
                f"Bring class maps of the images' own size."
            )
        return to_classes(files[image_id], stored, dataset.categories, mapping)

    return Prepared(lambda images, ids: [one(image_id) for image_id in ids], {"brought_from": str(folder)}, sees=False)


def true_semantic(spec: RunSpec, dataset: Dataset) -> Prepared:
    """The annotated class maps."""
    return Prepared(lambda images, ids: [dataset.semantic(image_id) for image_id in ids], sees=False)
