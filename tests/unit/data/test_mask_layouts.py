"""The layouts of published mask data sets, on small files laid out as their authors do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from edgebench.data.adapters import LAYOUTS, open_dataset
from edgebench.data.fetch import fetch
from edgebench.errors import DataError

SHAPE = (6, 9)


def photo(path: Path, shape: tuple[int, int] = SHAPE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", shape[::-1], (10, 20, 30)).save(path)


def levels() -> np.ndarray:
    """A box with a soft rim, which keeps its levels when it is stored with 16 bits or as a palette."""
    array = np.zeros(SHAPE, np.uint8)
    array[1:4, 2:7] = 255
    array[1, 2:7] = 51
    return array


def mask(path: Path, shape: tuple[int, int] = SHAPE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(levels(), shape)).save(path)


def pair(images: Path, masks: Path, name: str) -> None:
    photo(images / f"{name}.jpg")
    mask(masks / f"{name}.png")


def dis5k(folder: Path) -> dict[str, list[str]]:
    parts = {"train": "DIS-TR", "vd": "DIS-VD", "te1": "DIS-TE1", "te4": "DIS-TE4"}
    names = {split: [f"1#Bag#{number}#{split}.v2" for number in range(2)] for split in parts}
    for split, part in parts.items():
        for name in names[split]:
            pair(folder / part / "im", folder / part / "gt", name)
        mask(folder / part / "contour" / "other.png")  # what the authors' code leaves there
    return names


def duts(folder: Path) -> dict[str, list[str]]:
    pair(folder / "DUTS-TR/DUTS-TR-Image", folder / "DUTS-TR/DUTS-TR-Mask", "ILSVRC2012_test_00000004")
    pair(folder / "DUTS-TE/DUTS-TE-Image", folder / "DUTS-TE/DUTS-TE-Mask", "sun_ainjbonxmervsvpv")
    return {"train": ["ILSVRC2012_test_00000004"], "test": ["sun_ainjbonxmervsvpv"]}


def hrsod(folder: Path) -> dict[str, list[str]]:
    pair(folder / "HRSOD_train", folder / "HRSOD_train_mask", "00002")
    pair(folder / "HRSOD_test", folder / "HRSOD_test_mask", "00000")
    return {"train": ["00002"], "test": ["00000"]}


def davis(folder: Path) -> dict[str, list[str]]:
    for sequence in ("bmx-trees", "blackswan"):
        pair(folder / "JPEGImages/480p" / sequence, folder / "Annotations/480p" / sequence, "00000")
    return {"val": ["blackswan__00000", "bmx-trees__00000"]}


def pairs(folder: Path) -> dict[str, list[str]]:
    pair(folder / "train/images", folder / "train/masks", "a")
    pair(folder / "test/im", folder / "test/gt", "b")
    return {"train": ["a"], "test": ["b"]}


def pairs_without_splits(folder: Path) -> dict[str, list[str]]:
    pair(folder / "images", folder / "masks", "a")
    return {"all": ["a"]}


@pytest.mark.parametrize("make", [dis5k, duts, hrsod, davis, pairs, pairs_without_splits])
def test_splits_hold_their_pairs(tmp_path: Path, make) -> None:
    layout = make.__name__.split("_")[0]
    for split, ids in make(tmp_path).items():
        dataset = open_dataset(layout, tmp_path, split)
        assert dataset.ids == ids
        for image_id in ids:
            assert dataset.image(image_id).shape == (*SHAPE, 3)
            found = dataset.mask(image_id)
            assert found.dtype == np.uint8
            assert found.flags.writeable
            np.testing.assert_array_equal(found, levels())
        with pytest.raises(DataError, match="has no boundaries"):
            dataset.boundaries(ids[0])
    with pytest.raises(DataError, match="no split 'tran'"):
        open_dataset(layout, tmp_path, "tran")


@pytest.mark.parametrize(("make", "inner"), [(dis5k, "DIS5K"), (duts, "DUTS"), (hrsod, "HRSOD_release")])
def test_the_archives_own_folder_may_be_named_or_the_one_around_it(tmp_path: Path, make, inner: str) -> None:
    names = make(tmp_path / inner)
    for folder in (tmp_path, tmp_path / inner):
        assert open_dataset(make.__name__, folder, "train").ids == names["train"]
    with pytest.raises(DataError, match=f"another layout than {inner}'s"):
        open_dataset(make.__name__, tmp_path.parent, "train")


def test_ecssd_is_divided_by_the_digests_of_its_ids(tmp_path: Path) -> None:
    for number in range(1, 206):
        for folder, suffix in (("images", "jpg"), ("ground_truth_mask", "png")):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{number:04d}.{suffix}").touch()
    train, test = (open_dataset("ecssd", tmp_path, split).ids for split in ("train", "test"))
    assert (len(train), len(test)) == (5, 200)
    assert train == ["0028", "0048", "0066", "0074", "0164"]  # the largest SHA-256 among these ids
    assert not set(train) & set(test)


@pytest.mark.parametrize("image_suffix", ["jpg", "png", "tif", "JPEG"])
@pytest.mark.parametrize("mask_suffix", ["png", "tif", "TIFF", "bmp"])
def test_kinds_of_files_may_differ(tmp_path: Path, image_suffix: str, mask_suffix: str) -> None:
    photo(tmp_path / "im" / f"a.{image_suffix}")
    mask(tmp_path / "gt" / f"a.{mask_suffix}")
    np.testing.assert_array_equal(open_dataset("pairs", tmp_path, "all").mask("a"), levels())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16", "I"])
def test_masks_of_other_pixels(tmp_path: Path, mode: str) -> None:
    photo(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    if mode.startswith("I"):
        values = levels().astype(np.uint16) * 257
        values[values == 51 * 257] -= 128  # to the nearest level
        stored = Image.fromarray(values.astype(np.int32 if mode == "I" else np.uint16))
    else:
        stored = Image.fromarray(levels()).convert(mode)
    assert stored.mode == mode
    stored.save(tmp_path / "masks" / ("a.tif" if mode == "I" else "a.png"))
    np.testing.assert_array_equal(open_dataset("pairs", tmp_path, "all").mask("a"), levels())


def test_one_bit_masks(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    Image.fromarray(levels() > 99).save(tmp_path / "masks" / "a.png")
    np.testing.assert_array_equal(open_dataset("pairs", tmp_path, "all").mask("a"), np.where(levels() > 99, 255, 0))


def test_values_beyond_16_bits_are_refused(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.full(SHAPE, 70_000, np.int32)).save(tmp_path / "masks" / "a.tif")
    with pytest.raises(DataError, match=r"masks/a\.tif: values from 70000 to 70000"):
        open_dataset("pairs", tmp_path, "all").mask("a")


def test_jpeg_masks(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.png")
    mask(tmp_path / "masks" / "a.jpg")
    found = open_dataset("pairs", tmp_path, "all").mask("a").astype(int)
    assert np.abs(found - levels()).max() < 20


def test_bad_masks_are_named(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    file = tmp_path / "masks" / "a.png"
    for content, complaint in (
        (Image.fromarray((levels() > 0).astype(np.uint8)), "brightest level is 1 of 255"),
        (Image.new("RGB", SHAPE[::-1], (255, 0, 0)), "a colour picture"),
        (Image.new("RGBA", SHAPE[::-1], (0, 0, 0, 7)), "transparent"),
        (Image.new("L", (SHAPE[1] + 1, SHAPE[0])), "10 x 6 pixels .* but .*images/a.png has 9 x 6"),
    ):
        content.save(file)
        with pytest.raises(DataError, match=f"masks/a.png: .*{complaint}"):
            open_dataset("pairs", tmp_path, "all").mask("a")
    file.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"masks/a\.png: not a readable PNG"):
        open_dataset("pairs", tmp_path, "all").mask("a")


@pytest.mark.parametrize("shown", [True, False])
def test_images_are_turned_as_their_masks_are(tmp_path: Path, shown: bool) -> None:
    """A camera stores 9 x 6 pixels and an orientation that shows them as 6 x 9."""
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", SHAPE[::-1]).save(tmp_path / "images" / "a.jpg", exif=exif)
    size = SHAPE[::-1] if shown else SHAPE
    mask(tmp_path / "masks" / "a.png", size)
    dataset = open_dataset("pairs", tmp_path, "all")
    assert dataset.size("a") == dataset.image("a").shape[:2] == dataset.mask("a").shape == size


def test_a_blank_mask_is_a_mask(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    Image.new("L", SHAPE[::-1]).save(tmp_path / "masks" / "a.png")
    assert not open_dataset("pairs", tmp_path, "all").mask("a").any()


def test_missing_partners_are_named_with_their_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pair(tmp_path / "images", tmp_path / "masks", name)
    photo(tmp_path / "images" / "lonely.tif")
    for number in range(7):
        mask(tmp_path / "masks" / f"more{number}.png")
    with pytest.raises(DataError) as caught:
        open_dataset("pairs", tmp_path, "all")
    message = str(caught.value)
    assert f"{tmp_path}/masks has no mask for 1 file (lonely.tif)" in message
    assert f"{tmp_path}/images has no image for 7 files (more0.png, " in message
    assert "more4.png and 2 more" in message


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    pair(tmp_path / "images", tmp_path / "masks", "a")
    mask(tmp_path / "masks" / "a.tif")
    with pytest.raises(DataError, match=r"a\.(tif|png) and .*a\.(tif|png) would both have the id 'a'"):
        open_dataset("pairs", tmp_path, "all")


def test_a_folder_without_masks_says_what_is_expected(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    with pytest.raises(DataError, match="holds `images` and `masks`"):
        open_dataset("pairs", tmp_path, "all")
    (tmp_path / "images").mkdir()
    photo(tmp_path / "images" / "a.png")
    with pytest.raises(DataError, match="masks: no such folder"):
        open_dataset("pairs", tmp_path, "all")


def test_layouts_of_edges_have_no_masks(tmp_path: Path) -> None:
    photo(tmp_path / "photo.png")
    with pytest.raises(DataError, match="has no masks"):
        open_dataset("folder", tmp_path, "").mask("photo")
    assert all(hasattr(each, "mask") for each in LAYOUTS.values() if isinstance(each, type))


DEFINITION = {
    "name": "dis5k",
    "layout": "dis5k",
    "source": {"local": True},
    "images": {"train": 2, "vd": 2, "te1": 2, "te4": 2},
}


def test_fetching_a_folder_of_ones_own(tmp_path: Path) -> None:
    names = dis5k(tmp_path / "mine" / "DIS5K")
    report = fetch(DEFINITION, None, tmp_path / "run", [str(tmp_path / "mine")])
    assert report.n_new == report.n_files == 20  # with the four outlines that lie there
    assert open_dataset("dis5k", tmp_path / "run", "te4").ids == names["te4"]
    assert fetch(DEFINITION, None, tmp_path / "run", [str(tmp_path / "mine")]).n_new == 0


def test_fetching_names_masks_of_another_size(tmp_path: Path) -> None:
    names = dis5k(tmp_path / "mine")
    for name in names["vd"]:
        mask(tmp_path / "mine" / "DIS-VD" / "gt" / f"{name}.png", (5, 4))
    with pytest.raises(DataError) as caught:
        fetch(DEFINITION, None, tmp_path / "run", [str(tmp_path / "mine")])
    message = str(caught.value)
    assert "2 of 2 masks have another size than their images" in message
    for name in names["vd"]:
        # The person's own file, not the copy of it.
        assert f"{tmp_path}/mine/DIS-VD/gt/{name}.png: 4 x 5 pixels (width x height), but" in message
        assert f"im/{name}.jpg has 9 x 6" in message


def test_fetching_names_a_missing_mask_and_a_damaged_one(tmp_path: Path) -> None:
    names = dis5k(tmp_path / "mine")
    gone = tmp_path / "mine" / "DIS-TE1" / "gt" / f"{names['te1'][0]}.png"
    gone.unlink()
    with pytest.raises(DataError, match=rf"DIS-TE1/gt has no mask for 1 file \({names['te1'][0]}\.jpg\)"):
        fetch(DEFINITION, None, tmp_path / "run", [str(tmp_path / "mine")])
    gone.write_bytes(b"<!DOCTYPE html><html>please log in</html>")
    with pytest.raises(DataError, match=f"{names['te1'][0]}.png: an HTML page"):
        fetch(DEFINITION, None, tmp_path / "run", [str(tmp_path / "mine")])


def test_fetching_what_is_not_here_says_how_to_get_it(tmp_path: Path) -> None:
    for mirrors, problem in ([], "holds no images yet"), ([str(tmp_path / "nowhere")], "no such folder"):
        (tmp_path / "run").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=f"{problem}. edgebench does not download .*--mirror FOLDER"):
            fetch(DEFINITION, None, tmp_path / "run", mirrors)


def test_fetching_pairs_of_ones_own(tmp_path: Path) -> None:
    pairs_without_splits(tmp_path / "mine")
    definition = {"name": "mine", "layout": "pairs", "source": {"local": True}, "images": {"all": 1}}
    assert fetch(definition, None, tmp_path / "run", [str(tmp_path / "mine")]).n_files == 2
    with pytest.raises(DataError, match=r"1 images of split all, but the definition of mine states 2"):
        fetch(definition | {"images": {"all": 2}}, None, tmp_path / "other", [str(tmp_path / "mine")])
