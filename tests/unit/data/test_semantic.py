from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgebench.data.semantic import read_semantic, to_classes, voc_palette, write_semantic
from edgebench.errors import DataError

CLASSES = np.array([[0, 1, 1], [187, 255, 0]])


@pytest.mark.parametrize("classes", [CLASSES, CLASSES + 300])
def test_what_is_written_is_read_again(tmp_path: Path, classes: np.ndarray) -> None:
    write_semantic(tmp_path / "a.png", classes)
    found = read_semantic(tmp_path / "a.png")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, classes)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_palette_counts_by_its_indices_and_grey_by_its_levels(tmp_path: Path) -> None:
    grey = Image.fromarray(CLASSES.astype(np.uint8))
    grey.save(tmp_path / "grey.png")
    grey.putpalette(voc_palette().tobytes())
    grey.save(tmp_path / "indexed.png")
    Image.fromarray(CLASSES > 0).save(tmp_path / "bits.png")
    for name in ("grey", "indexed"):
        np.testing.assert_array_equal(read_semantic(tmp_path / f"{name}.png"), CLASSES)
    np.testing.assert_array_equal(read_semantic(tmp_path / "bits.png"), CLASSES > 0)


def test_the_palette_is_that_of_voc() -> None:
    # As published with the devkit: background, aeroplane, bicycle, tvmonitor and void.
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {index: tuple(voc_palette()[index].tolist()) for index in known} == known


def test_colours_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: pixels of the kind RGB, .* not as colours"):
        read_semantic(tmp_path / "a.png")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png: no such file"):
        read_semantic(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match=r"a\.png: not a readable PNG"):
        read_semantic(tmp_path / "a.png")
    (tmp_path / "a.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match="a Git LFS pointer"):
        read_semantic(tmp_path / "a.png")


def test_what_is_no_class_map_is_not_written(tmp_path: Path) -> None:
    for wrong in (np.zeros((2, 2, 3), int), np.array([[-1]]), np.array([[65536]])):
        with pytest.raises(DataError, match="a class map is"):
            write_semantic(tmp_path / "a.png", wrong)
    assert not (tmp_path / "a.png").exists()


def test_numbers_stand_for_classes() -> None:
    values = np.array([[0, 15, 255]], np.uint16)
    path = Path("a.png")
    np.testing.assert_array_equal(to_classes(path, values, {15: 0}, None), values)
    mapping = {0: 187, 15: 1, 255: 255}
    np.testing.assert_array_equal(to_classes(path, values, {1: 0, 187: 0}, mapping), [[187, 1, 255]])


def test_unknown_numbers_and_classes_are_named() -> None:
    values = np.array([[0, 15, 7]], np.uint16)
    with pytest.raises(
        DataError, match=r"a\.png: 1 of its 3 numbers are no class .* the first is 15\. Its classes are 7"
    ):
        to_classes(Path("a.png"), values, {7: 0}, None)
    with pytest.raises(DataError, match=r"holds 7, for which 'values' names no class\. Add `7: ID`"):
        to_classes(Path("a.png"), values, {7: 0}, {0: 0, 15: 7})
    with pytest.raises(DataError, match=r"the first is 15 \(class 8 by 'values'\)"):
        to_classes(Path("a.png"), values, {7: 0}, {0: 0, 15: 8, 7: 7})
