"""Class maps: PNG files of one number per pixel, the class, with or without a palette."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.data.adapters.listing import some_names
from edgebench.data.images import stored_values
from edgebench.errors import DataError
from edgebench.files import atomic_path

VOID = 255
"""Stands for pixels of no class, as in Pascal VOC, unless a class has this id."""
_BITS = 8
_SHOWN = 8


def read_semantic(path: str | Path) -> NDArray[np.uint16]:
    """Read a class map: the indices of a PNG with a palette, or the levels of a grey one of 8 or 16 bits.

    Returns:
        uint16 (H, W), the numbers as they are stored.

    Raises:
        DataError: the file is missing or damaged, or its pixels are colours.
    """
    mode, values = stored_values(path)
    if values.ndim != 2:
        raise DataError(
            f"{path}: pixels of the kind {mode}, where each should be the number of a class. Save the class map with "
            f"a palette or as grey levels, not as colours."
        )
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise DataError(f"{path}: numbers from {values.min()} to {values.max()}, which are no classes.")
    return values.astype(np.uint16)


def write_semantic(path: str | Path, classes: NDArray[np.integer[Any]]) -> None:
    """Write a class map (H, W) as PNG, whole or not at all.

    Numbers up to 255 are written as indices of VOC's palette, so that people see the classes; larger ones as grey
    levels of 16 bits.

    Raises:
        DataError: the array is not (H, W), or holds numbers below 0 or beyond 16 bits.
    """
    from PIL import Image

    if classes.ndim != 2 or not classes.size or classes.min() < 0 or classes.max() > np.iinfo(np.uint16).max:
        raise DataError(f"{path}: a class map is (H, W) of numbers with 16 bits, not {classes.dtype} {classes.shape}.")
    if classes.max() <= VOID:
        image = Image.fromarray(classes.astype(np.uint8))
        image.putpalette(voc_palette().tobytes())
    else:
        image = Image.fromarray(classes.astype(np.uint16))
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", compress_level=6)


def to_classes(
    path: Path, values: NDArray[np.uint16], categories: Collection[int], mapping: Mapping[int, int] | None
) -> NDArray[np.uint16]:
    """The classes that the numbers of a map stand for.

    Args:
        path: Where the map comes from, for messages.
        values: (H, W), the numbers.
        categories: Ids of the data set's classes. 0 and 255 stand for no class, where no class has that id.
        mapping: From number to class; None where the numbers are the ids.

    Returns:
        uint16 (H, W), ids of classes, or 0 or 255.

    Raises:
        DataError: a number has no place in the mapping, or is no class.
    """
    present = np.unique(values).tolist()
    chosen = {value: value for value in present} if mapping is None else mapping
    unplaced = [value for value in present if value not in chosen]
    if unplaced:
        raise DataError(
            f"{path}: holds {some_names(map(str, unplaced), _SHOWN)}, for which 'values' names no class. Add "
            f"`{unplaced[0]}: ID`, or `{unplaced[0]}: {VOID}` where it stands for none."
        )
    table = np.zeros(int(values.max()) + 1, np.uint16)
    unknown = [value for value in present if chosen[value] not in {*categories, 0, VOID}]
    if unknown:
        first = unknown[0]
        meant = f" (class {chosen[first]} by 'values')" if mapping is not None else ""
        raise DataError(
            f"{path}: {len(unknown)} of its {len(present)} numbers are no class of the data set, the first is "
            f"{first}{meant}. Its classes are {some_names(map(str, sorted(categories)), _SHOWN)}; say with 'values' "
            f"which of them each number stands for."
        )
    table[present] = [chosen[value] for value in present]
    return table[values]


def voc_palette() -> NDArray[np.uint8]:
    """The colours of Pascal VOC's class maps, uint8 (256, 3): the bits of the index, dealt to the three channels."""
    index = np.arange(256)[:, None]
    colours = np.zeros((256, 3), np.int64)
    for bit in range(_BITS):
        colours |= (index >> (3 * bit + np.arange(3)) & 1) << (_BITS - 1 - bit)
    return colours.astype(np.uint8)
