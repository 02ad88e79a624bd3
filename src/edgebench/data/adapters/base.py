"""What all layouts share: images by id, and annotations of the same size beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

# The modules, not their functions: they import this package.
from edgebench.data import edge_maps
from edgebench.data import masks as mask_files
from edgebench.data import panoptic as panoptic_files
from edgebench.data.adapters.listing import files_below, find_path, index_by_id, require_folder, some_names
from edgebench.data.images import IMAGE_SUFFIXES, image_size, read_image, stored_size
from edgebench.data.instances import Instances
from edgebench.errors import DataError

LISTED = 10
"""So many files are named in a message about several."""


class Unannotated:
    """What data sets say of the annotations that they do not have; layouts replace what they do have."""

    _folder: Path

    def boundaries(self, image_id: str) -> list[np.ndarray]:
        """An error, unless the layout has annotations of edges.

        Raises:
            DataError: always.
        """
        self._lacks("boundaries", f"asked for {image_id!r}", "annotated edges, such as one of layout `bsds`")

    def mask(self, image_id: str) -> np.ndarray:
        """An error, unless the layout has masks.

        Raises:
            DataError: always.
        """
        self._lacks("masks", f"asked for {image_id!r}", "masks, such as one of layout `dis5k` or `pairs`")

    def instances(self, image_id: str) -> Instances:
        """An error, unless the layout has instances.

        Raises:
            DataError: always.
        """
        self._lacks("instances", f"asked for {image_id!r}", "instances, such as one of layout `coco` or `voc`")

    def panoptic(self, image_id: str) -> tuple[NDArray[np.uint32], dict[int, panoptic_files.Segment]]:
        """An error, unless the layout has panoptic maps.

        Raises:
            DataError: always.
        """
        self._lacks("panoptic maps", f"asked for {image_id!r}", "panoptic maps, such as one of layout `coco`")

    def semantic(self, image_id: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """An error, unless the layout has maps of classes.

        Raises:
            DataError: always.
        """
        self._lacks("maps of classes", f"asked for {image_id!r}", "them, such as one of layout `coco` or `voc`")

    @property
    def categories(self) -> Mapping[int, panoptic_files.Category]:
        """An error, unless the layout has classes.

        Raises:
            DataError: always.
        """
        self._lacks("classes", "asked for their names", "classes, such as one of layout `coco` or `voc`")

    def _lacks(self, what: str, asked: str, others: str) -> NoReturn:
        raise DataError(f"{self._folder}: has no {what} ({asked}). Choose a data set with {others}.")


class Images(Unannotated):
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

    def _require_size(self, image_id: str, shape: tuple[int, ...], annotation: Path) -> None:
        """Raise a DataError when an annotation is not of its image's size."""
        if shape != self.size(image_id):
            height, width = self.size(image_id)
            raise DataError(
                f"{annotation}: {' x '.join(map(str, shape))} pixels, but {self.image_path(image_id)} has {height} x "
                f"{width} (height x width). Do the two belong together? Fetch the data set again."
            )


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


class MaskedImages(Images):
    """The images of one folder, each with the mask of the same name in another.

    Names count without their suffixes and with the folders above them, `/` as `__`; images and masks may be files of
    different kinds. What lies in only one of the folders is an error, never passed over. An image whose EXIF
    orientation turns it is turned, unless its mask fits the image as it is stored and not as it is shown.

    Args:
        images: Folder of images.
        masks: Folder of masks: PNG, JPEG, TIFF or BMP, bright = foreground; see `edgebench.data.masks.read_levels`.

    Raises:
        DataError: a folder is missing or holds no image, two files share a name, or one has no partner.
    """

    def __init__(self, images: Path, masks: Path) -> None:
        require_folder(images)
        require_folder(masks)
        super().__init__(images, files_below(images))
        self._masks = index_by_id(files_below(masks, mask_files.FORMATS), masks)
        lonely = [
            f"{folder} has no {what} for {_some_files(there, there.keys() - here.keys())}"
            for folder, what, here, there in (
                (masks, "mask", self._masks, self._paths),
                (images, "image", self._paths, self._masks),
            )
            if there.keys() - here.keys()
        ]
        if lonely:
            raise DataError(
                f"{'; '.join(lonely)}. Images and masks are matched by their names without the suffix: put the missing "
                f"files there, or remove these."
            )

    def image(self, image_id: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB, turned as its mask is."""
        return read_image(self.image_path(image_id), turn=self._turned(image_id))

    def size(self, image_id: str) -> tuple[int, int]:
        """(H, W) of the image as `image` gives it, from the files' headers."""
        path = self.image_path(image_id)
        return image_size(path) if self._turned(image_id) else stored_size(path)

    def _turned(self, image_id: str) -> bool:
        path = self.image_path(image_id)
        stored = stored_size(path)
        return stored != stored_size(self.mask_path(image_id)) or stored == image_size(path)

    def mask_path(self, image_id: str) -> Path:
        """File of a mask."""
        return find_path(self._masks, image_id, self._folder)

    def mask(self, image_id: str) -> np.ndarray:
        """Foreground of an image, uint8 (H, W), 0 to 255 with the levels between as they are.

        Raises:
            DataError: the mask is damaged, coloured or transparent, has another size than the image, or is so dark
                that its foreground is meant by level 1.
        """
        path = self.mask_path(image_id)
        levels = mask_files.read_levels(path)
        if levels.shape != self.size(image_id):
            raise DataError(f"{self._other_size(image_id, levels.shape)}. Replace one of them.")
        if levels.max() == 1:
            raise DataError(f"{path}: its brightest level is 1 of 255, so it shows nothing. Write foreground as 255.")
        return levels

    def check_sizes(self) -> None:
        """Compare each mask's size with its image's, by the files' headers.

        Raises:
            DataError: some differ; the message names the first ones.
        """
        sizes = {image_id: stored_size(self.mask_path(image_id)) for image_id in self.ids}
        differing = [self._other_size(each, size) for each, size in sizes.items() if size != self.size(each)]
        if differing:
            more = f"\n  and {len(differing) - LISTED} more" if len(differing) > LISTED else ""
            raise DataError(
                f"{self._folder}: {len(differing)} of {len(self.ids)} masks have another size than their images:\n  "
                + "\n  ".join(differing[:LISTED])
                + f"{more}\nReplace or remove these images and masks, then type the same command again."
            )

    def _other_size(self, image_id: str, size: tuple[int, ...]) -> str:
        ours, theirs = (f"{width} x {height}" for height, width in (size, self.size(image_id)))
        return (
            f"{self.mask_path(image_id)}: {ours} pixels (width x height), but {self.image_path(image_id)} has {theirs}"
        )


def _some_files(paths: Mapping[str, Path], ids: Iterable[str]) -> str:
    chosen = [paths[each].name for each in ids]
    return f"{len(chosen)} file{'s' if len(chosen) > 1 else ''} ({some_names(chosen)})"


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
