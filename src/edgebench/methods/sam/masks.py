"""Binary masks in little memory: only the box around the foreground is kept, one bit per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PackedMask:
    """The foreground of a mask.

    Attributes:
        top: First row of the box around the foreground.
        left: First column.
        height: Rows of the box; 0 for an empty mask.
        width: Columns of the box.
        area: Number of foreground pixels.
        bits: The box, row by row, 8 pixels a byte.
    """

    top: int
    left: int
    height: int
    width: int
    area: int
    bits: bytes

    def unpack(self) -> Mask:
        """The box as bool (height, width)."""
        count = self.height * self.width
        bits = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=count)
        return bits.reshape(self.height, self.width).astype(bool)

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the box lies in the image."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def pack(mask: Mask, top: int = 0, left: int = 0) -> PackedMask:
    """Pack a mask.

    Args:
        mask: bool (h, w), the whole image or a part of it.
        top: Row of the image at which `mask` begins.
        left: Column of the image at which `mask` begins.
    """
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if rows.size == 0:
        return PackedMask(top, left, 0, 0, 0, b"")
    first, start = int(rows[0]), int(columns[0])
    box = mask[first : rows[-1] + 1, start : columns[-1] + 1]
    height, width = box.shape
    return PackedMask(top + first, left + start, height, width, int(box.sum()), np.packbits(box).tobytes())
