"""The on-disk layout of BSDS500: images/SPLIT/ID.jpg and groundTruth/SPLIT/ID.mat."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgebench.data.adapters.bsds_mat import read_bsds_annotations
from edgebench.data.adapters.listing import find_path, index_by_id, require_folder, some_names
from edgebench.data.images import IMAGE_SUFFIXES, image_size, read_image
from edgebench.errors import DataError, nearest


class BsdsDataset:
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
        self._folder = folder
        self._paths = index_by_id(
            (
                (path.stem, path)
                for part in _parts(folder, split)
                for path in sorted((folder / "images" / part).iterdir())
                if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
            ),
            folder / "images" / split,
        )
        self.ids = list(self._paths)
        for part in _parts(folder, split):
            self._check_pairs(part)

    def image_path(self, image_id: str) -> Path:
        """File of an image."""
        return find_path(self._paths, image_id, self._folder)

    def image(self, image_id: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return read_image(self.image_path(image_id))

    def size(self, image_id: str) -> tuple[int, int]:
        """(H, W) from the image's header."""
        return image_size(self.image_path(image_id))

    def boundaries(self, image_id: str) -> list[np.ndarray]:
        """One bool (H, W) per annotator.

        Raises:
            DataError: there is no annotation, or its size is not the image's.
        """
        path = self._annotation_path(image_id)
        if not path.is_file():
            raise DataError(f"{path}: image {image_id} has no annotation. Fetch the data set again.")
        annotators = read_bsds_annotations(path)
        height, width = self.size(image_id)
        if annotators[0].shape != (height, width):
            found = " x ".join(map(str, annotators[0].shape))
            raise DataError(
                f"{path}: annotations of {found}, but {self.image_path(image_id)} is {height} x {width} "
                f"(height x width). Fetch the data set again."
            )
        return annotators

    def _annotation_path(self, image_id: str) -> Path:
        image = self.image_path(image_id)
        return self._folder / "groundTruth" / image.parent.name / f"{image_id}.mat"

    def _check_pairs(self, part: str) -> None:
        annotations = self._folder / "groundTruth" / part
        if not annotations.is_dir():
            return  # images alone can still be predicted
        annotated = {path.stem for path in annotations.glob("*.mat") if not path.name.startswith(".")}
        images = {image_id for image_id, path in self._paths.items() if path.parent.name == part}
        if images - annotated:
            raise DataError(
                f"{annotations}: {len(images - annotated)} images have no annotation: "
                f"{some_names(images - annotated)}. Fetch the data set again, or remove these images."
            )
        if annotated - images:
            raise DataError(
                f"{self._folder / 'images' / part}: {len(annotated - images)} annotations have no image: "
                f"{some_names(annotated - images)}. Fetch the data set again, or remove these annotations."
            )


def _parts(folder: Path, split: str) -> list[str]:
    known = sorted(path.name for path in (folder / "images").iterdir() if path.is_dir())
    parts = ["train", "val"] if split == "trainval" else [split]
    missing = [part for part in parts if part not in known]
    if missing:
        offered = [*known, "trainval"] if {"train", "val"} <= set(known) else known
        raise DataError(f"{folder}: no split '{missing[0]}'.{nearest(split, offered)}")
    return parts
