"""COCO's results format of the instances that a run found, so that any other evaluator can score them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.data.instances import Instances
from edgebench.files import canonical_json, images_beside, write_text

if TYPE_CHECKING:
    from edgebench.data.adapters import Dataset

RESULTS = "results.json"


def image_numbers(dataset: Dataset) -> dict[str, int]:
    """The `image_id` of each image in files of COCO's kind.

    It is the number that the annotations call the image by, or else its id read as a number; if that does not work
    for all images, or two would share a number, it is the place among the data set's ids, counted from 1.
    """
    numeric_id = getattr(dataset, "numeric_id", None)
    if numeric_id is not None:
        return {each: numeric_id(each) for each in dataset.ids}
    if all(each.isascii() and each.isdigit() for each in dataset.ids):
        numbers = {each: int(each) for each in dataset.ids}
        if len(set(numbers.values())) == len(numbers):
            return numbers
    return {each: place for place, each in enumerate(dataset.ids, start=1)}


def result_entries(number: int, instances: Instances) -> list[dict[str, Any]]:
    """The instances of one image as COCO's results: `image_id category_id segmentation score`."""
    return [
        {"image_id": number, "category_id": each.category, "segmentation": each.mask, "score": each.score}
        for each in instances.items
    ]


def write_results(folder: Path, found: Iterable[tuple[str, Instances]], numbers: Mapping[str, int]) -> None:
    """Write `results.json` and, beside it, which image each number is.

    Args:
        folder: Where to.
        found: Ids of the images, in their order, and what was found in each.
        numbers: The `image_id` of each image.
    """
    images, entries = [], []
    for image_id, instances in found:
        height, width = instances.size
        images.append({"id": numbers[image_id], "file_name": image_id, "height": height, "width": width})
        entries += result_entries(numbers[image_id], instances)
    write_text(images_beside(folder / RESULTS), canonical_json({"images": images}) + "\n")
    write_text(folder / RESULTS, canonical_json(entries) + "\n")
