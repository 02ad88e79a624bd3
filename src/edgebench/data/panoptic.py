"""Panoptic segmentations in COCO's format: a JSON file and a folder of PNG whose colours are segments.

A run keeps a PNG and a JSON record of each image in `panoptic/`, and at its end `panoptic.json`, which joins them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgebench.data.adapters.listing import some_names
from edgebench.data.images import describe_content, stored_values
from edgebench.errors import DataError
from edgebench.files import atomic_path, canonical_json, read_json, write_json, write_text

_IDS = 256**3
JOINED = "panoptic.json"
"""All segmentations of a run in COCO's format; the PNG files that it names lie in the folder `panoptic`."""


class Category(NamedTuple):
    """A class: its name, and whether it is of countable objects (things) or not (stuff)."""

    name: str
    thing: bool


class Segment(NamedTuple):
    """What the JSON file says of a segment; `area` in pixels, None where it does not say."""

    category: int
    crowd: bool = False
    area: float | None = None


class Segmentation(NamedTuple):
    """The segments of one image.

    Attributes:
        ids: uint32 (H, W), the id of each pixel's segment; 0 where there is none.
        segments: What is known of each, by id.
    """

    ids: NDArray[np.uint32]
    segments: dict[int, Segment]


class SegmentedImage(NamedTuple):
    """One image.

    Attributes:
        id: The `image_id`, as text.
        png: Its segments.
        segments: What is known of them, by id.
        listed_in: The JSON file.
    """

    id: str
    png: Path
    segments: dict[int, Segment]
    listed_in: Path


@dataclass(frozen=True)
class Panoptic:
    """A data set or the predictions for one.

    Attributes:
        images: By id, in the order of the file.
        categories: By id; those that were given, or else the file's own.
    """

    images: dict[str, SegmentedImage]
    categories: Mapping[int, Category]


def read_panoptic(path: str | Path, folder: str | Path, categories: Mapping[int, Category] | None = None) -> Panoptic:
    """Read the JSON file of a panoptic segmentation, and see that every PNG that it names is there.

    Args:
        path: The JSON file, with `annotations` of `image_id`, `file_name` and `segments_info`, and with
            `categories` where none are given.
        folder: Where the PNG files lie.
        categories: The classes that segments may have, those of the ground truth when predictions are read.

    Raises:
        DataError: a file is missing or damaged, a key is missing, something occurs twice, or a segment has an
            impossible id or an unknown category.
    """
    path, folder = Path(path), Path(folder)
    content = _read(path)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Name the one that holds the PNG files of {path}.")
    if categories is None:
        categories = read_categories(path, content)
    images: dict[str, SegmentedImage] = {}
    for number, record in enumerate(_list(path, content, "annotations", "the file")):
        image = segmented_image(path, folder, record, f"annotation {number}", categories)
        if image.id in images:
            raise DataError(f"{path}: image {image.id} has two annotations. Remove one.")
        images[image.id] = image
    if not images:
        raise DataError(f"{path}: 'annotations' is empty, so there is no image.")
    absent = [image.png.name for image in images.values() if not image.png.is_file()]
    if absent:
        raise DataError(
            f"{folder}: {len(absent)} of {len(images)} PNG files that {path} names are missing "
            f"({some_names(absent)}). Put them there, or name another folder."
        )
    return Panoptic(images, categories)


def read_segments(image: SegmentedImage) -> NDArray[np.uint32]:
    """Read the segments of an image and see that they are those listed.

    Returns:
        uint32 (H, W), R + 256 G + 65536 B: the id of each pixel's segment, 0 where there is none.

    Raises:
        DataError: the PNG is missing, damaged or not RGB, it and the JSON file do not have the same segments, or a
            segment has another area than listed.
    """
    ids = read_ids(image.png)
    areas = _areas(ids)
    _same_segments(image, areas)
    for key, segment in image.segments.items():
        if segment.area is not None and segment.area != areas[key]:
            raise DataError(
                f"{image.png}: segment {key} has {areas[key]} pixels, but its area in {image.listed_in} (image "
                f"{image.id}) is {segment.area:g}. Was one of the two resized or changed? Correct the area or leave "
                f"it out."
            )
    return ids


def read_ids(path: str | Path) -> NDArray[np.uint32]:
    """Read a panoptic PNG: uint32 (H, W), R + 256 G + 65536 B of each pixel.

    Raises:
        DataError: the file is missing, damaged, or not an RGB PNG of 8 bits.
    """
    mode, colours = stored_values(path)
    if mode != "RGB":
        raise DataError(
            f"{path}: pixels of the kind {mode}, where the id of a segment is written as RGB: R + 256 G + 65536 B. "
            f"Save it so, without palette and transparency."
        )
    wide = colours.astype(np.uint32)
    return wide[..., 0] | wide[..., 1] << np.uint32(8) | wide[..., 2] << np.uint32(16)


