"""Pictures as TRACE's networks see them: squares in [-1, 1], whatever their aspect; and the eight ways to turn one."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Flip = Literal["none", "horizontal", "dihedral"]


def square(image: NDArray[np.uint8], size: int) -> Tensor:
    """A picture uint8 (H, W, 3) as uint8 (3, size, size), bilinear with antialiasing."""
    small = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()


def in_range(pictures: Tensor) -> Tensor:
    """Pictures of any shape and integer type, 0 to 255 -> float32 in [-1, 1]."""
    return pictures.float() / 127.5 - 1


def turned(values: Tensor, way: int) -> Tensor:
    """Values (..., n, n) turned in one of eight ways; 0 changes nothing, 1 exchanges left and right.

    Args:
        values: Square in the last two axes.
        way: Bit 0 exchanges left and right, bit 1 top and bottom, bit 2 rows and columns, in this order.
    """
    if way & 1:
        values = values.flip(-1)
    if way & 2:
        values = values.flip(-2)
    return values.transpose(-1, -2) if way & 4 else values


def drawn_way(rng: np.random.Generator, flip: Flip) -> int:
    """A way for `turned`: none, left and right exchanged half of the time, or any of the eight."""
    return int(rng.integers({"none": 1, "horizontal": 2, "dihedral": 8}[flip]))
