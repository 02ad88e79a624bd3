"""Where a training sample is cut out of its image, and how a batch is turned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

MARGIN = 0.125
"""No crop is centred within this share of its side from the border, nor close to it."""

Array = NDArray[Any]
Crop = Callable[[NDArray[np.uint8], Array, int, np.random.Generator], tuple[NDArray[np.uint8], Array]]


def pad_to_square(image: Array) -> Array:
    """Mirror the short side of (H, W) or (H, W, C) at both ends; an odd pixel goes to the bottom or right."""
    size = max(image.shape[:2])
    margin = [((size - side) // 2, (size - side + 1) // 2) for side in image.shape[:2]]
    return np.pad(image, [*margin, *[(0, 0)] * (image.ndim - 2)], mode="symmetric")


def crop_centres(image: NDArray[np.uint8], side: int) -> NDArray[np.bool_]:
    """Where the released rule may centre a crop of `side` pixels in `image` uint8 (H, W, 3): bool (H, W).

    Half the crop's diagonal must lie between the centre and every black pixel and the frame, an eighth of the
    crop wide. In images of less than about 1.66 crops that is nowhere.
    """
    reach = np.sqrt(2) / 2 * side
    frame = int(side * MARGIN)
    far = [np.minimum(np.arange(size), np.arange(size)[::-1]) - frame + 1 > reach for size in image.shape[:2]]
    centres = np.logical_and.outer(*far)
    black = np.asarray(Image.fromarray(image).convert("L")) == 0
    if black.any() and centres.any():
        centres &= ndimage.distance_transform_edt(~black) > reach
    return centres


def released_crop(
    image: NDArray[np.uint8], edge: Array, side: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Array]:
    """A square of `side` pixels from the image mirrored to a square, as the authors' code cuts it.

    The centre is drawn uniformly among `crop_centres`; where there is none, the crop lies in the middle. A square
    smaller than the crop is enlarged bilinearly. The authors flip before they crop, which moves the window of a
    flipped image by one pixel.

    Args:
        image: uint8 (H, W, 3).
        edge: bool or uint8 (H, W).
        side: Of the crop, pixels.
        rng: One number is drawn where there is a choice.

    Returns:
        `image` and `edge` of (side, side), of their own dtypes.
    """
    image, edge = pad_to_square(image), pad_to_square(edge)
    size = len(edge)
    if size < side:
        return _enlarged(image, side), _enlarged(edge.astype(np.uint8), side).astype(edge.dtype)
    centres = np.flatnonzero(crop_centres(image, side))
    if len(centres):
        row, column = divmod(int(centres[rng.integers(len(centres))]), size)
        top, left = row - side // 2, column - side // 2
    else:
        top = left = (size - side) // 2
    window = slice(top, top + side), slice(left, left + side)
    return image[window], edge[window]


def uniform_crop(
    image: NDArray[np.uint8], edge: Array, side: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Array]:
    """A square of `side` at a uniformly drawn place; a smaller image is mirrored at its bottom and right.

    Arguments and returns are those of `released_crop`. For images hardly larger than the crop, of which the
    released rule would only ever show the middle.
    """
    missing = [(0, max(side - size, 0)) for size in edge.shape]
    if any(after for _, after in missing):
        image = np.pad(image, [*missing, (0, 0)], mode="symmetric")
        edge = np.pad(edge, missing, mode="symmetric")
    top, left = (int(rng.integers(size - side + 1)) for size in edge.shape)
    window = slice(top, top + side), slice(left, left + side)
    return image[window], edge[window]


CROPS: dict[str, Crop] = {"released": released_crop, "uniform": uniform_crop}


def turn_to(sample: dict[str, Tensor], upright: bool) -> dict[str, Tensor]:
    """The sample turned by 90 degrees if it does not stand (or lie) as asked; a square one lies.

    `turn` (2,) of the sample holds coins: the second one decides to which side. So the authors' code makes whole
    images of a batch alike, and turns every second batch of square crops.
    """
    height, width = sample["edge"].shape
    if (height > width) == upright:
        return sample
    quarter = 1 if sample["turn"][1] else -1
    return {key: sample[key].rot90(quarter, (-2, -1)) for key in ("image", "edge")}


def _enlarged(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
