"""Reading images of every common kind as 8-bit RGB, and writing probability maps."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from edgebench.errors import DataError
from edgebench.files import atomic_path

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_SUFFIX_OF = {"BMP": ".bmp", "JPEG": ".jpg", "PNG": ".png", "PPM": ".ppm", "TIFF": ".tif", "WEBP": ".webp"}

MAX_PIXELS = 89_478_485
"""Larger pictures are refused: 8-bit RGB of this size takes a quarter of a GiB (Pillow's warning level)."""

# Above that size edgebench raises an error of its own; Pillow's warning would only add noise to it.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def describe_content(path: Path) -> str | None:
    """Say what a file holds when it plainly holds no data: nothing, an HTML page or a Git LFS pointer.

    Args:
        path: An existing file.

    Returns:
        A phrase that completes "this file is ...", or None when nothing stands out.
    """
    with open(path, "rb") as file:
        return describe_bytes(file.read(1024))


def describe_bytes(start: bytes) -> str | None:
    """`describe_content` for what is no file: the first 1024 bytes."""
    if not start:
        return "empty"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")) or (text.startswith(b"<") and b"<html" in text):
        return "an HTML page (a login, terms or error page?) instead of data"
    if text.startswith(b"version https://git-lfs.github.com/"):
        return "a Git LFS pointer instead of data"
    return None


def read_image(path: str | Path, content: bytes | None = None, turn: bool = True) -> np.ndarray:
    """Read an image file as 8-bit RGB, the way a person sees it.

    The EXIF orientation is applied; grey, palette, 1-bit and CMYK are converted; transparency is laid on
    white; 16-bit grey values are divided by 257 and rounded. Of an animation the first frame is taken.

    Args:
        path: JPEG, PNG, TIFF, WebP, BMP, PGM or PPM; the content decides, not the suffix.
        content: The file's bytes, where it is no file of its own; `path` is then what messages call it.
        turn: Apply the EXIF orientation; else the pixels are left as they are stored.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: the file is missing, empty, truncated, not an image, or larger than `MAX_PIXELS`.
    """
    with _opened(Path(path), content) as image:
        image = _decoded(image, Path(path), turn)
        if image.has_transparency_data and not image.mode.startswith("I"):
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            image = Image.alpha_composite(white, image)
        return _colours(image)


@dataclass(frozen=True)
class Layers:
    """A picture's own colours and what lies beside them in its file.

    Attributes:
        colours: uint8 (H, W, 3), RGB; where alpha is 0 they mean nothing.
        alpha: uint8 (H, W), 255 = opaque; None when the picture has none.
        profile: ICC profile of the colours; None when the file holds none for RGB.
    """

    colours: np.ndarray
    alpha: np.ndarray | None
    profile: bytes | None


def read_layers(path: str | Path) -> Layers:
    """Read an image file as `read_image` does, but with colours and transparency apart.

    Raises:
        DataError: as in `read_image`.
    """
    with _opened(Path(path)) as image:
        profile = image.info.get("icc_profile")
        # Bytes 16 to 19 name the colours that a profile is about (ICC.1:2022, 7.2); CMYK and grey do not stay such.
        profile = profile if profile and profile[16:20] == b"RGB " else None
        image = _decoded(image, Path(path))
        alpha = None
        if image.has_transparency_data and not image.mode.startswith("I"):
            image = image.convert("RGBA")
            alpha = np.array(image.getchannel("A"))
        return Layers(_colours(image), alpha, profile)


def _decoded(image: Image.Image, path: Path, turn: bool = True) -> Image.Image:
    """The decoded picture, turned as its EXIF says."""
    if image.mode == "F":
        raise DataError(
            f"{path}: a floating-point image, which has no agreed range. Save it with 8 or 16 bits and "
            f"run the same command again."
        )
    image.load()
    return ImageOps.exif_transpose(image) if turn else image


def _colours(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        # Pillow keeps 16-bit grey in I;16, and in I what PGM and some TIFF files hold.
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))


def image_size(path: str | Path, content: bytes | None = None) -> tuple[int, int]:
    """Height and width of an image, after its EXIF orientation, from the file's header.

    Args:
        path: An image file. PNG is the one format that may need decoding, because its EXIF may come last.
        content: The file's bytes, where it is no file of its own.

    Returns:
        (H, W) in pixels.

    Raises:
        DataError: the file is missing, empty, not an image, or larger than `MAX_PIXELS`.
    """
    with _opened(Path(path), content) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        turned = orientation in (5, 6, 7, 8) and image.format != "TIFF"  # Pillow turns TIFF by itself
        return (image.width, image.height) if turned else (image.height, image.width)


