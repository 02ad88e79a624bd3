"""The on-disk layout of BSDS500: images/SPLIT/ID.jpg and groundTruth/SPLIT/ID.mat."""

from __future__ import annotations

from pathlib import Path

from edgebench.data.adapters.base import AnnotatedImages, check_pairs, files_by_id
from edgebench.data.adapters.listing import require_folder
from edgebench.errors import DataError, nearest


class BsdsDataset(AnnotatedImages):
    """Images with the boundaries of several annotators each.

    Args:
        folder: Holds `images/{train,val,test}/` and, where there are annotations, `groundTruth/` likewise.
        split: A folder of `images`, or `trainval` for train and val together.

    Raises:
        DataError: a folder or split is missing, or images and annotations do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        require_folder(folder / "images")
        pairs = [
            (image_id, path)
            for part in _parts(folder, split)
            for image_id, path in files_by_id(folder / "images" / part).items()
        ]
        super().__init__(
            folder,
            pairs,
            {image_id: [folder / "groundTruth" / path.parent.name / f"{image_id}.mat"] for image_id, path in pairs},
        )
        for part in _parts(folder, split):
            annotations = folder / "groundTruth" / part
            if annotations.is_dir():  # images alone can still be predicted
                images = [image_id for image_id, path in pairs if path.parent.name == part]
                check_pairs(images, files_by_id(annotations, [".mat"]), folder / "images" / part, annotations)


def _parts(folder: Path, split: str) -> list[str]:
    known = sorted(path.name for path in (folder / "images").iterdir() if path.is_dir())
    parts = ["train", "val"] if split == "trainval" else [split]
    missing = [part for part in parts if part not in known]
    if missing:
        offered = [*known, "trainval"] if {"train", "val"} <= set(known) else known
        raise DataError(f"{folder}: no split '{missing[0]}'.{nearest(split, offered)}")
    return parts
