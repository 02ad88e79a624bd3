"""Every kind of image that people bring, and every way in which one can be broken."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgebench.data import images
from edgebench.data.images import check_image_header, image_size, read_image, read_layers, write_map_png
from edgebench.errors import DataError

COLOURS = np.array([[[250, 10, 20], [0, 200, 40]], [[5, 6, 7], [90, 80, 255]], [[128, 128, 128], [255, 255, 255]]])
RGB = COLOURS.astype(np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_rgb_png_is_read_as_it_is(tmp_path):
    assert np.array_equal(read_image(save(tmp_path / "a.png", Image.fromarray(RGB))), RGB)


def test_the_content_decides_not_the_suffix(tmp_path):
    path = save(tmp_path / "a.jpg", Image.fromarray(RGB), format="PNG")
    assert np.array_equal(read_image(path), RGB)


def test_grey_is_repeated(tmp_path):
    grey = np.array([[0, 7], [255, 100]], dtype=np.uint8)
    image = read_image(save(tmp_path / "a.png", Image.fromarray(grey)))
    assert np.array_equal(image, np.stack([grey] * 3, axis=2))


def test_one_bit(tmp_path):
    image = read_image(save(tmp_path / "a.png", Image.fromarray(np.array([[True, False]]))))
    assert image.tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bit_grey_is_rounded_to_8(tmp_path, suffix):
    deep = np.array([[0, 257, 65535], [128, 129, 25700]], dtype=np.uint16)
    image = read_image(save(tmp_path / f"a{suffix}", Image.fromarray(deep)))
    assert image[:, :, 0].tolist() == [[0, 1, 255], [0, 1, 100]]
    assert image.shape == (2, 3, 3)


def raw_png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """A PNG that Pillow would not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour, 0, 0, 0])
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(data)),
            chunk(b"IEND", b""),
        ]
    )


def test_16_bit_colour(tmp_path):
    path = tmp_path / "a.png"
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in RGB)
    path.write_bytes(raw_png(2, 3, depth=16, colour=2, data=rows))
    assert np.array_equal(read_image(path), RGB)


