"""Instances as COCO writes them: ground truth (an object) and results (a list), both JSON, strictly checked.

Checking comes first because the evaluators do not: of broken run lengths they make wrong overlaps, or crash.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from edgebench.errors import DataError


@dataclass(frozen=True)
class InstanceTruth:
    """Ground truth of instance segmentation.

    Attributes:
        sizes: (height, width) in pixels of each image, by image id.
        categories: Names of the categories, by id.
        annotations: COCO's annotations: `image_id category_id segmentation iscrowd`, and `area` where it is given.
    """

    sizes: dict[int, tuple[int, int]]
    categories: dict[int, str]
    annotations: list[dict[str, Any]]


def read_instance_truth(path: str | Path) -> InstanceTruth:
    """Read COCO ground truth (`images`, `annotations`, `categories`) and check all of it.

    A segmentation is a list of polygons or run lengths, plain or compressed. `iscrowd` is 0 where it is left out.

    Raises:
        DataError: the file is missing or not of that form; the entry, its image and the value are named.
    """
    path = Path(path)
    content = _read(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in _PARTS):
        kind = "a list, as results are" if isinstance(content, list) else "without them"
        raise DataError(
            f"{path}: ground truth is an object with the lists {', '.join(_PARTS)}; this file is {kind}. "
            f"Give COCO ground truth, such as instances_val2017.json."
        )
    sizes: dict[int, tuple[int, int]] = {}
    for index, image in enumerate(content["images"]):
        where = f"{path}: images[{index}]"
        key, size = check_image(image, where)
        if key in sizes:
            raise DataError(f"{where}: the image id {key} is given twice. Every image needs an id of its own.")
        sizes[key] = size
    if not sizes:
        raise DataError(f"{path}: holds no image, so there is nothing to evaluate.")
    categories = {}
    for index, category in enumerate(content["categories"]):
        key, name = check_category(category, f"{path}: categories[{index}]")
        categories[key] = name
    annotations: list[dict[str, Any]] = []
    seen: set[int] = set()
    for index, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotations[{index}]"
        entry = check_annotation(annotation, sizes, categories, where)
        if "id" in annotation:
            key = _integer(annotation, "id", where)
            if key in seen:
                raise DataError(f"{where}: the annotation id {key} is given twice. Were two files joined?")
            seen.add(key)
        annotations.append(entry)
    return InstanceTruth(sizes, categories, annotations)


def read_instance_results(path: str | Path, truth: InstanceTruth, per_class: bool = False) -> list[dict[str, Any]]:
    """Read COCO results, a list of `image_id segmentation score` and perhaps `category_id bbox`, and check them.

    Args:
        path: The file. An empty list is allowed: nothing was found in any image.
        truth: What they are results for.
        per_class: Whether every entry must name a category of the truth; otherwise categories are not read.

    Returns:
        The entries in the file's order. `bbox` is there in all of them or in none.

    Raises:
        DataError: the file is missing or not of that form; the entry, its image and the value are named.
    """
    path = Path(path)
    content = _read(path)
    if not isinstance(content, list):
        raise DataError(
            f"{path}: results are a list of {{image_id, category_id, segmentation, score}}, but this file holds "
            f"something else. Give the `annotations` of such an object alone, each with a score."
        )
    found: list[dict[str, Any]] = []
    for index, result in enumerate(content):
        where = f"{path}: entry {index} (counted from 0)"
        entry = _instance(result, truth.sizes, where)
        where = f"{where}, image {entry['image_id']}"
        if "score" not in result:
            raise DataError(f"{where}: has no score. Give each mask one; 1 for all of them if there is no order.")
        entry["score"] = _number(result, "score", where)
        if per_class:
            entry["category_id"] = _category(result, truth.categories, where)
        if result.get("bbox"):
            entry["bbox"] = _box(result["bbox"], where)
        if ("bbox" in entry) != ("bbox" in (found[0] if found else entry)):
            raise DataError(
                f"{where}: only some of the entries have a bbox. Small, medium and large follow the boxes when there "
                f"are any, and the masks otherwise: give boxes for all entries or for none."
            )
        found.append(entry)
    return found


def check_image(image: Any, where: str) -> tuple[int, tuple[int, int]]:
    """Id and (height, width) of an entry of `images`.

    Raises:
        DataError: it has none; the message begins with `where`.
    """
    key = _integer(image, "id", where)
    height, width = _integer(image, "height", where), _integer(image, "width", where)
    if height < 1 or width < 1 or height * width > _MOST_PIXELS:
        raise DataError(f"{where} (image {key}): its size, {height} x {width} pixels, is not one.")
    return key, (height, width)


def check_category(category: Any, where: str) -> tuple[int, str]:
    """Id and name of an entry of `categories`.

    Raises:
        DataError: it has no id; the message begins with `where`.
    """
    key = _integer(category, "id", where)
    return key, str(category.get("name", key))


def check_annotation(
    annotation: Any, sizes: Mapping[int, tuple[int, int]], categories: Mapping[int, Any], where: str
) -> dict[str, Any]:
    """`image_id category_id segmentation iscrowd` of an entry of `annotations`, and `area` where it is given.

    Raises:
        DataError: one is missing or impossible; the message begins with `where`.
    """
    entry = _instance(annotation, sizes, where)
    entry["category_id"] = _category(annotation, categories, where)
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise DataError(f"{where} (image {entry['image_id']}): iscrowd is {crowd!r}, neither 0 nor 1.")
    entry["iscrowd"] = int(crowd)
    if "area" in annotation:
        entry["area"] = _number(annotation, "area", where)
    return entry


def check_found(entry: Any, sizes: Mapping[int, tuple[int, int]], where: str, scored: bool) -> dict[str, Any]:
    """`image_id segmentation score category_id iscrowd` of an instance that somebody found.

    A score that is left out is 1, a category 1 and `iscrowd` 0.

    Args:
        entry: Of a list of results, or of `annotations`.
        sizes: (height, width) of every image, by image id.
        where: What messages begin with.
        scored: Whether it must have a score.

    Raises:
        DataError: something is missing or impossible.
    """
    checked = _instance(entry, sizes, where)
    where = f"{where}, image {checked['image_id']}"
    if scored and "score" not in entry:
        raise DataError(f"{where}: has no score. Give each mask one; 1 for all of them if there is no order.")
    checked["score"] = _number(entry, "score", where) if "score" in entry else 1.0
    checked["category_id"] = _integer(entry, "category_id", where) if "category_id" in entry else 1
    checked["iscrowd"] = bool(entry.get("iscrowd", 0))
    return checked


def read_json_file(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it is missing or no JSON.
    """
    return _read(path)


