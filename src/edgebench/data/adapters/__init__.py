"""Data sets as they lie on the disk, one adapter per layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgebench.data import panoptic as panoptic_files  # the module, not its names: it imports this package
from edgebench.data.adapters.biped import BipedDataset
from edgebench.data.adapters.bsds import BsdsDataset
from edgebench.data.adapters.coco import CocoDataset
from edgebench.data.adapters.coco_like import LAYOUTS as COCO_LIKE
from edgebench.data.adapters.coco_panoptic_sample import CocoPanopticSampleDataset
from edgebench.data.adapters.davis import DavisDataset
from edgebench.data.adapters.dis5k import Dis5kDataset
from edgebench.data.adapters.dsb2018 import Dsb2018Dataset
from edgebench.data.adapters.duts import DutsDataset
from edgebench.data.adapters.ecssd import EcssdDataset
from edgebench.data.adapters.folder import FolderDataset
from edgebench.data.adapters.hrsod import HrsodDataset
from edgebench.data.adapters.imagenet import ImagenetDataset
from edgebench.data.adapters.kitti import KittiDataset
from edgebench.data.adapters.monuseg import MonusegDataset
from edgebench.data.adapters.multicue import MulticueDataset
from edgebench.data.adapters.nyud import NyudDataset
from edgebench.data.adapters.pairs import PairsDataset
from edgebench.data.adapters.sa1b import Sa1bDataset
from edgebench.data.adapters.shards import ShardDataset
from edgebench.data.adapters.uded import UdedDataset
from edgebench.data.adapters.voc import VocDataset
from edgebench.data.instances import Instances
from edgebench.errors import DataError, nearest


class Dataset(Protocol):
    """Images by id, whatever their layout; `ids` are in ASCII order."""

    ids: list[str]

    def image(self, image_id: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""

    def size(self, image_id: str) -> tuple[int, int]:
        """(H, W) from the image's header."""

    def boundaries(self, image_id: str) -> list[np.ndarray]:
        """One bool (H, W) per annotator; a DataError where the layout has none."""

    def mask(self, image_id: str) -> np.ndarray:
        """Foreground, uint8 (H, W) from 0 to 255; a DataError where the layout has none."""

    def instances(self, image_id: str) -> Instances:
        """Objects with class, crowd and area as annotated; a DataError where the layout has none."""

    def panoptic(self, image_id: str) -> tuple[NDArray[np.uint32], dict[int, panoptic_files.Segment]]:
        """Segment of each pixel, uint32 (H, W) with 0 for none, and what the segments are; else a DataError."""

    def semantic(self, image_id: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Class of each pixel, (H, W): 0 = background or unlabelled, in VOC 255 = void; else a DataError."""

    @property
    def categories(self) -> Mapping[int, panoptic_files.Category]:
        """The classes by id; a DataError where the layout has none."""


LAYOUTS: dict[str, Callable[[Path, str], Dataset]] = {
    "biped": BipedDataset,
    "bsds": BsdsDataset,
    "coco": CocoDataset,
    **COCO_LIKE,
    "coco_panoptic_sample": CocoPanopticSampleDataset,
    "davis": DavisDataset,
    "dis5k": Dis5kDataset,
    "dsb2018": Dsb2018Dataset,
    "duts": DutsDataset,
    "ecssd": EcssdDataset,
    "folder": lambda folder, split: FolderDataset(folder),  # as `shards`, without splits
    "hrsod": HrsodDataset,
    "imagenet": ImagenetDataset,
    "kitti": KittiDataset,
    "monuseg": MonusegDataset,
    "multicue": MulticueDataset,
    "nyud": NyudDataset,
    "pairs": PairsDataset,
    "sa1b": Sa1bDataset,
    "shards": lambda folder, split: ShardDataset(folder),
    "uded": UdedDataset,
    "voc": VocDataset,
}
"""How to open each layout."""

ANNOTATION_SUFFIXES: dict[str, frozenset[str]] = {
    **dict.fromkeys(("coco", "coco_panoptic_sample", "sa1b", *COCO_LIKE), frozenset({".json"})),
    **dict.fromkeys(("folder", "imagenet"), frozenset()),
    "monuseg": frozenset({".xml"}),
    "voc": frozenset({".mat", ".txt"}),
}
"""Files that belong to a data set besides its pictures; where nothing is said, those of BSDS: `.mat`."""


def open_dataset(layout: str, folder: str | Path, split: str) -> Dataset:
    """Open one split of a data set; images are read only when asked for.

    Args:
        layout: One of `LAYOUTS`, as the data set's definition says.
        folder: Where the data set lies.
        split: Name of the split; `folder` and `shards` have none and ignore it.

    Raises:
        DataError: the layout is unknown, or what it needs is missing in `folder`.
    """
    if layout not in LAYOUTS:
        raise DataError(f"{folder}: unknown layout '{layout}'.{nearest(layout, LAYOUTS)}")
    return LAYOUTS[layout](Path(folder), split)
