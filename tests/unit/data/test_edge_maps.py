from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from edgebench.data.edge_maps import pair_folders, read_boundaries, read_edge_map
from edgebench.errors import DataError

LEVELS = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)


def ground_truth(masks):
    cell = np.empty((1, len(masks)), object)
    for index, mask in enumerate(masks):
        cell[0, index] = {"Segmentation": mask.astype(np.uint16), "Boundaries": mask.astype(np.uint8)}
    return {"groundTruth": cell}


def test_8_bit_png_is_exactly_level_over_255(tmp_path):
    Image.fromarray(LEVELS).save(tmp_path / "a.png")
    read = read_edge_map(tmp_path / "a.png")
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, LEVELS / 255)
    assert read[0, 1] == 0.2


def test_16_bit_png(tmp_path):
    wide = np.array([[0, 257, 40000, 65535]], np.uint16)
    Image.fromarray(wide).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_edge_map(tmp_path / "a.png"), wide / 65535)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_grey_way_to_store_a_png(tmp_path, mode):
    binary = (LEVELS > 100).astype(np.uint8) * 255
    Image.fromarray(binary).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_edge_map(tmp_path / "a.png"), binary / 255)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.25, 1.0]], np.float32), [[0, 0.25, 1]]),
        (np.array([[0, 255]], np.uint8), [[0, 1]]),
        (np.array([[0, 65535]], np.uint16), [[0, 1]]),
        (np.array([[True, False]]), [[1, 0]]),
    ],
)
def test_npy(tmp_path, values, expected):
    np.save(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(read_edge_map(tmp_path / "a.npy"), expected)


def test_ucm2_is_every_second_value(tmp_path):
    doubled = np.random.default_rng(0).random((9, 13))
    savemat(tmp_path / "a.mat", {"ucm2": doubled})
    np.testing.assert_array_equal(read_edge_map(tmp_path / "a.mat"), doubled[2::2, 2::2])
    assert read_edge_map(tmp_path / "a.mat").shape == (4, 6)


def write_bad_maps(folder):
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[0, 0] = 255, 0, 0
    Image.fromarray(colour).save(folder / "colour.png")
    Image.fromarray(np.full((4, 4, 4), 128, np.uint8)).save(folder / "transparent.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8)).save(folder / "cut.png")
    savemat(folder / "cut.mat", {"ucm2": np.random.default_rng(0).random((81, 81))})
    np.save(folder / "cut.npy", np.zeros((90, 90)))
    for name in ("cut.png", "cut.mat", "cut.npy"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    (folder / "text.png").write_text("not a picture")
    (folder / "empty.mat").write_bytes(b"")
    savemat(folder / "other.mat", {"segs": np.zeros((5, 5))})
    savemat(folder / "even.mat", {"ucm2": np.zeros((8, 8))})
    np.save(folder / "above.npy", np.array([[0.0, 7.5]]))
    np.save(folder / "below.npy", np.array([[-1, 3]]))
    np.save(folder / "nan.npy", np.array([[np.nan]]))
    np.save(folder / "cube.npy", np.zeros((2, 2, 2)))
    np.save(folder / "none.npy", np.zeros((0, 2)))
    np.save(folder / "pickled.npy", np.array([[{}]], object), allow_pickle=True)
    (folder / "a.jpg").write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("colour.png", "colour"),
        ("transparent.png", "transparent"),
        ("cut.png", "truncated"),
        ("cut.mat", "truncated"),
        ("cut.npy", "not a readable"),
        ("text.png", "not a readable PNG"),
        ("empty.mat", "not a readable .mat"),
        ("other.mat", "segs"),
        ("even.mat", "2H\\+1"),
        ("above.npy", "7.5"),
        ("below.npy", "\\[0, 1\\]"),
        ("nan.npy", "not finite"),
        ("cube.npy", "\\(H, W\\)"),
        ("none.npy", "no pixel"),
        ("pickled.npy", "not a readable .npy"),
        ("a.jpg", "of the kind"),
        ("missing.png", "no such file"),
        ("missing.npy", "no such file"),
        ("missing.mat", "no such file"),
    ],
)
def test_bad_maps_are_named(tmp_path, name, says):
    write_bad_maps(tmp_path)
    with pytest.raises(DataError, match=says) as caught:
        read_edge_map(tmp_path / name)
    assert name in str(caught.value)


def test_boundaries_of_a_mat(tmp_path):
    masks = [LEVELS > 60, LEVELS > 160, LEVELS > 250]
    savemat(tmp_path / "a.mat", ground_truth(masks))
    read = read_boundaries(tmp_path / "a.mat")
    assert len(read) == 3
    for mask, expected in zip(read, masks, strict=True):
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, expected)
    savemat(tmp_path / "one.mat", ground_truth(masks[:1]))
    assert len(read_boundaries(tmp_path / "one.mat")) == 1


