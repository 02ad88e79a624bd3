"""Panoptic data sets in COCO's format, written from id maps."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = [
    {"id": 1, "name": "person", "isthing": 1},
    {"id": 18, "name": "dog", "isthing": 1},
    {"id": 187, "name": "sky", "isthing": 0},
]


@dataclass
class Drawn:
    """An image: ids (H, W), the class of each segment, and those that are crowds."""

    ids: Any
    classes: dict[int, int]
    crowds: set[int] = field(default_factory=set)


def write_ids(path: Path, ids: Any) -> None:
    """Write ids as colours: red + 256 green + 65536 blue."""
    ids = np.asarray(ids, np.uint32)
    Image.fromarray(np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)).save(path)


def write_panoptic(folder: Path, name: str, images: dict[Any, Drawn]) -> tuple[Path, Path]:
    """Write `NAME.json` and the folder `NAME` with a PNG per image; return both."""
    (folder / name).mkdir(parents=True)
    annotations = []
    for key, image in images.items():
        write_ids(folder / name / f"{key}.png", image.ids)
        segments = [
            {
                "id": each,
                "category_id": category,
                "iscrowd": int(each in image.crowds),
                "area": int(np.count_nonzero(np.asarray(image.ids) == each)),
            }
            for each, category in image.classes.items()
        ]
        annotations.append({"image_id": key, "file_name": f"{key}.png", "segments_info": segments})
    (folder / f"{name}.json").write_text(json.dumps({"annotations": annotations, "categories": CATEGORIES}))
    return folder / f"{name}.json", folder / name


def random_drawn(seed: int, shape: tuple[int, int] = (60, 80), cells: int = 12) -> Drawn:
    """Irregular cells of a few classes, one in eight of them void, some of them crowds."""
    rng = np.random.default_rng(seed)
    centres = rng.random((cells, 2)) * shape
    y, x = np.mgrid[: shape[0], : shape[1]]
    nearest = np.argmin([(y - a) ** 2 + (x - b) ** 2 for a, b in centres], axis=0)
    names = rng.choice(2**24 - 2, cells, replace=False) + 1
    names[::8] = 0
    ids = names[nearest]
    present: list[int] = np.unique(ids[ids > 0]).tolist()
    numbers = [1, 18, 187]
    return Drawn(ids, {key: numbers[rng.integers(3)] for key in present}, set(present[::6]))


def disturbed(truth: Drawn) -> Drawn:
    """A prediction of a map: shifted, with some classes swapped and some segments cut in two."""
    ids = np.roll(np.asarray(truth.ids), (1, -2), (0, 1))
    classes = dict(truth.classes)
    for number, key in enumerate(sorted(truth.classes)):
        if number % 5 == 1:
            classes[key] = 18 if classes[key] == 1 else 1
        if number % 5 == 2:
            columns = np.nonzero(ids == key)[1]
            ids = np.where((ids == key) & (np.arange(ids.shape[1]) < columns.mean()), key + 1, ids)
            classes[key + 1] = classes[key]
    present = set(np.unique(ids).tolist())
    return Drawn(ids, {key: value for key, value in classes.items() if key in present})
