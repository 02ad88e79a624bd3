"""What all layouts share: images by id, and annotations of the same size beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

# The module, not its function: it imports this package.
from edgebench.data import edge_maps
from edgebench.data.adapters.listing import find_path, index_by_id, some_names
from edgebench.data.images import IMAGE_SUFFIXES, image_size, read_image
from edgebench.errors import DataError


class Images:
    """Images by id, read only when asked for.

    Args:
        folder: Where the data set lies, for messages.
        pairs: Id and file of each image.

    Raises:
        DataError: there is no image, or two would share an id.
    """

    def __init__(self, folder: Path, pairs: Iterable[tuple[str, Path]]) -> None:
        self._folder = folder
        self._paths = index_by_id(pairs, folder)
        self.ids = list(self._paths)

    def image_path(self, image_id: str) -> Path:
        """File of an image."""
        return find_path(self._paths, image_id, self._folder)

    def image(self, image_id: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return read_image(self.image_path(image_id))

    def size(self, image_id: str) -> tuple[int, int]:
        """(H, W) from the image's header."""
        return image_size(self.image_path(image_id))


class AnnotatedImages(Images):
    """Images with the boundaries of one or several annotators.

    Args:
        folder: Where the data set lies, for messages.
        pairs: Id and file of each image.
        annotations: By id, the files that hold its annotators: BSDS `.mat`, or `.png` with edges from level 128.

    Raises:
        DataError: there is no image, or two would share an id.
    """

    def __init__(self, folder: Path, pairs: Iterable[tuple[str, Path]], annotations: Mapping[str, list[Path]]) -> None:
        super().__init__(folder, pairs)
        self._annotations = annotations

    def boundaries(self, image_id: str) -> list[np.ndarray]:
        """One bool (H, W) per annotator.

        Raises:
            DataError: there is no annotation, or its size is not the image's.
        """
        image = self.image_path(image_id)
        height, width = self.size(image_id)
        masks: list[np.ndarray] = []
        for path in self._annotations[image_id]:
            if not path.is_file():
                raise DataError(f"{path}: image {image_id} has no annotation. Fetch the data set again.")
            for mask in edge_maps.read_boundaries(path):
                if mask.shape != (height, width):
                    found = " x ".join(map(str, mask.shape))
                    raise DataError(
                        f"{path}: annotations of {found}, but {image} is {height} x {width} "
                        f"(height x width). Fetch the data set again."
                    )
                masks.append(mask)
        return masks


def files_by_id(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Files directly in `folder` by their name without suffix; empty when there is no such folder.

    Raises:
        DataError: two files share a name.
    """
    if not folder.is_dir():
        return {}
    suffixes = frozenset(suffixes)
    pairs = [
        (path.stem, path)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    ]
    return index_by_id(pairs, folder) if pairs else {}


def check_pairs(images: Iterable[str], annotated: Iterable[str], image_folder: Path, annotation_folder: Path) -> None:
    """Make sure that every image has its annotation and the other way round.

    Raises:
        DataError: some do not; names the first ones and both folders.
    """
    images, annotated = set(images), set(annotated)
    if images - annotated:
        raise DataError(
            f"{annotation_folder}: {len(images - annotated)} images have no annotation: "
            f"{some_names(images - annotated)}. Fetch the data set again, or remove these images."
        )
    if annotated - images:
        raise DataError(
            f"{image_folder}: {len(annotated - images)} annotations have no image: "
            f"{some_names(annotated - images)}. Fetch the data set again, or remove these annotations."
        )