def test_boundaries_of_png(tmp_path):
    grey = np.array([[0, 127, 128, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    (mask,) = read_boundaries(tmp_path / "a.png")
    assert mask.tolist() == [[False, False, True, True]]
    (tmp_path / "b").mkdir()
    for name in ("2", "1", "10"):
        Image.fromarray(np.full((1, 3), 255 * (name == "1"), np.uint8)).save(tmp_path / "b" / f"{name}.png")
    assert [mask.all() for mask in read_boundaries(tmp_path / "b")] == [True, False, False]


def test_bad_boundaries_are_named(tmp_path):
    savemat(tmp_path / "other.mat", {"x": 1})
    savemat(tmp_path / "numbers.mat", {"groundTruth": np.zeros((1, 2))})
    savemat(tmp_path / "sizes.mat", ground_truth([LEVELS > 0, LEVELS.T > 0]))
    savemat(tmp_path / "empty.mat", {"groundTruth": np.empty((1, 0), object)})
    (tmp_path / "folder").mkdir()
    for name, says in {
        "other.mat": "groundTruth",
        "numbers.mat": "field `Boundaries`",
        "sizes.mat": "2 annotators, of shapes",
        "empty.mat": "0 annotators",
        "folder": "no PNG",
        "missing.mat": "no such annotation file",
        "a.txt": "boundaries are",
    }.items():
        with pytest.raises(DataError, match=says) as caught:
            read_boundaries(tmp_path / name)
        assert name in str(caught.value)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_pairs_are_in_ascii_order_and_other_files_do_not_matter(tmp_path):
    maps = touch(tmp_path / "maps", "2018.png", "20069.npy", "201080.mat", "notes.txt", ".hidden.png", "sub/1.png")
    truth = touch(tmp_path / "truth", "2018.mat", "20069.png", "201080/1.png", "201080/2.png", "Thumbs.db")
    pairs = pair_folders(maps, truth)
    assert [pair.id for pair in pairs] == ["20069", "201080", "2018"]
    assert pairs[1].truth == truth / "201080"
    assert pairs[0].prediction == maps / "20069.npy"


def test_sets_that_differ_are_counted_and_named(tmp_path):
    maps = touch(tmp_path / "maps", "a.png", "x.png")
    truth = touch(tmp_path / "truth", *(f"{name}.mat" for name in "abcdefgh"))
    with pytest.raises(DataError) as caught:
        pair_folders(maps, truth)
    message = str(caught.value)
    assert "7 images (b, c, d, e, f and 2 more)" in message
    assert "1 image (x)" in message
    assert str(maps) in message
    assert str(truth) in message


def test_folders_that_cannot_be_used(tmp_path):
    good = touch(tmp_path / "good", "a.png")
    twice = touch(tmp_path / "twice", "a.png", "a.npy")
    (tmp_path / "empty").mkdir()
    nested = touch(tmp_path / "nested", "test/a.mat")
    for maps, truth, says in (
        (tmp_path / "empty", good, "no edge maps"),
        (good, tmp_path / "empty", "no annotations"),
        (tmp_path / "missing", good, "no such folder"),
        (good, nested, "Did you mean .*test"),
        (twice, good, "both stand for a"),
    ):
        with pytest.raises(DataError, match=says):
            pair_folders(maps, truth)