_MOST_PIXELS = 2**31  # more than any picture has, and what 32 bits hold
_PARTS = ("images", "annotations", "categories")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, where a JSON file was expected.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error}). Was it written to its end?") from error
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror}).") from error


def _integer(entry: Any, key: str, where: str) -> int:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: {_short(entry)} is not an object with `{key}`.")
    if key not in entry:
        raise DataError(f"{where}: has no {key}.")
    if type(entry[key]) is not int:  # True is an int, too
        raise DataError(f"{where}: {key} is {_short(entry[key])}, not a whole number.")
    return int(entry[key])


def _number(entry: dict[str, Any], key: str, where: str) -> float:
    value = entry[key]
    if not _is_number(value):
        raise DataError(f"{where}: {key} is {_short(value)}, not a finite number.")
    return float(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _category(entry: dict[str, Any], categories: Mapping[int, Any], where: str) -> int:
    key = _integer(entry, "category_id", where)
    if key not in categories:
        raise DataError(
            f"{where}: category_id {key} is not among the {len(categories)} categories of the ground truth."
        )
    return key


def _box(box: Any, where: str) -> list[float]:
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(each) and each >= 0 for each in box[2:]):
        raise DataError(f"{where}: bbox is {_short(box)}, not [x, y, width, height].")
    if not all(_is_number(each) for each in box):
        raise DataError(f"{where}: bbox is {_short(box)}, not [x, y, width, height].")
    return [float(each) for each in box]