def write_ids(path: str | Path, ids: NDArray[np.integer]) -> None:
    """Write the segments of an image, (H, W) from 0 on, as the RGB PNG that `read_ids` reads, whole or not at all.

    Raises:
        DataError: the array is not (H, W), or an id does not fit into 24 bits.
    """
    from PIL import Image

    if ids.ndim != 2 or not ids.size or ids.min() < 0 or ids.max() >= _IDS:
        raise DataError(f"{path}: a map of segments is (H, W) with ids from 0 to {_IDS - 1}, not {ids.shape}.")
    wide = ids.astype(np.uint32)
    colours = np.stack([wide & 255, wide >> np.uint32(8) & 255, wide >> np.uint32(16)], axis=-1).astype(np.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(colours).save(temporary, format="PNG", compress_level=6)


def write_segmentation(path: str | Path, segmentation: Segmentation) -> None:
    """Write the segments of an image: a PNG beside `path`, and then `path`, the record of the image, `.json`.

    The record is what `annotations` of COCO's file hold: `image_id`, `file_name`, and `segments_info` with `id
    category_id area bbox iscrowd`, boxes as left, top, width, height.

    Raises:
        DataError: map and segments do not belong together.
    """
    path = Path(path)
    ids, segments = segmentation
    areas = _areas(ids)
    if areas.keys() != segments.keys():
        raise DataError(f"{path}: the map has the segments {sorted(areas)}, listed are {sorted(segments)}.")
    png = path.with_suffix(".png")
    write_ids(png, ids)
    info = [
        {
            "id": number,
            "category_id": segment.category,
            "area": areas[number],
            "bbox": box,
            "iscrowd": int(segment.crowd),
        }
        for (number, segment), box in zip(sorted(segments.items()), _boxes(ids, sorted(segments)), strict=True)
    ]
    write_json(path, {"image_id": path.stem, "file_name": png.name, "segments_info": info})


def read_segmentation(path: str | Path) -> Segmentation:
    """Read what `write_segmentation` wrote.

    Raises:
        DataError: a file is missing or damaged, or the two do not belong together.
    """
    path = Path(path)
    record = read_json(path)
    try:
        segments = {
            int(each["id"]): Segment(int(each["category_id"]), bool(each["iscrowd"]), int(each["area"]))
            for each in record["segments_info"]
        }
        image = SegmentedImage(str(record["image_id"]), path.parent / record["file_name"], segments, path)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not the segments of an image ({error!r}). Delete its run's folder.") from None
    return Segmentation(read_segments(image), segments)


def join_records(path: str | Path, records: Mapping[int | str, Path], categories: Mapping[int, Category]) -> int:
    """Join records of images, which `write_segmentation` wrote, to one file in COCO's format.

    Args:
        path: The file to write.
        records: The records by what the file is to call the image; their PNG files stay where they are.
        categories: Classes by id.

    Returns:
        How many segments there are.
    """
    annotations = [read_json(record) | {"image_id": key} for key, record in records.items()]
    listed = [
        {"id": key, "name": category.name, "isthing": int(category.thing)} for key, category in categories.items()
    ]
    images = [{"id": each["image_id"], "file_name": each["file_name"]} for each in annotations]
    # Not indented: a hundred thousand images make a large file.
    write_text(path, canonical_json({"images": images, "annotations": annotations, "categories": listed}) + "\n")
    return sum(len(each["segments_info"]) for each in annotations)


def image_key(dataset: Any, image_id: str) -> int | str:
    """What COCO's files call an image: the number that the data set knows, or that the id is, or else the id."""
    numeric_id = getattr(dataset, "numeric_id", None)
    if numeric_id is not None:
        number: int = numeric_id(image_id)
        return number
    return int(image_id) if image_id.isascii() and image_id.isdecimal() else image_id


def _areas(ids: NDArray[np.integer]) -> dict[int, int]:
    """Pixels by segment, without those of none."""
    present, pixels = np.unique(ids, return_counts=True)
    return {key: count for key, count in zip(present.tolist(), pixels.tolist(), strict=True) if key}


def _boxes(ids: NDArray[np.integer], numbers: list[int]) -> list[list[int]]:
    """Left, top, width and height of each segment."""
    from scipy import ndimage

    ranks = np.searchsorted(numbers, ids) + 1 if numbers else np.zeros(ids.shape, np.int64)
    found = ndimage.find_objects(np.where(ids > 0, ranks, 0), max_label=len(numbers))
    return [[int(x.start), int(y.start), int(x.stop - x.start), int(y.stop - y.start)] for y, x in found]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path}: no such file, where a panoptic JSON file was expected.")
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        what = describe_content(path) or f"not valid JSON ({error})"
        raise DataError(f"{path}: {what}. Write or copy it again.") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: not a panoptic JSON file, which is an object with 'annotations'. A list is what COCO uses for "
            f"detections."
        )
    return content