def test_palette(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    assert read_image(save(tmp_path / "a.png", image)).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_transparent_palette_lies_on_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    assert read_image(save(tmp_path / "a.png", image, transparency=1)).tolist() == [[[255, 0, 0], [255] * 3]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_on_white(tmp_path, mode):
    clear, half, solid = (0, 0, 0, 0), (0, 0, 0, 128), (0, 0, 0, 255)
    image = Image.fromarray(np.array([[clear, half, solid]], dtype=np.uint8), "RGBA").convert(mode)
    values = read_image(save(tmp_path / "a.png", image))[0, :, 0].tolist()
    assert values[0] == 255
    assert values[1] in (126, 127, 128)
    assert values[2] == 0


def test_cmyk_jpeg_keeps_its_colours(tmp_path):
    red = Image.new("RGB", (16, 16), (230, 30, 30)).convert("CMYK")
    image = read_image(save(tmp_path / "a.jpg", red, quality=95))
    assert np.abs(image.astype(int) - (230, 30, 30)).max() <= 4


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_exif_orientation_is_applied(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    options = {"exif": exif, "lossless": True} if suffix == ".webp" else {"exif": exif}
    path = save(tmp_path / f"a{suffix}", Image.fromarray(RGB), **options)
    assert np.array_equal(read_image(path), np.rot90(RGB, -1))
    assert image_size(path) == (2, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_size_agrees_with_the_image(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.jpg", Image.new("RGB", (20, 11)), exif=exif)
    assert read_image(path).shape[:2] == image_size(path)
    assert image_size(path) == ((20, 11) if orientation >= 5 else (11, 20))


def test_one_pixel(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGB", (1, 1), (1, 2, 3)))
    assert read_image(path).tolist() == [[[1, 2, 3]]]
    assert image_size(path) == (1, 1)


def broken_files(folder: Path) -> dict[str, Path]:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    found = {"missing": folder / "missing.png", "folder": folder}
    contents = {
        "empty.png": b"",
        "page.jpg": b"<!DOCTYPE html><html>403</html>",
        "noise.png": bytes(range(256)),
    }
    contents["pointer.jpg"] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    for suffix in ("png", "jpg", "tif", "webp"):
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
        contents[f"truncated.{suffix}"] = buffer.getvalue()[: len(buffer.getvalue()) // 2]
        contents[f"stub.{suffix}"] = buffer.getvalue()[:20]
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        found[name] = folder / name
    return found


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_files_are_named(tmp_path):
    for name, path in broken_files(tmp_path).items():
        with pytest.raises(DataError) as caught:
            read_image(path)
        assert str(path) in str(caught.value), name


@pytest.mark.parametrize(
    ("name", "word"),
    [("missing", "no such file"), ("empty.png", "empty"), ("page.jpg", "HTML"), ("pointer.jpg", "Git LFS")],
)
def test_broken_files_are_explained(tmp_path, name, word):
    path = broken_files(tmp_path)[name]
    for function in (read_image, image_size, check_image_header):
        with pytest.raises(DataError, match=word):
            function(path)


def test_a_header_is_checked_without_the_pixels(tmp_path):
    files = broken_files(tmp_path)
    check_image_header(files["truncated.jpg"])
    with pytest.raises(DataError):
        check_image_header(files["stub.jpg"])


def test_floating_point_images_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", Image.fromarray(np.ones((2, 2), dtype=np.float32)))
    with pytest.raises(DataError, match="floating-point"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(1000, images.MAX_PIXELS // 1000 + 1), (60000, 60000)])
def test_decompression_bombs_are_refused(tmp_path, width, height):
    path = tmp_path / "bomb.png"
    path.write_bytes(raw_png(width, height, depth=8, colour=0, data=b""))
    for function in (read_image, image_size):
        with pytest.raises(DataError, match="limit"):
            function(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_maps_survive_a_round_trip(tmp_path, dtype):
    levels = np.arange(256).reshape(16, 16)
    path = tmp_path / "maps" / "a.png"
    write_map_png(path, (levels / 255).astype(dtype))
    with Image.open(path) as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), levels)


def test_maps_are_floored_and_repeatable(tmp_path):
    probability = np.random.default_rng(1).random((9, 7))
    for name in ("a.png", "b.png"):
        write_map_png(tmp_path / name, probability)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), np.floor(probability * 255))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0.5, np.nan]]),
        np.array([[1.01]]),
        np.array([[-0.01]]),
        np.zeros((2, 2, 3)),
        np.zeros((2, 2), int),
    ],
)
def test_bad_maps_are_refused_and_leave_nothing(tmp_path, array):
    with pytest.raises(DataError, match="edge map"):
        write_map_png(tmp_path / "a.png", array)
    assert list(tmp_path.iterdir()) == []


def test_layers_keep_colours_below_transparency(tmp_path):
    alpha = np.array([[0, 128], [255, 255], [7, 255]], np.uint8)
    image = Image.fromarray(np.dstack([RGB, alpha]))
    layers = read_layers(save(tmp_path / "a.png", image))
    assert np.array_equal(layers.colours, RGB)
    assert layers.alpha is not None
    assert np.array_equal(layers.alpha, alpha)
    assert read_layers(save(tmp_path / "b.png", Image.fromarray(RGB))).alpha is None


@pytest.mark.parametrize("orientation", [3, 6])
def test_layers_are_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(np.dstack([RGB, RGB[..., 0]])), exif=exif)
    layers = read_layers(path)
    turned = np.rot90(RGB, {3: 2, 6: -1}[orientation])
    assert np.array_equal(layers.colours, turned)
    assert layers.alpha is not None
    assert np.array_equal(layers.alpha, turned[..., 0])


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "I;16"])
def test_layers_of_other_kinds_are_as_read(tmp_path, mode):
    if mode == "I;16":
        image = Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000)
    else:
        image = Image.fromarray(RGB).convert(mode)
    profile = b"\0" * 16 + (b"CMYK" if mode == "CMYK" else b"GRAY") + b"\0" * 200
    path = save(tmp_path / "a.tif", image, icc_profile=profile)
    layers = read_layers(path)
    assert np.array_equal(layers.colours, read_image(path))
    assert layers.alpha is None
    assert layers.profile is None  # it is not about RGB
