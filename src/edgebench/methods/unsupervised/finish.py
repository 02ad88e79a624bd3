"""From masks on the grid of patches to masks of the image's size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgebench.methods.unsupervised.crf import Crf, CrfSettings
from edgebench.methods.unsupervised.maskcut import overlap


def finish(
    masks: NDArray[np.bool_],
    image: NDArray[np.uint8],
    size: int,
    crf: CrfSettings | None,
    least_kept: float = 0.5,
) -> NDArray[np.bool_]:
    """Enlarge masks to the working size, refine them, fill their holes, and bring them to the image's size.

    Patches become squares, the nearest patch deciding; a mask then goes through the CRF, alone. What it
    changes too much is dropped. Without the CRF, masks are only enlarged and filled.

    Args:
        masks: bool (n, h, w) on the grid.
        image: uint8 (H, W, 3) RGB.
        size: Side of the square in which the patches were cut, pixels.
        crf: Weights of the CRF; None leaves it out.
        least_kept: IoU of a mask before the CRF and after filling, below which it is dropped.

    Returns:
        bool (m, H, W), m at most n, none empty.
    """
    from scipy import ndimage

    large = np.stack([resized(mask, (size, size)) for mask in masks]) if len(masks) else masks
    refined = Crf(squared(image, size), crf).refine(large) if crf is not None and len(masks) else large
    kept = []
    for before, after in zip(large, refined, strict=True):
        filled = ndimage.binary_fill_holes(after)
        whole = resized(filled, image.shape[:2])
        if whole.any() and (crf is None or overlap(before, filled) >= least_kept):
            kept.append(whole)
    return np.stack(kept) if kept else np.zeros((0, *image.shape[:2]), dtype=bool)


def squared(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """An image uint8 (H, W, 3) resized to (size, size, 3), whatever its aspect; bilinear, over all that it covers."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def resized(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask bool (h, w) at another size (H, W): each pixel is that which its middle falls into."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(size, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]
