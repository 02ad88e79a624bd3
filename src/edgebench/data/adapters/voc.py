"""PASCAL VOC 2012 (Everingham et al., IJCV 2010), and beside it SBD (Hariharan et al., ICCV 2011).

    JPEGImages/2007_000032.jpg
    ImageSets/Segmentation/{train,val,trainval}.txt       ImageSets/Main/SPLIT.txt is the split `main_SPLIT`
    SegmentationClass/2007_000032.png                     palette: 1 to 20 a class, 255 void (the band along outlines)
    SegmentationObject/2007_000032.png                    palette: 1, 2, ... an object, 255 void
    cls/2008_000002.mat, inst/2008_000002.mat             SBD's classes and objects, without void

SBD lies in the folder itself or in `benchmark_RELEASE/dataset` or `SBD` of it. With it there is a split `trainaug`, the
10,582 images on which segmentation is usually trained: VOC's train split and all of SBD, but for VOC's val split. An
image that both annotate is taken from VOC.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.data import panoptic as panoptic_files  # the modules, not their names: they import this package
from edgebench.data import semantic as class_maps
from edgebench.data.adapters.base import Images
from edgebench.data.adapters.listing import require_folder, some_names
from edgebench.data.images import describe_content
from edgebench.data.instances import Instance, Instances, encode
from edgebench.errors import DataError, nearest

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
VOID = 255
GROUND = 0
"""Class of the background, which panoptic segmentation of VOC counts as its one class of stuff."""
AUGMENTED = "trainaug"
_NESTING = ("VOCdevkit/VOC2012", "VOC2012", ".")
_SBD = (".", "benchmark_RELEASE/dataset", "SBD")


class VocDataset(Images):
    """One split of VOC.

    Args:
        folder: Holds `JPEGImages` and so on, or the folders `VOCdevkit/VOC2012` of the archive.
        split: Name of a list in `ImageSets/Segmentation`, `main_` and the name of one in `ImageSets/Main`, or
            `trainaug`.

    Raises:
        DataError: a folder or split is missing, or an image that its list names.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        root = next((folder / each for each in _NESTING if (folder / each / "JPEGImages").is_dir()), None)
        if root is None:
            raise DataError(
                f"{folder}: not the layout of VOC. It holds JPEGImages, ImageSets and so on; name the folder that was "
                f"unpacked with `edgebench fetch NAME --mirror FOLDER`."
            )
        self._root = root
        places = [place / each for place in dict.fromkeys((root, folder)) for each in _SBD]
        self._sbd = next((place for place in places if (place / "inst").is_dir()), None)
        names = self._listed(split)
        images = {name: root / "JPEGImages" / f"{name}.jpg" for name in names}
        there = {path.name for path in (root / "JPEGImages").iterdir()}
        if absent := [path.name for path in images.values() if path.name not in there]:
            raise DataError(
                f"{root / 'JPEGImages'}: {len(absent)} of the {len(names)} images of split '{split}' are missing: "
                f"{some_names(absent)}. Fetch the data set again."
            )
        super().__init__(folder, images.items())

    def _listed(self, split: str) -> list[str]:
        lists = self._root / "ImageSets"
        known = {path.stem: path for path in sorted((lists / "Segmentation").glob("*.txt"))}
        known |= {f"main_{path.stem}": path for path in sorted((lists / "Main").glob("*.txt"))}
        if split in known:
            return _names(known[split])
        if split != AUGMENTED:
            raise DataError(f"{self._root}: no split '{split}'.{nearest(split, [*known, AUGMENTED])}")
        if self._sbd is None or not {"train", "val"} <= known.keys():
            raise DataError(
                f"{self._root}: split '{split}' needs ImageSets/Segmentation/{split}.txt or SBD. Unpack SBD's "
                f"benchmark.tgz there, so that it holds {_SBD[1]}/inst."
            )
        sbd = {path.stem for path in (self._sbd / "inst").glob("*.mat")}
        return sorted((sbd | set(_names(known["train"]))) - set(_names(known["val"])))

    def instances(self, image_id: str) -> Instances:
        """Objects of an image with their classes; pixels of the void band belong to none.

        Raises:
            DataError: there is no annotation of objects, or it is damaged or of another size.
        """
        objects, classes, source = self._objects(image_id)
        items = [Instance(encode(objects == key), category=category) for key, category in classes.items()]
        if unknown := sorted(set(classes.values()) - self.categories.keys() | {GROUND} & set(classes.values())):
            raise DataError(f"{source}: an object of class {unknown[0]}; classes are 1 to {len(CLASSES)}.")
        return Instances((objects.shape[0], objects.shape[1]), items)

    def panoptic(self, image_id: str) -> tuple[NDArray[np.uint32], dict[int, panoptic_files.Segment]]:
        """Segments, uint32 (H, W): objects, and the ground as one, with a number above all of theirs; 0 = void."""
        objects, classes, _ = self._objects(image_id)
        ground = 1 + VOID
        ids = objects.astype(np.uint32)
        ids[objects == 0] = ground
        ids[objects == VOID] = 0
        categories = {**classes, ground: GROUND}
        present, areas = np.unique(ids, return_counts=True)
        seen = [(number, area) for number, area in zip(present.tolist(), areas.tolist(), strict=True) if number]
        return ids, {number: panoptic_files.Segment(categories[number], area=area) for number, area in seen}

    def semantic(self, image_id: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Class of each pixel, uint8 (H, W): 0 = background, 255 = void.

        Raises:
            DataError: there is no annotation of classes, or it is damaged or of another size.
        """
        path = self._root / "SegmentationClass" / f"{image_id}.png"
        if path.is_file():
            classes = class_maps.read_semantic(path).astype(np.uint8)
        else:
            path = self._in_sbd("cls", image_id)
            classes = _sbd_field(path, "GTcls", "Segmentation").astype(np.uint8)
        self._require_size(image_id, classes.shape, path)
        return classes

    @property
    def categories(self) -> dict[int, panoptic_files.Category]:
        """The background and the twenty classes of things."""
        things = {key: panoptic_files.Category(name, thing=True) for key, name in enumerate(CLASSES, 1)}
        return {GROUND: panoptic_files.Category("background", thing=False), **things}

    def _objects(self, image_id: str) -> tuple[NDArray[Any], dict[int, int], Path]:
        """Map of the objects (0 = background, 255 = void), class of each of them, and the file of both."""
        path = self._root / "SegmentationObject" / f"{image_id}.png"
        if not path.is_file():
            path = self._in_sbd("inst", image_id)
            objects: NDArray[Any] = _sbd_field(path, "GTinst", "Segmentation").astype(np.int64)
            listed = _sbd_field(path, "GTinst", "Categories").ravel().tolist()
            keys = [key for key in np.unique(objects).tolist() if key]
            if keys and keys[-1] > len(listed):
                raise DataError(f"{path}: object {keys[-1]} has no class among its {len(listed)}. Fetch it again.")
            self._require_size(image_id, objects.shape, path)
            return objects, {key: int(listed[key - 1]) for key in keys}, path
        objects, classes = class_maps.read_semantic(path), self.semantic(image_id)
        self._require_size(image_id, objects.shape, path)
        found = {}
        for key in np.unique(objects).tolist():
            if key not in (0, VOID):
                # The two files differ in some pixels along outlines: an object has the class of most of its pixels.
                found[key] = int(np.bincount(classes[objects == key]).argmax())
        return objects, found, path

    def _in_sbd(self, part: str, image_id: str) -> Path:
        self.image_path(image_id)
        path = (self._sbd or self._root) / part / f"{image_id}.mat"
        if not path.is_file():
            raise DataError(
                f"{self._root}: image {image_id} has no annotation, neither SegmentationObject/{image_id}.png nor "
                f"{part}/{image_id}.mat of SBD. Choose a split of ImageSets/Segmentation."
            )
        return path


def _names(path: Path) -> list[str]:
    names = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    if not names:
        raise DataError(f"{path}: lists no image. Fetch the data set again.")
    return names


def _sbd_field(path: Path, struct: str, field: str) -> NDArray[Any]:
    from scipy.io import loadmat

    try:
        return np.asarray(loadmat(path, variable_names=[struct])[struct][field][0, 0])
    except Exception as error:  # SciPy raises whatever its parser stumbles over
        what = describe_content(path) or f"holds no struct {struct} with a field {field} ({error!r})"
        raise DataError(f"{path}: {what}. Delete it and fetch the data set again.") from error
