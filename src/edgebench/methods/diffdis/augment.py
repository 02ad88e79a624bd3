"""Training samples of DiffDIS: geometry and colours of one picture, then CutMix between two.

Sizes and probabilities are those of the authors' code; the paper names no change of colours.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

AREA = 0.02, 0.4
ASPECT = 0.3, 1 / 0.3
ANGLES = -15, 15
P_FLIP, P_ROTATE, P_MIX = 0.5, 0.2, 0.5
# In this order; factors in tenths, from the first to the last.
_COLOURS = (
    (ImageEnhance.Brightness, 5, 15),
    (ImageEnhance.Contrast, 5, 15),
    (ImageEnhance.Color, 0, 20),
    (ImageEnhance.Sharpness, 0, 30),
)


def move(pictures: list[Image.Image], rng: np.random.Generator, margin: int) -> list[Image.Image]:
    """Flip, crop and turn image, mask and edge alike.

    Half of them are exchanged left to right; up to `margin` pixels of each side length are cut off around
    the centre; every fifth is turned by -15 to 14 degrees, with black corners.

    Args:
        pictures: Pictures of one size.
        rng: Source of the choices.
        margin: Largest number of columns, and of rows, cut off; at most half of them.
    """
    if rng.random() < P_FLIP:
        pictures = [each.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for each in pictures]
    if margin:
        width, height = pictures[0].size
        w, h = (max(1, side - int(rng.integers(1, max(1, min(margin, side // 2)) + 1))) for side in (width, height))
        window = ((width - w) // 2, (height - h) // 2, (width + w) // 2, (height + h) // 2)
        pictures = [each.crop(window) for each in pictures]
    if rng.random() < P_ROTATE:
        angle = int(rng.integers(*ANGLES))
        pictures = [each.rotate(angle, Image.Resampling.BICUBIC) for each in pictures]
    return pictures


def recolour(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Change brightness, contrast, saturation and sharpness of an RGB image, always and in this order."""
    for enhance, lowest, highest in _COLOURS:
        image = enhance(image).enhance(int(rng.integers(lowest, highest + 1)) / 10)
    return image


def resized(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Bilinear with antialiasing, whatever the picture's aspect."""
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def mix_box(rng: np.random.Generator, height: int, width: int) -> Tensor:
    """A box for CutMix, int64 (4,): top, left, bottom, right; empty half of the time.

    Its area is a share of 0.02 to 0.4 of the picture, its height 0.3 to 3.3 times its width; shape and place
    are drawn until it lies inside.
    """
    box = [0, 0, 0, 0]
    if rng.random() < P_MIX:
        area = rng.uniform(*AREA) * height * width
        while True:
            aspect = rng.uniform(*ASPECT)
            h, w = int((area * aspect) ** 0.5), int((area / aspect) ** 0.5)
            top, left = int(rng.integers(height)), int(rng.integers(width))
            if top + h <= height and left + w <= width:
                box = [top, left, top + h, left + w]
                break
    return torch.tensor(box)


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes (B, 4) of `mix_box` as bool masks (B, 1, H, W)."""
    rows = torch.arange(height, device=boxes.device)[:, None]
    columns = torch.arange(width, device=boxes.device)
    top, left, bottom, right = boxes[:, :, None, None].unbind(1)
    return ((rows >= top) & (rows < bottom) & (columns >= left) & (columns < right))[:, None]


def mix_pairs(pictures: Tensor, boxes: Tensor) -> Tensor:
    """Put into each picture's box what its partner shows there (CutMix); partners are 0 and 1, 2 and 3, ...

    Args:
        pictures: (B, C, H, W); the last of an odd number stays as it is.
        boxes: bool (B, 1, H, W), each picture's own.
    """
    paired = len(pictures) // 2 * 2
    partners = pictures.clone()
    partners[:paired] = pictures[:paired].unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    return torch.where(boxes, partners, pictures)


def stretch(pictures: Tensor) -> Tensor:
    """Stretch each picture (B, C, H, W) from its lowest to its highest value, to [0, 1].

    A constant picture has nothing to stretch and keeps its value.
    """
    lowest, highest = (f(pictures, dim=(1, 2, 3), keepdim=True) for f in (torch.amin, torch.amax))
    varies = highest > lowest
    span = torch.where(varies, highest - lowest, torch.ones_like(lowest))
    return (pictures - torch.where(varies, lowest, torch.zeros_like(lowest))) / span
