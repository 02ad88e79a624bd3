from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgebench.data.masks import kept_skeleton, pair_masks, read_mask, resize_mask
from edgebench.errors import DataError

LEVELS = np.array([[0, 51, 128], [153, 204, 255]], np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_8_bit_files_are_exactly_level_over_255(tmp_path, suffix):
    Image.fromarray(LEVELS).save(tmp_path / f"a.{suffix}")
    read = read_mask(tmp_path / f"a.{suffix}")
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, LEVELS / 255)


def test_jpeg_of_a_binary_mask(tmp_path):
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255
    for name, image in (("grey", Image.fromarray(mask)), ("rgb", Image.fromarray(mask).convert("RGB"))):
        image.save(tmp_path / f"{name}.jpg", quality=95)
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.jpg") > 0.5, mask > 0)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_files(tmp_path, suffix):
    wide = np.array([[0, 257, 40000, 65535]], np.uint16)
    Image.fromarray(wide).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"a.{suffix}"), wide / 65535)


def test_arrays(tmp_path):
    soft = np.array([[0.0, 0.25, 1.0]], np.float32)
    for name, values in (("soft", soft), ("bool", soft > 0), ("byte", (soft * 255).astype(np.uint8))):
        np.save(tmp_path / f"{name}.npy", values)
    np.testing.assert_array_equal(read_mask(tmp_path / "soft.npy"), soft)
    np.testing.assert_array_equal(read_mask(tmp_path / "bool.npy"), [[0, 1, 1]])
    np.testing.assert_array_equal(read_mask(tmp_path / "byte.npy"), np.array([[0, 63, 255]]) / 255)


def test_bad_masks_are_named(tmp_path):
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[0, 0] = 255, 0, 0
    Image.fromarray(colour).save(tmp_path / "colour.png")
    Image.fromarray(np.full((4, 4, 4), 128, np.uint8)).save(tmp_path / "transparent.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:3000])
    Image.fromarray(LEVELS).save(tmp_path / "really_a_png.jpg", format="PNG")
    Image.fromarray(LEVELS.astype(np.float32)).save(tmp_path / "float.tif")
    np.save(tmp_path / "above.npy", np.array([[0.0, 7.5]]))
    np.save(tmp_path / "hole.npy", np.array([[0.0, np.nan]]))
    np.save(tmp_path / "ones.npy", np.array([[0, 1]]))
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2)))
    (tmp_path / "empty.png").write_bytes(b"")
    for name, says in {
        "colour.png": "colour",
        "transparent.png": "transparent",
        "cut.png": "truncated",
        "really_a_png.jpg": "not a readable JPEG",
        "float.tif": "8 or 16 bits",
        "above.npy": "7.5",
        "hole.npy": "not finite",
        "ones.npy": "integers 0 and 1",
        "cube.npy": r"\(H, W\)",
        "empty.png": "not a readable PNG",
        "missing.png": "no such file",
        "missing.npy": "no such file",
        "a.gif": "of the kind",
    }.items():
        with pytest.raises(DataError, match=says) as caught:
            read_mask(tmp_path / name)
        assert name in str(caught.value)


def test_8_bit_masks_are_resized_as_pillow_does():
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (20, 30), np.uint8)
    expected = np.asarray(Image.fromarray(levels).resize((45, 33))) / 255  # Pillow's own default
    np.testing.assert_array_equal(resize_mask(levels / 255, (33, 45)), expected)


def test_finer_masks_are_resized_without_rounding_to_8_bits():
    soft = np.linspace(0, 1, 600).reshape(20, 30) ** 2
    large = resize_mask(soft, (40, 60))
    assert large.shape == (40, 60)
    assert (large >= 0).all()
    assert (large <= 1).all()
    assert len(np.unique(large)) > 256


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_pairs_are_in_ascii_order_whatever_their_kind(tmp_path):
    ours = touch(tmp_path / "ours", "b.png", "a.npy", "10.JPG", "notes.txt", ".hidden.png")
    theirs = touch(tmp_path / "theirs", "a.png", "b.tif", "10.png", "Thumbs.db")
    found = pair_masks(ours, theirs)
    assert [pair.id for pair in found.pairs] == ["10", "a", "b"]
    assert found.pairs[1].prediction == ours / "a.npy"
    assert found.pairs[2].truth == theirs / "b.tif"
    assert found.without_prediction == found.without_truth == []


def test_a_missing_file_is_named_and_passed_over_only_if_told_to(tmp_path):
    ours, theirs = touch(tmp_path / "ours", "a.png", "x.png"), touch(tmp_path / "theirs", "a.png", "b.png", "c.png")
    with pytest.raises(DataError) as caught:
        pair_masks(ours, theirs)
    for words in ("no prediction for 2 images (b, c)", "no mask for 1 image (x)", str(ours), "--skip-missing"):
        assert words in str(caught.value)
    found = pair_masks(ours, theirs, skip_missing=True)
    assert [pair.id for pair in found.pairs] == ["a"]
    assert (found.without_prediction, found.without_truth) == (["b", "c"], ["x"])


def test_folders_that_cannot_be_used(tmp_path):
    good, other = touch(tmp_path / "good", "a.png"), touch(tmp_path / "other", "z.png")
    twice = touch(tmp_path / "twice", "a.png", "a.jpg")
    touch(tmp_path / "nested" / "gt", "a.png")
    (tmp_path / "empty").mkdir()
    for ours, theirs, says in (
        (tmp_path / "empty", good, "no predicted masks"),
        (good, tmp_path / "empty", "no masks"),
        (tmp_path / "missing", good, "no such folder"),
        (good / "a.png", good, "is a file. Name the folder of predicted masks"),
        (good, good / "a.png", "is a file. Name the folder of masks"),
        (good, tmp_path / "nested", "Did you mean .*gt"),
        (twice, good, "both stand for a"),
        (good, other, "no prediction for 1 image"),
    ):
        with pytest.raises(DataError, match=says):
            pair_masks(ours, theirs, skip_missing=True)


def test_names_that_differ_in_case_are_pointed_out_and_suffixes_may_differ(tmp_path):
    ours, theirs = touch(tmp_path / "ours", "Bird.png", "cat.PNG"), touch(tmp_path / "theirs", "bird.png", "cat.tif")
    with pytest.raises(DataError, match=r"upper and lower case count as different, as in Bird and bird\."):
        pair_masks(ours, theirs)
    assert [pair.id for pair in pair_masks(ours, theirs, skip_missing=True).pairs] == ["cat"]


def test_a_skeleton_is_drawn_once(tmp_path):
    drawn = []

    def draw(mask):
        drawn.append(mask)
        return mask & (np.indices(mask.shape)[0] == 3)

    mask = np.random.default_rng(0).random((9, 13)) > 0.4
    first = kept_skeleton(mask, tmp_path / "new", draw)
    again = kept_skeleton(mask.copy(), tmp_path / "new", draw)
    assert len(drawn) == 1
    assert again.dtype == bool
    np.testing.assert_array_equal(first, again)
    assert first.any()
    # The same bits at another size are another mask.
    kept_skeleton(mask.reshape(13, 9), tmp_path / "new", draw)
    assert len(drawn) == 2
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_a_damaged_skeleton_is_named(tmp_path):
    mask = np.ones((4, 6), bool)
    kept_skeleton(mask, tmp_path, lambda each: each)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(DataError, match=file.name):
        kept_skeleton(mask, tmp_path, lambda each: each)
    Image.fromarray(np.ones((2, 2), bool)).save(file)
    with pytest.raises(DataError, match="Delete it"):
        kept_skeleton(mask, tmp_path, lambda each: each)
