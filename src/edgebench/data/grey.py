"""Grey maps in [0, 1] from the files people have, found by the name of their image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.errors import DataError


def read_grey(path: str | Path, what: str, formats: tuple[str, ...] = ("PNG",)) -> NDArray[np.float64]:
    """Read an image file as a grey map: 8 bits are divided by 255, 16 bits by 65535.

    Args:
        path: The file.
        what: What errors call it, such as `edge map`.
        formats: Pillow's names of the formats accepted.

    Returns:
        float64 (H, W) in [0, 1].

    Raises:
        DataError: as `grey_pixels`.
    """
    pixels = grey_pixels(path, what, formats)
    if pixels.dtype == bool:
        return pixels.astype(np.float64)
    # Exactly level/255: 51/255 and its like must meet the thresholds they are equal to.
    return pixels.astype(np.float64) / np.iinfo(pixels.dtype).max


def grey_pixels(path: str | Path, what: str, formats: tuple[str, ...] = ("PNG",)) -> NDArray[Any]:
    """Read an image file that shows nothing but grey, as it is stored.

    A palette or RGB file is accepted when all its pixels are grey, an alpha channel when it is opaque
    everywhere; a colour picture is refused, because it is an overlay or a colour map far more often than a map.

    Args:
        path: The file.
        what: What errors call it, such as `edge map`.
        formats: Pillow's names of the formats accepted.

    Returns:
        bool, uint8 or uint16 (H, W).

    Raises:
        DataError: the file is missing, damaged, of another kind, coloured or transparent, or has values beyond 16 bits.
    """
    from PIL import Image

    path = Path(path)
    _require_file(path)
    try:
        with Image.open(path, formats=formats) as file:
            image: Image.Image = file
            if "transparency" in file.info and not file.mode.startswith("I"):
                image = file.convert("RGBA")
            elif file.mode == "P":
                image = file.convert("RGB")
            mode, pixels = image.mode, np.array(image)
    except Exception as error:  # Pillow raises half a dozen kinds for a damaged file
        raise DataError(
            f"{path}: not a readable {' or '.join(formats)} ({error}). It may be truncated; write or copy it again."
        ) from error
    if mode == "CMYK" or pixels.dtype.kind not in "bui":
        raise DataError(f"{path}: pixels of the kind {mode}. Save the {what} as a plain grey PNG of 8 or 16 bits.")
    if mode in ("LA", "RGBA"):
        if (pixels[..., -1] != 255).any():
            raise DataError(f"{path}: has transparent pixels. Save the {what} as a plain grey PNG.")
        pixels = pixels[..., :-1]
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise DataError(
                f"{path}: a colour picture, so it is unclear what counts in this {what}. Save it as a grey PNG."
            )
        pixels = pixels[..., 0]
    if pixels.dtype in (bool, np.uint8, np.uint16):
        return pixels
    if pixels.min() < 0 or pixels.max() > 65535:
        raise DataError(f"{path}: values from {pixels.min()} to {pixels.max()}. Save the {what} with 8 or 16 bits.")
    return pixels.astype(np.uint16)


def read_grey_array(path: str | Path, what: str) -> NDArray[np.float64]:
    """Read an .npy file as a grey map: floats as they are, integers divided by their type's largest value.

    Args:
        path: The file; booleans are accepted too.
        what: What errors call it, such as `edge map`.

    Returns:
        float64 (H, W) in [0, 1].

    Raises:
        DataError: the file is missing, damaged, not (H, W), or its values are not in [0, 1].
    """
    path = Path(path)
    _require_file(path)
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:
        raise DataError(f"{path}: not a readable .npy array ({error}). Write it again.") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2:
        raise DataError(f"{path}: the {what} has the shape (H, W), this is {getattr(values, 'shape', 'an archive')}.")
    if values.dtype == bool:
        return values.astype(np.float64)
    if np.issubdtype(values.dtype, np.integer):
        if values.max(initial=0) == 1:
            raise DataError(f"{path}: integers 0 and 1. Save booleans or floats, or 1 as the type's maximum.")
        return in_unit_range(path, values.astype(np.float64) / np.iinfo(values.dtype).max, what)
    if np.issubdtype(values.dtype, np.floating):
        return in_unit_range(path, values, what)
    raise DataError(f"{path}: values of the type {values.dtype}; floats, integers or booleans are expected.")


def in_unit_range(path: Path, values: NDArray[Any], what: str) -> NDArray[np.float64]:
    """`values` as float64.

    Raises:
        DataError: there is none, or one is not in [0, 1].
    """
    values = np.array(values, np.float64)
    if values.size == 0:
        raise DataError(f"{path}: holds no pixel.")
    if not np.isfinite(values).all():
        raise DataError(f"{path}: holds values that are not finite.")
    low, high = values.min(), values.max()
    if low < 0 or high > 1:
        raise DataError(f"{path}: values from {low:g} to {high:g}; the {what} lies in [0, 1]. Scale it first.")
    return values


def files_by_id(folder: Path, suffixes: tuple[str, ...], what: str, subfolders: bool = False) -> dict[str, Path]:
    """Files of a folder by image id, which is the name without the suffix.

    Args:
        folder: Where to look; not below it.
        suffixes: Of the files that count; others, and hidden ones, are passed over.
        what: What errors call the files, in the plural.
        subfolders: Whether a folder that holds a PNG counts too.

    Raises:
        DataError: the folder is missing or holds none, or an id occurs twice.
    """
    if folder.is_file():
        raise DataError(f"{folder}: is a file. Name the folder of {what} that it lies in.")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of {what}.")
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if counts_as(entry, suffixes):
            key = entry.stem
        elif subfolders and entry.is_dir() and any(counts_as(file, (".png",)) for file in entry.iterdir()):
            key = entry.name
        else:
            continue
        if key in found:
            raise DataError(f"{folder}: {found[key].name} and {entry.name} both stand for {key}. Remove one.")
        found[key] = entry
    if not found:
        within = [entry for entry in sorted(folder.iterdir()) if entry.is_dir()]
        hint = f" Did you mean {within[0]}?" if within else ""
        raise DataError(f"{folder}: no {what} ({', '.join(suffixes)}) in this folder.{hint}")
    return found


def counts_as(file: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether this is a file with one of `suffixes` that is not hidden."""
    return file.suffix.lower() in suffixes and not file.name.startswith(".") and file.is_file()


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
