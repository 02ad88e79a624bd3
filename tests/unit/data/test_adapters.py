"""The layouts: what is found, in which order, and what is said when something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import io as scipy_io

from edgebench.data.adapters import open_dataset
from edgebench.data.adapters.bsds import BsdsDataset
from edgebench.data.adapters.bsds_mat import (
    read_bsds_annotations,
    read_bsds_segmentations,
    segmentation_boundaries,
    write_bsds_annotation,
)
from edgebench.data.adapters.folder import FolderDataset
from edgebench.errors import DataError

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}


def write_image(path: Path, width: int = 6, height: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (10, 20, 30)).save(path)


def write_annotation(path: Path, width: int = 6, height: int = 4, annotators: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(len(str(path)))
    boundaries = [rng.random((height, width)) < 0.3 for _ in range(annotators)]
    write_bsds_annotation(path, [np.ones((height, width), int)] * annotators, boundaries)
    return boundaries


@pytest.fixture
def bsds(tmp_path: Path) -> Path:
    for split, ids in {
        "train": ["20", "3"],
        "val": ["100"],
        "test": ["7", "2018", "201080", "20069"],
    }.items():
        for image_id in ids:
            write_image(tmp_path / f"images/{split}/{image_id}.{'jpg' if image_id == '3' else 'png'}")
            write_annotation(tmp_path / f"groundTruth/{split}/{image_id}.mat")
        (tmp_path / f"images/{split}/Thumbs.db").write_bytes(b"x")
        for left_over in (f"images/{split}/.part-x.png", f"groundTruth/{split}/.part-x.mat"):
            (tmp_path / left_over).write_bytes(b"")
    return tmp_path


def test_bsds_ids_are_in_ascii_order(bsds):
    assert open_dataset("bsds", bsds, "test").ids == ["20069", "201080", "2018", "7"]
    assert open_dataset("bsds", bsds, "trainval").ids == ["100", "20", "3"]


def test_bsds_gives_images_and_annotations(bsds):
    expected = write_annotation(bsds / "groundTruth/val/100.mat", annotators=3)
    for split in ("val", "trainval"):
        dataset = BsdsDataset(bsds, split)
        assert dataset.image_path("100") == bsds / "images/val/100.png"
        assert dataset.image("100").shape == (4, 6, 3)
        assert dataset.size("100") == (4, 6)
        found = dataset.boundaries("100")
        assert [array.dtype for array in found] == [np.dtype(bool)] * 3
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_bsds_images_alone_can_be_opened(bsds):
    for file in (bsds / "groundTruth/test").iterdir():
        file.unlink()
    (bsds / "groundTruth/test").rmdir()
    dataset = open_dataset("bsds", bsds, "test")
    assert dataset.size("7") == (4, 6)
    with pytest.raises(DataError, match=r"7\.mat.*no annotation"):
        dataset.boundaries("7")


def test_bsds_unknown_split_names_the_nearest(bsds):
    with pytest.raises(DataError, match=r"no split 'tset'\. Did you mean 'test'"):
        open_dataset("bsds", bsds, "tset")


def test_bsds_trainval_needs_both(bsds):
    (bsds / "images/val").rename(bsds / "elsewhere")
    with pytest.raises(DataError, match="no split 'val'"):
        open_dataset("bsds", bsds, "trainval")


def test_bsds_image_without_annotation(bsds):
    (bsds / "groundTruth/test/7.mat").unlink()
    with pytest.raises(DataError, match=r"1 images have no annotation: 7\."):
        open_dataset("bsds", bsds, "test")


def test_bsds_annotation_without_image(bsds):
    (bsds / "images/test/2018.png").unlink()
    with pytest.raises(DataError, match=r"1 annotations have no image: 2018\."):
        open_dataset("bsds", bsds, "test")


def test_bsds_same_id_twice(bsds):
    write_image(bsds / "images/test/7.jpg")
    with pytest.raises(DataError, match=r"7\.jpg.*7\.png.*'7'|7\.png.*7\.jpg.*'7'"):
        open_dataset("bsds", bsds, "test")


def test_bsds_size_mismatch(bsds):
    write_annotation(bsds / "groundTruth/test/7.mat", width=4, height=6)
    with pytest.raises(DataError, match=r"7\.mat: annotations of 6 x 4, but .*7\.png is 4 x 6"):
        open_dataset("bsds", bsds, "test").boundaries("7")


@pytest.mark.parametrize("layout", ["bsds", "folder"])
def test_missing_folder(tmp_path, layout):
    with pytest.raises(DataError, match=r"no such folder.*edgebench fetch"):
        open_dataset(layout, tmp_path / "nowhere", "test")


@pytest.mark.parametrize("layout", ["bsds", "folder"])
def test_folder_without_images(tmp_path, layout):
    (tmp_path / "images" / "test").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no images"):
        open_dataset(layout, tmp_path, "test")


def test_unknown_layout(tmp_path):
    with pytest.raises(DataError, match="Did you mean 'bsds'"):
        open_dataset("bsd", tmp_path, "test")


def test_unknown_id(bsds):
    with pytest.raises(DataError, match="no image with the id '8'"):
        open_dataset("bsds", bsds, "test").image("8")


def test_plain_folder(tmp_path):
    for name in ("b.png", "a.JPG", "deep/er/c.webp", ".quarantine/bad.png", ".hidden.png"):
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    dataset = FolderDataset(tmp_path)
    assert dataset.ids == ["a", "b", "deep__er__c"]
    assert dataset.image_path("deep__er__c") == tmp_path / "deep/er/c.webp"
    assert dataset.size("a") == (4, 6)
    with pytest.raises(DataError, match="no boundaries"):
        dataset.boundaries("a")


def test_plain_folder_ids_may_not_meet(tmp_path):
    write_image(tmp_path / "a/b.png")
    write_image(tmp_path / "a__b.png")
    with pytest.raises(DataError, match="'a__b'"):
        open_dataset("folder", tmp_path, "")


def test_plain_folder_follows_links_once(tmp_path):
    write_image(tmp_path / "outside/a.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/link").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/back").symlink_to(tmp_path / "set")
    assert open_dataset("folder", tmp_path / "set", "").ids == ["link__a"]


def test_annotations_survive_a_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    segmentations: list[np.ndarray] = [rng.integers(1, 65536, (5, 8)) for _ in range(4)]
    boundaries: list[np.ndarray] = [rng.random((5, 8)) < 0.5 for _ in range(4)]
    write_bsds_annotation(tmp_path / "a.mat", segmentations, boundaries)
    for found, expected in zip(read_bsds_segmentations(tmp_path / "a.mat"), segmentations, strict=True):
        assert found.dtype == np.int32
        assert np.array_equal(found, expected)
    for found, expected in zip(read_bsds_annotations(tmp_path / "a.mat"), boundaries, strict=True):
        assert found.dtype == bool
        assert np.array_equal(found, expected)


def test_annotations_have_the_data_sets_own_structure(tmp_path):
    write_annotation(tmp_path / "a.mat", annotators=3)
    cell = scipy_io.loadmat(tmp_path / "a.mat")["groundTruth"]
    assert cell.shape == (1, 3)
    assert cell[0, 0].shape == (1, 1)
    assert cell[0, 0].dtype.names == ("Segmentation", "Boundaries")
    assert cell[0, 0]["Segmentation"][0, 0].dtype == np.uint16
    assert cell[0, 0]["Boundaries"][0, 0].dtype == np.uint8


def test_annotations_are_written_with_equal_bytes(tmp_path, monkeypatch):
    write_annotation(tmp_path / "a.mat")
    monkeypatch.setattr("time.asctime", lambda *_: "another time")
    first = (tmp_path / "a.mat").read_bytes()
    write_annotation(tmp_path / "a.mat")
    assert (tmp_path / "a.mat").read_bytes() == first


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"", "empty"), (b"<html></html>", "HTML"), (b"MATLAB 5.0 MAT-file" + b"x" * 200, "MATLAB")],
)
def test_damaged_annotations(tmp_path, content, word):
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.mat: .*{word}"):
        read_bsds_annotations(path)


def test_truncated_annotation(tmp_path):
    write_annotation(tmp_path / "a.mat", width=50, height=50)
    content = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.mat"):
        read_bsds_annotations(tmp_path / "a.mat")


def test_foreign_mat_file(tmp_path):
    scipy_io.savemat(tmp_path / "a.mat", {"ucm2": np.zeros((3, 3))})
    with pytest.raises(DataError, match="groundTruth"):
        read_bsds_annotations(tmp_path / "a.mat")
    scipy_io.savemat(tmp_path / "b.mat", {"groundTruth": np.zeros((3, 3))})
    with pytest.raises(DataError, match="Boundaries"):
        read_bsds_annotations(tmp_path / "b.mat")


def test_missing_annotation_file(tmp_path):
    with pytest.raises(DataError, match="no such annotation file"):
        read_bsds_annotations(tmp_path / "a.mat")


def test_annotations_that_do_not_fit_are_not_written(tmp_path):
    with pytest.raises(DataError, match="one shape"):
        write_bsds_annotation(tmp_path / "a.mat", [np.ones((3, 3), int)], [np.ones((3, 4), bool)])
    assert not (tmp_path / "a.mat").exists()


def test_boundaries_lie_left_of_and_above_a_step():
    labels = np.ones((6, 6), int)
    labels[:, 3:] = 2
    (vertical,) = segmentation_boundaries([labels])
    (horizontal,) = segmentation_boundaries([labels.T])
    assert set(np.nonzero(vertical)[1]) == {2}
    assert set(np.nonzero(horizontal)[0]) == {2}


def test_boundaries_of_several_maps_do_not_touch():
    rng = np.random.default_rng(3)
    maps = [np.kron(rng.integers(1, 4, (4, 4)), np.ones((4, 4), int)) for _ in range(3)]
    together = segmentation_boundaries(maps)
    for labels, boundary in zip(maps, together, strict=True):
        assert np.array_equal(segmentation_boundaries([labels])[0], boundary)


def test_the_data_part_is_cheap_to_import():
    """Neither torch nor scikit-image is imported by merely naming the data part."""
    code = "import sys, edgebench.data.fetch; print({'torch', 'skimage', 'pandas'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert result.stdout.strip() == "set()"
