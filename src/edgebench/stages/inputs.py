"""Opening what a run works on: its data set, and what another run made as labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgebench.errors import DataError
from edgebench.stages.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np

    from edgebench.data.adapters import Dataset
    from edgebench.data.panoptic import Segmentation

MAPS = "maps"
INSTANCES = "instances"
PANOPTIC = "panoptic"
SEMANTIC = "semantic"
EDGES = "edges"
FRAMES = "frames"
SKELETONS = "skeletons"
LABELS = "labels"
LABEL_SUFFIX = ".png"
LABEL_LONG_SIDE = 3000
"""Larger images are labelled, and seen by the training, at this size in pixels; as in MEMO's released code."""


def open_input(spec: RunSpec) -> Dataset:
    """The run's data set and split, cut to its `limit` (the first ids in ASCII order)."""
    from edgebench.data.adapters import open_dataset

    assert spec.content["dataset"] is not None
    dataset = open_dataset(spec.content["dataset"]["layout"], spec.input("dataset"), spec.settings["split"])
    if spec.settings.get("limit"):
        dataset.ids = dataset.ids[: spec.settings["limit"]]
    return dataset


def true_edges(dataset: Dataset, image_id: str) -> list[np.ndarray]:
    """The edges of an image, one bool (H, W) per annotator; where nobody drew edges, the borders of its segments.

    Raises:
        DataError: the data set has neither.
    """
    from edgebench.metrics.instance_edges import segment_edges

    try:
        return dataset.boundaries(image_id)
    except DataError as error:
        try:
            return [segment_edges(dataset.panoptic(image_id)[0])]
        except DataError:
            raise error from None


def map_file(folder: Path, image_id: str) -> Path:
    """Where a predict run keeps the map of an image."""
    return folder / MAPS / f"{image_id}.png"


def instances_file(folder: Path, image_id: str) -> Path:
    """Where a predict run keeps the instances of an image; see `edgebench.data.instances`."""
    return folder / INSTANCES / f"{image_id}.json"


def panoptic_file(folder: Path, image_id: str) -> Path:
    """Where a predict run keeps the record of an image's segments, with the PNG beside it.

    See `edgebench.data.panoptic`; `panoptic.json` in the run's folder joins the records.
    """
    return folder / PANOPTIC / f"{image_id}.json"


def semantic_file(folder: Path, image_id: str) -> Path:
    """Where a predict run keeps the class map of an image; see `edgebench.data.semantic`."""
    return folder / SEMANTIC / f"{image_id}.png"


def edge_file(folder: Path, image_id: str) -> Path:
    """Where a predict run of masks keeps the edge beside the mask of an image, if it predicts both."""
    return folder / EDGES / f"{image_id}.png"


def labels_file(folder: Path, image_id: str) -> Path:
    """Where TRACE's first stage keeps the pseudo labels of an image; see `edgebench.methods.trace.label_files`."""
    return folder / LABELS / f"{image_id}.npz"


class LabelledBy:
    """A data set whose annotations are the edge maps that a run of method `mask_edges` synthesised.

    Args:
        dataset: The images.
        folder: The run's folder; its shards lie below `maps`.

    Raises:
        DataError: no image of the data set has a label.
    """

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        from edgebench.data.shards import Shards

        self.dataset = dataset
        self._labels = Shards(folder / MAPS, [LABEL_SUFFIX])
        labelled = set(self._labels.names)
        self.ids = [each for each in dataset.ids if each + LABEL_SUFFIX in labelled]
        if not self.ids:
            raise DataError(f"{folder}: labels none of the {len(dataset.ids)} images. Delete it, then run it again.")

    def image(self, image_id: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB, as small as the label was made."""
        from edgebench.data.images import shrink

        return shrink(self.dataset.image(image_id), LABEL_LONG_SIDE)

    def boundaries(self, image_id: str) -> list[np.ndarray]:
        """One bool (H, W): where the label has an edge of any level."""
        from edgebench.data.edge_maps import decode_levels

        name = image_id + LABEL_SUFFIX
        return [decode_levels(self._labels.read(name), self._labels.where(name)) > 0]


class SegmentedBy:
    """A data set whose panoptic segmentations are those that a predict run wrote.

    Args:
        dataset: The images.
        folder: The run's folder.

    Raises:
        DataError: an image has no segmentation there.
    """

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self.dataset, self.folder, self.ids = dataset, folder, dataset.ids
        missing = [each for each in dataset.ids if not panoptic_file(folder, each).is_file()]
        if missing:
            raise DataError(
                f"{panoptic_file(folder, missing[0])}: the segments of image {missing[0]} are missing, one of "
                f"{len(missing)} of {len(dataset.ids)}. Give the run that makes them the same limit, or delete the "
                f"folder {folder} and run the same command again."
            )

    def image(self, image_id: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return self.dataset.image(image_id)

    def panoptic(self, image_id: str) -> Segmentation:
        """The segment of each pixel and what is known of each."""
        from edgebench.data.panoptic import read_segmentation

        return read_segmentation(panoptic_file(self.folder, image_id))
