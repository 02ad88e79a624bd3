"""Reading foreground masks, pairing them with predictions, and keeping their skeletons."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgebench.data.adapters.listing import some_names
from edgebench.data.grey import files_by_id, grey_pixels, read_grey, read_grey_array
from edgebench.errors import DataError
from edgebench.files import atomic_path

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
MASK_SUFFIXES = (*FORMATS, ".npy")


class MaskPair(NamedTuple):
    """One image: its id, the file of its prediction and the file of its ground truth."""

    id: str
    prediction: Path
    truth: Path


class MaskPairs(NamedTuple):
    """What two folders have in common, and what they do not.

    Attributes:
        pairs: In ASCII order of id; at least one.
        without_prediction: Ids that only the ground truth has.
        without_truth: Ids that only the predictions have.
    """

    pairs: list[MaskPair]
    without_prediction: list[str]
    without_truth: list[str]


def read_mask(path: str | Path) -> NDArray[np.float64]:
    """Read a mask or a soft prediction of one, bright = foreground.

    Images have 8 or 16 bits (PNG, JPEG, BMP, TIFF) and are grey in all their pixels. Arrays (.npy) hold floats
    in [0, 1], integers that are divided by the largest value of their type, or booleans.

    Args:
        path: The file.

    Returns:
        float64 (H, W) in [0, 1]; levels of 8 bits as exactly level / 255.

    Raises:
        DataError: the file is missing, damaged, of another kind, or its values are not in [0, 1].
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return read_grey_array(path, "mask")
    if suffix in FORMATS:
        return read_grey(path, "mask", (FORMATS[suffix],))
    raise DataError(f"{path}: a mask is a file of the kind {', '.join(MASK_SUFFIXES)}.")


def read_levels(path: str | Path) -> NDArray[np.uint8]:
    """Read a mask as `read_mask` does, but from images alone and in 256 levels, which is faster.

    Args:
        path: A file with one of the suffixes in `FORMATS`.

    Returns:
        uint8 (H, W); 16 bits are rounded to 8.

    Raises:
        DataError: the file is missing, damaged, of another kind, coloured or transparent.
    """
    pixels = grey_pixels(path, "mask", (FORMATS[Path(path).suffix.lower()],))
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return pixels * np.uint8(255) if pixels.dtype == bool else pixels


def resize_mask(mask: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Bring a soft mask to another size, aspect ignored: Pillow's bicubic, in 8 bits where the mask has 8.

    That is what the scorer released with DiffDIS does to predictions.

    Args:
        mask: float64 (H, W) in [0, 1].
        shape: Height and width wanted.

    Returns:
        float64 of that shape in [0, 1].
    """
    from PIL import Image

    size = (shape[1], shape[0])
    levels = np.rint(mask * 255)
    if np.array_equal(levels / 255, mask):
        resized = Image.fromarray(levels.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        return np.asarray(resized).astype(np.float64) / 255
    soft = Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    return np.clip(np.asarray(soft).astype(np.float64), 0, 1)


def pair_masks(predictions: str | Path, ground_truth: str | Path, skip_missing: bool = False) -> MaskPairs:
    """Find each image's prediction and ground truth by name: `<id>.png` and its like in both folders.

    Args:
        predictions: Folder of predictions.
        ground_truth: Folder of masks.
        skip_missing: Go on with what both folders have.

    Raises:
        DataError: a folder is missing or empty, an id occurs twice, the two sets of ids differ and that was
            not to be skipped, or they have nothing in common.
    """
    predictions, ground_truth = Path(predictions), Path(ground_truth)
    ours = files_by_id(predictions, MASK_SUFFIXES, "predicted masks")
    theirs = files_by_id(ground_truth, MASK_SUFFIXES, "masks")
    without_prediction, without_truth = sorted(theirs.keys() - ours.keys()), sorted(ours.keys() - theirs.keys())
    common = sorted(ours.keys() & theirs.keys())
    problems = []
    if without_prediction:
        problems.append(f"{predictions} has no prediction for {_some(without_prediction)}")
    if without_truth:
        problems.append(f"{ground_truth} has no mask for {_some(without_truth)}")
    lower = {key.lower(): key for key in without_truth}
    alike = [f"{lower[key.lower()]} and {key}" for key in without_prediction if key.lower() in lower]
    if alike:
        problems.append(f"upper and lower case count as different, as in {some_names(alike)}")
    if not common:
        raise DataError(f"{'; '.join(problems)}. Files are matched by their names without the suffix.")
    if problems and not skip_missing:
        raise DataError(
            f"{'; '.join(problems)}. A file is matched by its name without the suffix. Put the missing files "
            f"there, or go on without them with --skip-missing."
        )
    return MaskPairs([MaskPair(key, ours[key], theirs[key]) for key in common], without_prediction, without_truth)


def kept_skeleton(
    mask: NDArray[np.bool_], folder: str | Path, draw: Callable[[NDArray[np.bool_]], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """The skeleton of a mask, from a folder that keeps it or drawn and put there.

    The file is named by the SHA-256 of the mask's size and pixels, so that it fits whatever file the mask came
    from; several processes may use one folder.

    Args:
        mask: bool (H, W).
        folder: Where skeletons lie as 1-bit PNG; made when it is missing.
        draw: Gives the skeleton of a mask, bool (H, W).

    Raises:
        DataError: a kept skeleton is damaged.
        EdgebenchError: the folder cannot be written.
    """
    from PIL import Image

    key = hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest()
    path = Path(folder) / f"{key}.png"
    if path.exists():
        kept = read_grey(path, "skeleton") > 0
        if kept.shape != mask.shape:
            raise DataError(f"{path}: this skeleton has another size than its mask. Delete it; it is drawn again.")
        return kept
    skeleton = draw(mask)
    with atomic_path(path) as temporary:
        Image.fromarray(skeleton).save(temporary)
    return skeleton


def _some(ids: list[str]) -> str:
    return f"{len(ids)} image{'s' if len(ids) > 1 else ''} ({some_names(ids)})"