def _instance(entry: Any, sizes: Mapping[int, tuple[int, int]], where: str) -> dict[str, Any]:
    """`image_id` and `segmentation` of an entry, the latter in one of COCO's three forms and of the image's size."""
    image = _integer(entry, "image_id", where)
    if image not in sizes:
        raise DataError(f"{where}: image_id {image} is not among the {len(sizes)} images of the ground truth.")
    where = f"{where}, image {image}"
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, dict):
        _check_runs(segmentation, sizes[image], where)
    elif isinstance(segmentation, list) and segmentation:
        _check_polygons(segmentation, sizes[image], where)
    else:
        raise DataError(
            f"{where}: segmentation is {_short(segmentation)}; run lengths ({{size, counts}}) or polygons are needed."
        )
    return {"image_id": image, "segmentation": segmentation}


def _check_runs(segmentation: dict[str, Any], size: tuple[int, int], where: str) -> None:
    given, counts = segmentation.get("size"), segmentation.get("counts")
    if given != list(size):
        raise DataError(
            f"{where}: its mask has the size {_short(given)} (height, width), but the image has {list(size)}. "
            f"Save masks at the size of their images."
        )
    if isinstance(counts, str):
        fits = counts.isascii() and _runs_cover(np.frombuffer(counts.encode(), np.uint8), size[0] * size[1])
    elif isinstance(counts, list):
        fits = all(type(each) is int and each >= 0 for each in counts) and sum(counts) == size[0] * size[1]
    else:
        raise DataError(f"{where}: counts is {_short(counts)}, neither compressed run lengths nor a list of them.")
    if not fits:
        raise DataError(
            f"{where}: its run lengths are damaged: they do not add up to {size[0]} x {size[1]} pixels. "
            f"Was `counts` cut or changed on the way?"
        )


@njit(cache=True)
def _runs_cover(code: NDArray[np.uint8], pixels: int) -> bool:
    """Whether compressed run lengths are well formed and cover exactly that many pixels.

    Each run is a signed number in groups of 5 bits, the lowest first, 48 added to each and 32 where another
    follows; from the fourth run on it is the difference to the run two before.
    """
    total, index, place = 0, 0, 0
    before = np.zeros(2, np.int64)
    while place < code.size:
        run, shift, more = 0, 0, True
        while more:
            if place == code.size or code[place] < 48 or code[place] > 111 or shift > 50:
                return False
            group = int(code[place]) - 48
            run |= (group & 31) << shift
            more = (group & 32) != 0
            shift += 5
            place += 1
            if not more and group & 16:
                run |= -1 << shift
        if index > 2:
            run += before[index % 2]
        if run < 0 or run > pixels:
            return False
        before[index % 2] = run
        total += run
        index += 1
    return total == pixels


def _check_polygons(polygons: list[Any], size: tuple[int, int], where: str) -> None:
    for polygon in polygons:
        if not isinstance(polygon, list) or not all(_is_number(each) for each in polygon):
            raise DataError(f"{where}: a polygon is {_short(polygon)}, not a list of numbers x1, y1, x2, y2, ...")
        if len(polygon) < 6 or len(polygon) % 2:
            raise DataError(
                f"{where}: a polygon has {len(polygon)} numbers; three points or more, two each, are needed."
            )
        # A little outside is usual, and cut off. Far outside, the numbers are no pixels of this image.
        for values, length in ((polygon[::2], size[1]), (polygon[1::2], size[0])):
            if min(values) < -length or max(values) > 2 * length:
                raise DataError(
                    f"{where}: a polygon reaches from {min(values):g} to {max(values):g} where the image has "
                    f"{length} pixels. Are these points of another image?"
                )
