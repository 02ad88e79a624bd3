"""COCO (Lin et al., ECCV 2014; panoptic: Kirillov et al., CVPR 2019) as its archives unpack, and the like of it.

    val2017/000000000139.jpg                 train2017, val2014, train2014, test2017 likewise
    annotations/instances_val2017.json       objects: polygons, run lengths for crowds
    annotations/panoptic_val2017.json        segments, with annotations/panoptic_val2017/000000000139.png
    val2014/COCO_val2014_000000000139.jpg    file names of 2014

Ids are the names without suffix; `numeric_id` gives the number that annotations go by. There is no panoptic file of
2014: those images are the ones of 2017 divided in another way, so their segments are looked up, by number, in the
panoptic files of train2017 and val2017.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgebench.data import panoptic as panoptic_files  # the module, not its names: it imports this package
from edgebench.data.adapters.base import Images, files_by_id
from edgebench.data.adapters.listing import some_names, split_folder
from edgebench.data.adapters.painting import painted
from edgebench.data.adapters.segments import SegmentFiles
from edgebench.data.images import IMAGE_SUFFIXES, image_size, read_image, stored_size
from edgebench.data.instances import Instance, Instances, compress
from edgebench.errors import DataError

if TYPE_CHECKING:
    from edgebench.data.json_lists import JsonLists


class Listed(NamedTuple):
    """An image as a JSON file lists it: its number there, (height, width), and its file."""

    number: int
    size: tuple[int, int]
    path: Path


class CocoImages(Images):
    """The images that a JSON file of COCO's kind lists, with their objects.

    The file is searched once per process, and of its annotations only those of the image asked for are parsed and
    checked. Annotations fit the pixels as they are stored, so an EXIF orientation turns an image only where its
    annotations are of that size.

    Args:
        folder: Where the data set lies, for messages.
        annotations: The JSON file.
        place: Where the file of an entry of `images` lies.

    Raises:
        DataError: the JSON file is missing or not of that kind, two images share a name, or images are missing.
    """

    def __init__(self, folder: Path, annotations: Path, place: Callable[[Mapping[str, Any]], Path]) -> None:
        self.annotations = annotations
        self._listed = {listed.path.stem: listed for listed in _listed_images(annotations, place)}
        super().__init__(folder, ((image_id, listed.path) for image_id, listed in self._listed.items()))

    def numeric_id(self, image_id: str) -> int:
        """The number by which the annotations call an image."""
        self.image_path(image_id)
        return self._listed[image_id].number

    def image(self, image_id: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB, turned as its annotations are."""
        return read_image(self.image_path(image_id), turn=self._turned(image_id))

    def size(self, image_id: str) -> tuple[int, int]:
        """(H, W) of the image as `image` gives it, from the file's header.

        Raises:
            DataError: it is not the size that the annotations say.
        """
        path = self.image_path(image_id)
        size = image_size(path) if self._turned(image_id) else stored_size(path)
        if size != self._listed[image_id].size:
            raise DataError(
                f"{path}: {size[0]} x {size[1]} pixels (height x width), but {self.annotations} says "
                f"{' x '.join(map(str, self._listed[image_id].size))}. Was it resized? Fetch the data set again."
            )
        return size

    def _turned(self, image_id: str) -> bool:
        return stored_size(self.image_path(image_id)) != self._listed[image_id].size

    def instances(self, image_id: str) -> Instances:
        """Objects of an image, with class, crowd and area as annotated, in the order of the file.

        Raises:
            DataError: an annotation is damaged, or the image has another size than they.
        """
        from edgebench.data.coco import check_annotation

        size, number = self.size(image_id), self.numeric_id(image_id)
        items = []
        for index, annotation in self._lists.entries_of("annotations", "image_id", number):
            where = f"{self.annotations}: annotations[{index}]"
            if isinstance(annotation, dict) and not annotation.get("segmentation") and annotation.get("bbox"):
                raise DataError(
                    f"{where}, image {number}: has a box but no mask. Objects365's own file and those for detectors "
                    f"(KITTI, VOC07) hold boxes alone: put annotations with masks there, or choose another data set."
                )
            entry = check_annotation(annotation, {number: size}, self._classes, where)
            items.append(
                Instance(
                    compress(entry["segmentation"], size),
                    category=entry["category_id"],
                    crowd=bool(entry["iscrowd"]),
                    area=entry.get("area"),
                )
            )
        return Instances(size, items)

    def semantic(self, image_id: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Class of each pixel, uint8 or uint16 (H, W): the smallest object's; crowds lie below all. 0 = none."""
        return painted(self.instances(image_id), max(self._classes, default=0))

    @property
    def categories(self) -> Mapping[int, panoptic_files.Category]:
        """The classes by id; all are things."""
        return self._classes

    @property
    def _lists(self) -> JsonLists:
        from edgebench.data.json_lists import json_lists

        return json_lists(self.annotations)

    @cached_property
    def _classes(self) -> dict[int, panoptic_files.Category]:
        from edgebench.data.coco import check_category

        classes = {}
        for index, category in enumerate(self._lists.entries("categories")):
            key, name = check_category(category, f"{self.annotations}: categories[{index}]")
            classes[key] = panoptic_files.Category(name, thing=True)
        return classes


class CocoDataset(CocoImages):
    """One split of COCO. Without annotations of a kind the images can still be read.

    Args:
        folder: Holds `annotations` and a folder of images for each split.
        split: Name of that folder: `train2017`, `val2017`, `train2014`, `val2014`, ...

    Raises:
        DataError: a folder or split is missing, or images and annotations do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        images = split_folder(folder, split, besides=("annotations",))
        self._split = split
        annotations = folder / "annotations" / f"instances_{split}.json"
        if annotations.is_file():
            super().__init__(folder, annotations, lambda entry: images / str(entry["file_name"]))
            if unlisted := sorted(files_by_id(images).keys() - self._listed.keys()):
                raise DataError(
                    f"{annotations}: does not list {len(unlisted)} images of {images}: {some_names(unlisted)}. Put "
                    f"the annotations of all of them there, or remove these images."
                )
        else:
            self.annotations, self._listed = annotations, {}
            Images.__init__(self, folder, files_by_id(images).items())

    def numeric_id(self, image_id: str) -> int:
        """The number by which the annotations call an image: the last digits of its name, or what the file says.

        Raises:
            DataError: no file lists it, and its name does not end in a number.
        """
        if self._listed:
            return super().numeric_id(image_id)
        digits = self.image_path(image_id).stem.rpartition("_")[2]
        if not digits.isdecimal():
            raise DataError(f"{self.image_path(image_id)}: its name does not end in a number, as COCO's do.")
        return int(digits)

    def size(self, image_id: str) -> tuple[int, int]:
        """(H, W) of the image as `image` gives it, from the file's header."""
        return super().size(image_id) if self._listed else stored_size(self.image_path(image_id))

    def _turned(self, image_id: str) -> bool:
        return bool(self._listed) and super()._turned(image_id)

    def panoptic(self, image_id: str) -> tuple[NDArray[np.uint32], dict[int, panoptic_files.Segment]]:
        """Segments of an image.

        Returns:
            The segment of each pixel, uint32 (H, W) with 0 for none, and class, crowd and area of each segment.

        Raises:
            DataError: there is no panoptic file or none that knows the image, or it and its PNG disagree.
        """
        number = self.numeric_id(image_id)
        image = self._segments.find(number)
        if image is None:
            raise self._no_panoptic(f"it lists no image {number}")
        ids = panoptic_files.read_segments(image)
        self._require_size(image_id, ids.shape, image.png)
        return ids, image.segments

    def semantic(self, image_id: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Class of each pixel, uint8 or uint16 (H, W), 0 = unlabelled: of the panoptic map, or else of the objects."""
        if not self._has_panoptic:
            return super().semantic(image_id)
        return self._segments.semantic(*self.panoptic(image_id))

    @property
    def categories(self) -> Mapping[int, panoptic_files.Category]:
        """The classes by id: of the panoptic file, things and stuff, or else of the objects."""
        return self._segments.categories if self._has_panoptic else self._classes

    @cached_property
    def _segments(self) -> SegmentFiles:
        """JSON files in which an image of this split may be, those of 2017 for the splits of 2014."""
        folder = self._folder / "annotations"
        own = folder / f"panoptic_{self._split}.json"
        of_2017 = [folder / f"panoptic_{part}2017.json" for part in ("train", "val")]
        found = [own] if own.is_file() or not self._split.endswith("2014") else of_2017
        if missing := [path for path in found if not path.is_file()]:
            raise self._no_panoptic(f"{missing[0].name} is not there")
        return SegmentFiles(found)

    @cached_property
    def _has_panoptic(self) -> bool:
        folder = self._folder / "annotations"
        parts = ["train2017", "val2017"] if self._split.endswith("2014") else [self._split]
        own = (folder / f"panoptic_{self._split}.json").is_file()
        return own or all((folder / f"panoptic_{part}.json").is_file() for part in parts)

    def _no_panoptic(self, problem: str) -> DataError:
        names = "those of train2017 and val2017" if self._split.endswith("2014") else f"panoptic_{self._split}.json"
        return DataError(
            f"{self._folder / 'annotations'}: no panoptic maps of split '{self._split}' ({problem}). Unpack "
            f"panoptic_annotations_trainval2017.zip and the archives of PNG files in it there, {names}."
        )

    @property
    def _lists(self) -> JsonLists:
        if not self.annotations.is_file():
            raise DataError(
                f"{self.annotations}: no such file, so split '{self._split}' has no instances. Put the annotations "
                f"there, or choose another split."
            )
        return super()._lists


def _listed_images(annotations: Path, place: Callable[[Mapping[str, Any]], Path]) -> list[Listed]:
    """The entries of `images` of a JSON file; each file must be there, and no two may share a number or a name."""
    from edgebench.data.coco import check_image
    from edgebench.data.json_lists import json_lists

    found: list[Listed] = []
    for index, entry in enumerate(json_lists(annotations).entries("images")):
        where = f"{annotations}: images[{index}]"
        number, size = check_image(entry, where)
        try:
            found.append(Listed(number, size, place(entry)))
        except KeyError as error:
            raise DataError(f"{where}: has no {error.args[0]}. Copy the annotations there again.") from None
    for what, values in (("id", [each.number for each in found]), ("name", [each.path.stem for each in found])):
        twice, times = Counter(values).most_common(1)[0] if found else ("", 0)
        if times > 1:
            raise DataError(f"{annotations}: two images have the {what} {twice!r}. Were two files joined?")
    there = {folder: _names(folder) for folder in {each.path.parent for each in found}}
    absent = [each.path for each in found if each.path.name not in there[each.path.parent]]
    if absent:
        raise DataError(
            f"{absent[0].parent}: {len(absent)} of the {len(found)} images that {annotations} lists are missing: "
            f"{some_names(path.name for path in absent)}. Put them there, or annotations of fewer images."
        )
    return found


def _names(folder: Path) -> set[str]:
    """Names of the images in a folder; listing it is much faster than asking for each of 100,000."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES}
