"""What a cut-out keeps, empties and mixes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage import data

from edgebench.data.images import Layers, read_layers
from edgebench.stages.photos import cutout as module
from edgebench.stages.photos.cutout import cut_out, on_checkerboard, own_colours, write_cutout

PICTURE = data.chelsea()[:60, :80]


def ramp(height: int = 60, width: int = 80) -> np.ndarray:
    return np.tile(np.linspace(0, 1, width), (height, 1))


def test_a_hard_cut_keeps_colours_and_nothing_of_the_rest() -> None:
    found = cut_out(Layers(PICTURE, None, None), ramp(), soft=False)
    kept = np.floor(ramp() * 255) >= 128
    np.testing.assert_array_equal(found[..., 3], np.where(kept, 255, 0))
    np.testing.assert_array_equal(found[kept][:, :3], PICTURE[kept])
    assert not found[~kept].any()


def test_a_soft_cut_has_the_masks_grey_values() -> None:
    found = cut_out(Layers(PICTURE, None, None), ramp(), soft=True)
    np.testing.assert_array_equal(found[..., 3], np.floor(ramp() * 255))
    np.testing.assert_array_equal(found[:, -1, :3], PICTURE[:, -1])  # opaque
    assert not found[:, 0].any()


@pytest.mark.parametrize("soft", [False, True])
def test_what_is_transparent_stays_so(soft: bool) -> None:
    alpha = np.full((60, 80), 255, np.uint8)
    alpha[:20], alpha[20:30] = 0, 100
    found = cut_out(Layers(PICTURE, alpha, None), np.ones((60, 80)), soft)
    np.testing.assert_array_equal(found[..., 3], alpha)
    np.testing.assert_array_equal(found[20:, :, :3], PICTURE[20:])
    assert not found[:20].any()


def test_a_border_is_freed_of_the_background() -> None:
    """Red before blue, mixed along a ramp, is red again."""
    red, blue = np.array([220.0, 30, 30]), np.array([20.0, 40, 230])
    share = np.clip((ramp(200, 300) - 0.45) * 10, 0, 1)[..., None]
    mixture = np.rint(share * red + (1 - share) * blue).astype(np.uint8)
    alpha = np.rint(share[..., 0] * 255).astype(np.uint8)
    found = own_colours(mixture, alpha)
    border = (alpha > 0) & (alpha < 255)
    before, after = (np.abs(each[border] - red).mean() for each in (mixture, found))
    assert after < before / 4
    np.testing.assert_array_equal(found[alpha == 255], mixture[alpha == 255])


def test_strips_give_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, rng = data.astronaut()[:300, :150], np.random.default_rng(0)
    alpha = rng.integers(0, 256, (300, 150), dtype=np.uint8)
    alpha[100:160] = 255
    whole = own_colours(picture, alpha)
    monkeypatch.setattr(module, "STRIP", 40)
    np.testing.assert_array_equal(own_colours(picture, alpha), whole)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (91, 2)])
def test_small_pictures(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 90, np.uint8)
    found = own_colours(picture, np.full(size, 128, np.uint8))
    assert np.abs(found.astype(int) - 90).max() <= 1


def test_a_checkerboard_shows_through() -> None:
    found = cut_out(Layers(PICTURE, None, None), (ramp() > 0.5).astype(float), soft=False)
    shown = on_checkerboard(found)
    np.testing.assert_array_equal(shown[:, 40:], PICTURE[:, 40:])
    assert set(np.unique(shown[:, :40])) == {204, 255}
    assert (shown[0, 0] != shown[0, 12]).all()


def test_the_colour_profile_is_kept(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg", icc_profile=profile)
    layers = read_layers(tmp_path / "a.jpg")
    write_cutout(tmp_path / "cut.png", cut_out(layers, ramp(), soft=False), layers.profile)
    with Image.open(tmp_path / "cut.png") as image:
        assert image.mode == "RGBA"
        assert image.info["icc_profile"] == profile
