"""Data sets whose annotations are one JSON file of COCO's kind, each with its own places for files.

    LVIS (Gupta et al., CVPR 2019)       annotations/lvis_v1_SPLIT.json, images in COCO's train2017 and val2017
    HRSID (Wei et al., Access 2020)      annotations/SPLIT2017.json, JPEGImages/NAME.jpg
    iSAID (Waqas Zamir et al., CVPRW 2019)    SPLIT/Annotations/iSAID_SPLIT.json, SPLIT/images/NAME.png; or the tiles
                                         of its development kit: SPLIT/instancesonly_filtered_SPLIT.json
    Objects365 (Shao et al., ICCV 2019)  annotations/zhiyuan_objv2_SPLIT.json, images anywhere below; boxes only
    class_agnostic                       annotations/SPLIT.json, images anywhere below

`class_agnostic` is for the files that CutLER's authors publish, in which every object is of one class
(`coco20k_trainval_gt.json`, `lvis1.0_cocofied_val_cls_agnostic.json`, ...), and for any other list of objects: the
split is the name of the JSON file. Only the images that the file lists belong to the split.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

from edgebench.data.adapters.coco import CocoImages
from edgebench.data.adapters.listing import require_folder, some_names, walk_files
from edgebench.errors import DataError, nearest


class Places(NamedTuple):
    """Where a data set keeps its files.

    Attributes:
        splits: Names of its splits; None where any JSON file is one.
        annotations: JSON file of a split, with `{split}`; the first that is there.
        images: Folder of the images of a split.
        inner: Folder that its archive unpacks to; it or the folder above it may be named.
        by_url: Whether the last two parts of an image's address, not its `file_name`, say where it lies.
    """

    splits: tuple[str, ...] | None
    annotations: tuple[str, ...]
    images: str = "."
    inner: str = "."
    by_url: bool = False


PLACES = {
    "lvis": Places(("train", "val"), ("annotations/lvis_v1_{split}.json",), by_url=True),
    "hrsid": Places(("train", "test"), ("annotations/{split}2017.json",), "JPEGImages", inner="HRSID_JPG"),
    "isaid": Places(
        ("train", "val"),
        ("{split}/Annotations/iSAID_{split}.json", "{split}/instancesonly_filtered_{split}.json"),
        "{split}/images",
    ),
    "objects365": Places(
        ("train", "val", "val_16_40"),
        ("annotations/zhiyuan_objv2_{split}.json", "annotations/objects365_{part}.json"),
    ),
    "class_agnostic": Places(None, ("annotations/{split}.json",)),
}


class CocoLikeDataset(CocoImages):
    """The images that a split's JSON file lists, with their objects.

    Args:
        folder: The data set's.
        split: Name of the split.
        layout: Name in `PLACES`.

    Raises:
        DataError: a folder, the split or its file is missing, or an image that it lists.
    """

    def __init__(self, folder: Path, split: str, layout: str) -> None:
        require_folder(folder)
        places = PLACES[layout]
        root = folder / places.inner if (folder / places.inner).is_dir() else folder
        known = places.splits
        if known is None:
            known = tuple(sorted(path.stem for path in (root / "annotations").glob("*.json")))
        if split not in known:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, known)}")
        candidates = [root / each.format(split=split, part=_part(split)) for each in places.annotations]
        annotations = next((path for path in candidates if path.is_file()), None)
        if annotations is None:
            raise DataError(
                f"{candidates[0]}: no such file{_or(candidates[1:])}. Put the annotations of split '{split}' there."
            )
        images = root / places.images.format(split=split)
        require_folder(images)
        super().__init__(folder, annotations, _by_url(images) if places.by_url else _Finder(images))


def _part(split: str) -> str:
    """How the file of a part of Objects365's val split is called: `val_16_40` has its patches 16 to 40."""
    return split.removeprefix("val_").replace("_", "-")


def _or(paths: list[Path]) -> str:
    return f", nor {' nor '.join(str(path) for path in paths)}" if paths else ""


def _by_url(folder: Path) -> Callable[[Mapping[str, Any]], Path]:
    """LVIS names its images by their addresses, .../train2017/000000391895.jpg; a split has images of both folders."""
    return lambda entry: folder.joinpath(*str(entry["coco_url"]).split("/")[-2:])


class _Finder:
    """Finds an image by the path that a JSON file gives, or, where it lies elsewhere, by its name.

    Args:
        folder: Holds the images, directly or in folders.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, entry: Mapping[str, Any]) -> Path:
        relative = str(entry["file_name"])
        if relative in self._direct:
            return self._direct[relative]
        place = self._folder / relative
        if "/" in relative and place.is_file():
            return place
        found = self._anywhere.get(os.path.basename(relative), [])
        if len(found) > 1:
            raise DataError(
                f"{self._folder}: {relative} is there {len(found)} times: {some_names(map(str, found))}. Keep one."
            )
        return found[0] if found else place

    @cached_property
    def _direct(self) -> dict[str, Path]:
        return {path.name: path for path in self._folder.iterdir()}

    @cached_property
    def _anywhere(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in walk_files(self._folder):
            found.setdefault(path.name, []).append(path)
        return found


LAYOUTS = {name: partial(CocoLikeDataset, layout=name) for name in PLACES}
"""How to open each of them."""
