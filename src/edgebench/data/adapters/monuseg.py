"""MoNuSeg (Kumar et al., TMI 2017 and 2020): nuclei in stained tissue, outlined by hand.

    MoNuSeg 2018 Training Data/Tissue Images/TCGA-18-5592-01Z-00-DX1.tif     37 images of 1000 x 1000
    MoNuSeg 2018 Training Data/Annotations/TCGA-18-5592-01Z-00-DX1.xml
    MoNuSegTestData/TCGA-2Z-A9J9-01A-01-TS1.tif and .xml                     14 images

The XML files are those of Aperio ImageScope: a region per nucleus, with the corners of a polygon.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from edgebench.data import panoptic as panoptic_files  # the module, not its names: it imports this package
from edgebench.data.adapters.base import Images, check_pairs, files_by_id
from edgebench.data.adapters.listing import require_folder
from edgebench.data.adapters.painting import painted, segmented
from edgebench.data.images import describe_content
from edgebench.data.instances import Instance, Instances, compress
from edgebench.errors import DataError, nearest

NUCLEUS, TISSUE = 1, 2
_PARTS = {"train": "MoNuSeg 2018 Training Data", "test": "MoNuSegTestData"}


class MonusegDataset(Images):
    """One part of MoNuSeg.

    Args:
        folder: Holds the two folders of the archives, which may hold a folder of the same name again.
        split: `train` or `test`.

    Raises:
        DataError: a folder or split is missing, or images and annotations do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        if split not in _PARTS:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, _PARTS)}")
        part = folder / _PARTS[split]
        part = part / part.name if (part / part.name).is_dir() else part
        images, annotations = part, part
        if (part / "Tissue Images").is_dir():
            images, annotations = part / "Tissue Images", part / "Annotations"
        require_folder(images)
        require_folder(annotations)
        found, self._annotations = files_by_id(images), files_by_id(annotations, [".xml"])
        check_pairs(found, self._annotations, images, annotations)
        super().__init__(images, found.items())

    def instances(self, image_id: str) -> Instances:
        """Nuclei of an image; regions of fewer than three corners, of which there are some, are no nuclei.

        Raises:
            DataError: the annotation is damaged, or its corners are not of this image.
        """
        from edgebench.data.coco import check_annotation

        size, path = self.size(image_id), self._annotations[image_id]
        items = []
        for index, corners in enumerate(_regions(path)):
            if len(corners) < 3:
                continue
            polygon = [float(value) for corner in corners for value in corner]
            entry = {"image_id": 0, "category_id": NUCLEUS, "segmentation": [polygon]}
            check_annotation(entry, {0: size}, self.categories, f"{path}: region {index}")
            items.append(Instance(compress([polygon], size), category=NUCLEUS))
        return Instances(size, items)

    def panoptic(self, image_id: str) -> tuple[NDArray[np.uint32], dict[int, panoptic_files.Segment]]:
        """Segments, uint32 (H, W): one per nucleus, smaller over larger ones, and one for the tissue between them."""
        return segmented(self.instances(image_id), TISSUE)

    def semantic(self, image_id: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Class of each pixel, uint8 (H, W), as in the panoptic map: there is none without class."""
        classes = painted(self.instances(image_id), TISSUE)
        classes[classes == 0] = TISSUE
        return classes

    @property
    def categories(self) -> dict[int, panoptic_files.Category]:
        """Nuclei, and the tissue between them."""
        return {
            NUCLEUS: panoptic_files.Category("nucleus", thing=True),
            TISSUE: panoptic_files.Category("tissue", thing=False),
        }


def _regions(path: Path) -> list[list[tuple[str, str]]]:
    try:
        regions = ElementTree.parse(path).getroot().iter("Region")
        corners = [[(each.attrib["X"], each.attrib["Y"]) for each in region.iter("Vertex")] for region in regions]
        _ = [float(value) for region in corners for corner in region for value in corner]
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
        what = describe_content(path) or f"not an annotation of ImageScope ({error!r})"
        raise DataError(f"{path}: {what}. Fetch the data set again.") from error
    return corners