def read_categories(path: Path, content: dict[str, Any]) -> dict[int, Category]:
    """The classes by id, of the `categories` of a panoptic JSON file.

    Raises:
        DataError: they are missing, or one of them is not complete.
    """
    categories: dict[int, Category] = {}
    for number, record in enumerate(_list(path, content, "categories", "the file")):
        where = f"category {number}"
        key = _integer(path, _get(path, record, "id", where), f"{where}: id")
        thing = _get(path, record, "isthing", where)
        if thing not in (0, 1):
            raise DataError(f"{path}: {where} (id {key}): isthing is {thing!r}, not 0 or 1.")
        if key in categories:
            raise DataError(f"{path}: two categories have the id {key}. Remove one.")
        categories[key] = Category(str(record.get("name", key)), bool(thing))
    return categories


def segmented_image(path: Path, folder: Path, record: Any, where: str, categories: Collection[int]) -> SegmentedImage:
    """One of the `annotations` of a panoptic JSON file; whether its PNG is there is not looked at.

    Args:
        path: The JSON file.
        folder: Where its PNG files lie.
        record: The entry of `annotations`.
        where: What messages call it.
        categories: Ids of the classes that segments may have.

    Raises:
        DataError: a key is missing, a segment occurs twice, has an impossible id or an unknown category.
    """
    key = _get(path, record, "image_id", where)
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise DataError(f"{path}: {where}: image_id is {key!r}, not a number or a name.")
    where = f"image {key}"
    file_name = _get(path, record, "file_name", where)
    if not isinstance(file_name, str) or not file_name:
        raise DataError(f"{path}: {where}: file_name is {file_name!r}, not the name of a PNG file.")
    segments: dict[int, Segment] = {}
    for each in _list(path, record, "segments_info", where):
        number = _integer(path, _get(path, each, "id", f"{where}: a segment"), f"{where}: id of a segment")
        of = f"{where}: segment {number}"
        if not 0 < number < _IDS:
            raise DataError(
                f"{path}: {of}: the id is not a colour. Ids are 1 to {_IDS - 1}; 0 stands for pixels without segment."
            )
        if number in segments:
            raise DataError(f"{path}: {of} is listed twice. Give every segment of an image its own id.")
        category = _integer(path, _get(path, each, "category_id", of), f"{of}: category_id")
        if category not in categories:
            raise DataError(
                f"{path}: {of}: unknown category_id {category}. The ground truth's categories are "
                f"{some_names(map(str, categories), 8) or 'none'}."
            )
        crowd, area = each.get("iscrowd", 0), each.get("area")
        if crowd not in (0, 1):
            raise DataError(f"{path}: {of}: iscrowd is {crowd!r}, not 0 or 1.")
        if isinstance(area, bool) or not isinstance(area, int | float | None):
            raise DataError(f"{path}: {of}: area is {area!r}, not a number of pixels.")
        segments[number] = Segment(category, bool(crowd), area)
    return SegmentedImage(str(key), folder / file_name, segments, path)


def _same_segments(image: SegmentedImage, areas: Collection[int]) -> None:
    unlisted, unseen = set(areas) - image.segments.keys(), image.segments.keys() - set(areas)
    if unlisted:
        raise DataError(
            f"{image.png}: has {_some(unlisted)} that {image.listed_in} does not list for image {image.id}. Do "
            f"the two belong together? Then list them in its 'segments_info', or paint them black (no segment)."
        )
    if unseen:
        raise DataError(
            f"{image.png}: has no pixel of {_some(unseen)} that {image.listed_in} lists for image {image.id}. Remove "
            f"them from its 'segments_info', or write the PNG again."
        )


def _some(ids: Collection[int]) -> str:
    return f"{len(ids)} segment{'s' if len(ids) > 1 else ''} ({some_names(map(str, ids))})"


def _get(path: Path, record: Any, key: str, where: str) -> Any:
    if not isinstance(record, dict):
        raise DataError(f"{path}: {where} is {record!r:.60}, not an object with '{key}'.")
    if key not in record:
        raise DataError(f"{path}: {where} has no '{key}'. Is this a panoptic JSON file of COCO's kind?")
    return record[key]


def _list(path: Path, record: Any, key: str, where: str) -> list[Any]:
    found = _get(path, record, key, where)
    if not isinstance(found, list):
        raise DataError(f"{path}: {where}: '{key}' is {found!r:.60}, not a list.")
    return found


def _integer(path: Path, value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{path}: {what} is {value!r}, not an integer.")
    return value