def stored_size(path: str | Path) -> tuple[int, int]:
    """(H, W) of the pixels as they are stored, without regard to EXIF; no pixel is decoded.

    Raises:
        DataError: the file is missing, empty, not an image, or larger than `MAX_PIXELS`.
    """
    with _opened(Path(path)) as image:
        return image.height, image.width


def check_image_header(path: str | Path) -> None:
    """Make sure that a file begins as an image of a sensible size does; the pixels are not decoded.

    Raises:
        DataError: the file is missing, empty, not an image, or larger than `MAX_PIXELS`.
    """
    with _opened(Path(path)):
        pass


def image_suffix(path: str | Path, content: bytes) -> str:
    """Make sure that an image can be decoded to its end, and say which suffix of `IMAGE_SUFFIXES` fits its kind.

    Raises:
        DataError: it is empty, truncated, not an image, larger than `MAX_PIXELS`, or of another kind.
    """
    with _opened(Path(path), content) as image:
        suffix = _SUFFIX_OF.get(image.format or "")
        if suffix is None:
            raise DataError(f"{path}: an image of the kind {image.format}, not {', '.join(_SUFFIX_OF)}.")
        image.load()
        return suffix


def write_map_png(path: str | Path, probability: np.ndarray) -> None:
    """Write an edge probability map as an 8-bit grey PNG, bright = edge, atomically.

    Equal maps give equal bytes. The grey level is floor(255 p), in the arithmetic of the map's own dtype, as
    in the authors' released predictions; hence a map read back from such a file is written unchanged.

    Args:
        path: File to write, `.png`.
        probability: (H, W) float in [0, 1].

    Raises:
        DataError: the array is not (H, W), or holds NaN or values outside [0, 1].
    """
    probability = np.asarray(probability)
    if probability.dtype == np.float16:
        probability = probability.astype(np.float32)
    if probability.ndim != 2 or probability.size == 0 or probability.dtype.kind != "f":
        raise DataError(f"{path}: an edge map must be float (H, W), not {probability.dtype} {probability.shape}.")
    low, high = float(probability.min()), float(probability.max())
    if not (low >= 0 and high <= 1):  # also true of NaN
        raise DataError(f"{path}: an edge map must lie in [0, 1]; this one spans {low} to {high}.")
    level = np.floor(probability * 255).astype(np.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(level).save(temporary, format="PNG", compress_level=6)


def stored_values(path: str | Path) -> tuple[str, np.ndarray]:
    """Values of a PNG as they are stored, for files whose values are numbers of something and no colours.

    Returns:
        Pillow's name of the kind of pixels, such as `L`, `P` or `RGB`, and (H, W) or (H, W, C) in the file's own depth.

    Raises:
        DataError: the file is missing, damaged or no PNG.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    try:
        with Image.open(path, formats=("PNG",)) as file:
            return file.mode, np.array(file)
    except Exception as error:  # Pillow raises half a dozen kinds for a damaged file
        what = describe_content(path) or f"not a readable PNG ({error}). It may be truncated"
        raise DataError(f"{path}: {what}; write or copy it again.") from error


def shrink(image: np.ndarray, long_side: int) -> np.ndarray:
    """An image uint8 (H, W, 3) whose longer side is at most `long_side`; Lanczos where it is longer."""
    height, width = image.shape[:2]
    if max(height, width) <= long_side:
        return image
    scale = long_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


@contextmanager
def _opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image and turn whatever Pillow raises, then or while decoding, into a DataError."""
    if content is None and not path.exists():
        raise DataError(f"{path}: no such file. Check the name, or fetch the data set again.")
    if content is None and path.is_dir():
        raise DataError(f"{path}: a folder, where an image file was expected.")
    try:
        with Image.open(path if content is None else io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(_too_large(path, f"{image.width} x {image.height} pixels"))
            if image.width < 1 or image.height < 1:
                raise DataError(f"{path}: an image without pixels ({image.width} x {image.height}).")
            yield image
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(_too_large(path, "more pixels than Pillow will decode")) from error
    except Image.UnidentifiedImageError as error:
        what = describe_content(path) if content is None else describe_bytes(content[:1024])
        what = what or "not an image of a known format, or its header is damaged"
        raise DataError(f"{path}: {what}. Replace the file or remove it, then run the same command again.") from error
    except MemoryError as error:
        raise DataError(f"{path}: not enough memory to decode it. Make it smaller, or free some memory.") from error
    except PermissionError as error:
        raise DataError(f"{path}: may not be read (permission denied). Correct its mode with chmod.") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise DataError(
            f"{path}: truncated or damaged ({error}). Replace the file or remove it, then run the same command again."
        ) from error


def _too_large(path: Path, size: str) -> str:
    return f"{path}: {size}; the limit is {MAX_PIXELS}. Make the image smaller, or remove it."
