"""Instances that another method wrote to files, in whichever of the usual forms.

    results.json                     COCO's results, a list, or `images` and `annotations` as in its ground truth
    panoptic.json  folder/*.png      COCO's panoptic format, of which things are taken
    folder/ID.png                    a value per instance, in one PNG of 8 or 16 bits per image
    folder/ID/*.png                  a folder per image, with a binary PNG per instance; folder/ID/masks/*.png as well

Images are found by their numbers where a file gives numbers and the data set has them, else by file names. An image
that a JSON file does not name has no instances; an image without a PNG, or a folder, is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgebench.data.adapters.listing import some_names
from edgebench.data.coco import check_found, check_image, read_json_file
from edgebench.data.coco_results import image_numbers
from edgebench.data.grey import grey_pixels
from edgebench.data.images import stored_values
from edgebench.data.instances import Instance, Instances, compress, from_masks
from edgebench.errors import DataError
from edgebench.files import images_beside

if TYPE_CHECKING:
    from edgebench.data.adapters import Dataset

Form = Literal["results", "annotations", "panoptic", "indexed", "binary"]
VOID = 255


@dataclass(frozen=True)
class Brought:
    """Instances by image.

    Attributes:
        form: What the files are.
        read: From an image's id to its instances.
    """

    form: Form
    read: Callable[[str], Instances]


@dataclass(frozen=True)
class Wanted:
    """The images whose instances are brought.

    Attributes:
        numbers: Their numbers in files of COCO's kind, by id.
        size: From an id to (H, W).
        numbered: Whether these numbers are the data set's own, rather than places in a list.
    """

    numbers: Mapping[str, int]
    size: Callable[[str], tuple[int, int]]
    numbered: bool

    @property
    def ids(self) -> Sequence[str]:
        """Their ids."""
        return list(self.numbers)


def wanted_images(dataset: Dataset) -> Wanted:
    """The images of a data set; sizes are read once each."""
    numbers = image_numbers(dataset)
    numbered = hasattr(dataset, "numeric_id") or all(each.lstrip("0") in ("", str(numbers[each])) for each in numbers)
    return Wanted(numbers, cache(dataset.size), numbered)


def open_brought(wanted: Wanted, file: Path | None = None, folder: Path | None = None) -> Brought:
    """Find out which form the files have, check them, and be ready to read them.

    Args:
        wanted: The images.
        file: A JSON file.
        folder: Of PNG files, or of a folder per image.

    Raises:
        DataError: a file is missing or damaged, has none of the forms, or tells nothing about these images.
    """
    if file is None:
        if folder is None:
            raise DataError("no file and no folder of instances was named. Name one.")
        return _of_folder(wanted, folder)
    content = read_json_file(file)
    entries = content.get("annotations") if isinstance(content, dict) else None
    if isinstance(entries, list) and any(isinstance(each, dict) and "segments_info" in each for each in entries):
        if folder is None:
            raise DataError(f"{file}: a panoptic file, whose PNG files are needed too. Name their `folder`.")
        return _of_panoptic(wanted, file, folder)
    if folder is not None:
        raise DataError(
            f"{file}: not a panoptic file, so it is unclear what {folder} is for. Name one of the two, or the JSON "
            f"file that belongs to the PNG files."
        )
    if isinstance(content, list):
        beside = images_beside(file)
        images = read_json_file(beside).get("images") if beside.is_file() else None
        return _of_entries(wanted, file, content, images, "results")
    if isinstance(content, dict) and isinstance(entries, list):
        return _of_entries(wanted, file, entries, content.get("images"), "annotations")
    raise DataError(
        f"{file}: neither results (a list) nor an object with `annotations`, so it holds no instances in COCO's format."
    )


def _of_entries(wanted: Wanted, file: Path, entries: list[Any], images: Any, form: Form) -> Brought:
    """Annotations or results, by image; each entry of an image asked for is checked before anything is read."""
    ids = _ids_of(wanted, file, images)
    sizes = {number: wanted.size(image_id) for number, image_id in ids.items()}
    by_id: dict[str, list[dict[str, Any]]] = {image_id: [] for image_id in ids.values()}
    for index, entry in enumerate(entries):
        number = entry.get("image_id") if isinstance(entry, dict) else None
        if type(number) is int and number not in ids:
            continue  # of an image that is not asked for
        checked = check_found(entry, sizes, f"{file}: entry {index} (counted from 0)", scored=form == "results")
        if not checked["iscrowd"]:
            by_id[ids[checked["image_id"]]].append(checked)

    def read(image_id: str) -> Instances:
        size = wanted.size(image_id)
        return Instances(
            size,
            [
                Instance(compress(each["segmentation"], size), each["score"], each["category_id"])
                for each in by_id.get(image_id, [])
            ],
        )

    if entries and not any(by_id.values()):
        first = next((each.get("image_id") for each in entries if isinstance(each, dict)), None)
        raise DataError(
            f"{file}: none of its {len(entries)} entries is of one of the {len(wanted.ids)} images (the first entry is "
            f"of image {first!r}; these are {some_names(map(str, sorted(ids)))}). Does it belong to this data set and "
            f"split?"
        )
    return Brought(form, read)


def _ids_of(wanted: Wanted, file: Path, images: Any) -> dict[int, str]:
    """The image id of each number of a file, by the names of files that it lists, or else by numbers."""
    if images is not None:
        if not isinstance(images, list):
            raise DataError(f"{file}: `images` is {images!r:.60}, not a list.")
        known, found = set(wanted.ids), {}
        for index, entry in enumerate(images):
            number, _ = check_image(entry, f"{file}: images[{index}]")
            name = str(entry.get("file_name", ""))
            if image_id := next((each for each in (name, Path(name).stem) if each in known), None):
                found[number] = image_id
        if found:
            return found
    if wanted.numbered:
        return {number: image_id for image_id, number in wanted.numbers.items()}
    raise DataError(
        f"{file}: which image is which? Ids such as '{wanted.ids[0]}' are no numbers, and it lists no `images` with "
        f"such file names. Add the list, or put it into {images_beside(file).name}: "
        f'{{"images": [{{"id": 1, "file_name": "{wanted.ids[0]}.png", "height": ..., "width": ...}}]}}.'
    )


def _of_panoptic(wanted: Wanted, file: Path, folder: Path) -> Brought:
    from edgebench.data.panoptic import read_panoptic, read_segments

    panoptic = read_panoptic(file, folder)
    by_name = {image.png.stem: image for image in panoptic.images.values()}
    by_number = panoptic.images if wanted.numbered else {}
    images = {}
    for image_id, number in wanted.numbers.items():
        image = by_name.get(image_id) or by_number.get(str(number))
        if image is not None:
            images[image_id] = image
    if not images:
        raise DataError(
            f"{file}: lists none of the {len(wanted.ids)} images ({some_names(wanted.ids)}), neither by number nor by "
            f"the name of its PNG. Does it belong to this data set and split?"
        )

    def read(image_id: str) -> Instances:
        if image_id not in images:
            return Instances(wanted.size(image_id), [])
        image = images[image_id]
        ids = read_segments(image)
        _check_size(image.png, ids, wanted.size(image_id))
        things = {
            key: segment.category
            for key, segment in image.segments.items()
            if panoptic.categories[segment.category].thing and not segment.crowd
        }
        return from_masks([ids == key for key in things], wanted.size(image_id), categories=things.values())

    return Brought("panoptic", read)


def _of_folder(wanted: Wanted, folder: Path) -> Brought:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of instances.")
    folders = {each: folder / each for each in wanted.ids if (folder / each).is_dir()}
    files = {each: folder / f"{each}.png" for each in wanted.ids if (folder / f"{each}.png").is_file()}
    if folders and files:
        raise DataError(
            f"{folder}: has a folder for {some_names(folders)} and a PNG for {some_names(files)}. Bring either a "
            f"folder per image, with a PNG per instance, or a PNG per image."
        )
    found = folders or files
    missing = [each for each in wanted.ids if each not in found]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(wanted.ids)} images have neither a PNG nor a folder of PNG files here "
            f"({some_names(missing)}). Name them like the images, for example {missing[0]}.png, and leave a folder "
            f"empty or a PNG black where nothing was found."
        )
    if folders:
        return Brought("binary", lambda image_id: _binary(folders[image_id], wanted.size(image_id)))
    return Brought("indexed", lambda image_id: _indexed(files[image_id], wanted.size(image_id)))


def _binary(folder: Path, size: tuple[int, int]) -> Instances:
    """A PNG per instance; bright is its foreground, or 1 where nothing is brighter."""
    folder = folder / "masks" if (folder / "masks").is_dir() else folder
    masks = []
    for path in sorted(folder.glob("*.png")):
        levels = grey_pixels(path, "mask of an instance")
        _check_size(path, levels, size)
        most = 1 if levels.dtype == bool or levels.max(initial=0) <= 1 else int(np.iinfo(levels.dtype).max)
        masks.append(levels > most // 2)
    return from_masks(masks, size)


def _indexed(path: Path, size: tuple[int, int]) -> Instances:
    """Each value an instance; 0 is none, and so is 255 in a file of 8 bits.

    A grey file that has no other value than 255 is the mask of a single instance.
    """
    mode, values = stored_values(path)
    if mode not in ("1", "L", "P", "I;16", "I"):
        raise DataError(
            f"{path}: pixels of the kind {mode}, where each value should be an instance. Save it as a grey PNG of 8 or "
            f"16 bits or with a palette; ids in colours belong to a panoptic JSON file, which is then needed as `file`."
        )
    _check_size(path, values, size)
    present = [int(each) for each in np.unique(values) if each]
    if mode in ("L", "P") and not (mode == "L" and present == [VOID]):
        present = [each for each in present if each != VOID]
    return from_masks([values == each for each in present], size)


def _check_size(path: Path, values: NDArray[Any], size: tuple[int, int]) -> None:
    if values.shape != size:
        raise DataError(
            f"{path}: {values.shape[0]} x {values.shape[1]} pixels (height x width), but its image has {size[0]} x "
            f"{size[1]}. Bring masks of the images' own size."
        )
