"""Instances of other methods in each of the usual forms, and what is said where a file is none of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgebench.data.brought_instances import Brought, Wanted, open_brought
from edgebench.data.coco_results import image_numbers, write_results
from edgebench.data.instances import Instances, encode, from_masks
from edgebench.errors import DataError

SIZE = (12, 16)
LEFT, RIGHT = (np.zeros(SIZE, bool) for _ in range(2))
LEFT[2:8, 1:6] = True
RIGHT[4:10, 9:15] = True
COCO = Wanted({"000000000139": 139, "000000000285": 285}, lambda _: SIZE, numbered=True)
NAMED = Wanted({"a": 1, "b": 2}, lambda _: SIZE, numbered=False)


def result(image: Any, mask: np.ndarray = LEFT, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": 1, "segmentation": encode(mask), "score": 0.5, **more}


def listed(*entries: tuple[int, str]) -> list[dict[str, Any]]:
    return [{"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for number, name in entries]


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def png(path: Path, values: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image = image.convert("P")
        image.putdata(values.ravel().tolist())
        image.putpalette([each % 256 for each in range(3 * 256)])
    image.save(path)


def masks(brought: Brought, image_id: str) -> np.ndarray:
    return brought.read(image_id).masks()


# COCO's JSON


def test_results_by_number(tmp_path: Path) -> None:
    polygon = [[1, 2, 6, 2, 6, 8, 1, 8]]
    entries = [result(285, RIGHT, score=0.25, category_id=7), result(285, segmentation=polygon), result(1000)]
    brought = open_brought(COCO, write(tmp_path / "r.json", entries))
    assert brought.form == "results"
    found = brought.read("000000000285")
    assert [(each.score, each.category) for each in found.items] == [(0.25, 7), (0.5, 1)]
    np.testing.assert_array_equal(found.masks(), [RIGHT, LEFT])
    assert brought.read("000000000139") == Instances(SIZE, [])


def test_results_of_our_own_are_read_back(tmp_path: Path) -> None:
    found = {"a": from_masks([LEFT, RIGHT], SIZE, [0.3, 0.6], [4, 5]), "b": from_masks([], SIZE)}
    write_results(tmp_path, found.items(), NAMED.numbers)
    assert [each["image_id"] for each in json.loads((tmp_path / "results.json").read_text())] == [1, 1]
    brought = open_brought(NAMED, tmp_path / "results.json")
    assert {each: brought.read(each) for each in "ab"} == found


def test_file_names_come_before_numbers(tmp_path: Path) -> None:
    content = {
        "images": listed((1, "val/b.jpg"), (2, "a.png"), (9, "other.jpg")),
        "annotations": [
            {"image_id": 1, "segmentation": encode(LEFT)},
            {"image_id": 2, "segmentation": encode(RIGHT), "score": 0.1},
            {"image_id": 2, "segmentation": encode(LEFT), "iscrowd": 1},
            {"image_id": 9, "segmentation": encode(RIGHT)},
        ],
    }
    brought = open_brought(NAMED, write(tmp_path / "r.json", content))
    assert brought.form == "annotations"
    np.testing.assert_array_equal(masks(brought, "b"), [LEFT])
    np.testing.assert_array_equal(masks(brought, "a"), [RIGHT])
    assert [each.score for each in brought.read("a").items] == [0.1]
    assert [each.score for each in brought.read("b").items] == [1.0]
    # Names that are none of the data set's: then numbers, if it has them.
    content["images"] = listed((139, "x.jpg"))
    content["annotations"][0]["image_id"] = 139
    found = masks(open_brought(COCO, write(tmp_path / "r.json", content)), "000000000139")
    np.testing.assert_array_equal(found, [LEFT])


def test_nothing_found_anywhere_is_an_answer(tmp_path: Path) -> None:
    assert open_brought(COCO, write(tmp_path / "r.json", [])).read("000000000139").items == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([result(7), result(8)], "none of its 2 entries is of one of the 2 images .the first entry is of image 7"),
        ([result("139")], "entry 0 .*image_id is '139', not a whole number"),
        ([{**result(139), "segmentation": encode(LEFT[:5])}], "size .*image has"),
        ([{key: value for key, value in result(139).items() if key != "score"}], "has no score"),
        ([result(139, score="high")], "score is 'high'"),
        ([7], "entry 0"),
        ({"images": []}, "neither results"),
        ("text", "neither results"),
        ({"annotations": [], "images": {}}, "`images` is {}, not a list"),
    ],
)
def test_wrong_json(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_brought(COCO, write(tmp_path / "r.json", content))


def test_numbers_need_names_where_ids_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.json", [result(1)])
    with pytest.raises(DataError, match=r"Ids such as 'a' are no numbers.*put it into mine_images.json"):
        open_brought(NAMED, path)
    write(tmp_path / "mine_images.json", {"images": listed((1, "b.png"))})
    np.testing.assert_array_equal(masks(open_brought(NAMED, path), "b"), [LEFT])


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_brought(COCO, tmp_path / "none.json")
    (tmp_path / "r.json").write_text("[{")
    with pytest.raises(DataError, match="not valid JSON"):
        open_brought(COCO, tmp_path / "r.json")
    with pytest.raises(DataError, match="no such folder"):
        open_brought(COCO, folder=tmp_path / "none")
    with pytest.raises(DataError, match="Name one"):
        open_brought(COCO)
    with pytest.raises(DataError, match="unclear what"):
        open_brought(COCO, write(tmp_path / "r.json", []), tmp_path)


# Panoptic


def panoptic(folder: Path, number: int = 139, name: str = "000000000139.png") -> Path:
    ids = np.zeros(SIZE, np.uint8)
    ids[:] = 3
    ids[LEFT], ids[RIGHT] = 1, 2
    png(folder / "pan" / name, np.stack([ids, ids * 0, ids * 0], -1))
    info = [{"id": 1, "category_id": 5}, {"id": 2, "category_id": 5, "iscrowd": 1}, {"id": 3, "category_id": 9}]
    content = {
        "annotations": [{"image_id": number, "file_name": name, "segments_info": info}],
        "categories": [{"id": 5, "name": "dog", "isthing": 1}, {"id": 9, "name": "sky", "isthing": 0}],
    }
    return write(folder / "pan.json", content)


def test_things_of_a_panoptic_file(tmp_path: Path) -> None:
    brought = open_brought(COCO, panoptic(tmp_path), tmp_path / "pan")
    assert brought.form == "panoptic"
    np.testing.assert_array_equal(masks(brought, "000000000139"), [LEFT])
    assert brought.read("000000000139").items[0].category == 5
    assert brought.read("000000000285").items == []
    named = open_brought(NAMED, panoptic(tmp_path, name="b.png"), tmp_path / "pan")
    np.testing.assert_array_equal(masks(named, "b"), [LEFT])


def test_a_panoptic_file_needs_its_folder_and_its_images(tmp_path: Path) -> None:
    path = panoptic(tmp_path)
    with pytest.raises(DataError, match="PNG files are needed too"):
        open_brought(COCO, path)
    with pytest.raises(DataError, match="lists none of the 2 images"):
        open_brought(NAMED, path, tmp_path / "pan")
    small = Wanted(COCO.numbers, lambda _: (5, 5), numbered=True)
    with pytest.raises(DataError, match=r"12 x 16 pixels .*its image has 5 x 5"):
        open_brought(small, path, tmp_path / "pan").read("000000000139")


# PNG


@pytest.mark.parametrize("kind", ["grey", "palette", "wide"])
def test_a_value_per_instance(tmp_path: Path, kind: str) -> None:
    values = np.zeros(SIZE, np.uint16 if kind == "wide" else np.uint8)
    values[LEFT], values[RIGHT], values[0] = 4, 200, 255
    for name in "ab":
        png(tmp_path / f"{name}.png", values, kind == "palette")
    brought = open_brought(NAMED, folder=tmp_path)
    assert brought.form == "indexed"
    expected = [LEFT, RIGHT, np.arange(12)[:, None].repeat(16, 1) == 0]
    np.testing.assert_array_equal(masks(brought, "a"), expected if kind == "wide" else expected[:2])


def test_a_png_of_0_and_255(tmp_path: Path) -> None:
    png(tmp_path / "a.png", LEFT * np.uint8(255))
    png(tmp_path / "b.png", LEFT * np.uint8(255), palette=True)  # a border alone, as in VOC
    brought = open_brought(NAMED, folder=tmp_path)
    np.testing.assert_array_equal(masks(brought, "a"), [LEFT])
    assert len(masks(brought, "b")) == 0
    png(tmp_path / "a.png", LEFT)
    np.testing.assert_array_equal(masks(brought, "a"), [LEFT])


@pytest.mark.parametrize("below", ["", "masks"])
def test_a_png_per_instance(tmp_path: Path, below: str) -> None:
    png(tmp_path / "a" / below / "1.png", LEFT * np.uint8(255))
    png(tmp_path / "a" / below / "2.png", RIGHT * np.uint8(1))
    png(tmp_path / "a" / below / "3.png", np.zeros(SIZE, np.uint8))
    (tmp_path / "b").mkdir()
    if below:
        png(tmp_path / "a" / "images" / "a.png", np.zeros(SIZE, np.uint8))
    brought = open_brought(NAMED, folder=tmp_path)
    assert brought.form == "binary"
    np.testing.assert_array_equal(masks(brought, "a"), [LEFT, RIGHT])
    assert len(masks(brought, "b")) == 0


def test_wrong_png(tmp_path: Path) -> None:
    png(tmp_path / "a.png", LEFT)
    with pytest.raises(DataError, match=r"1 of 2 images have neither .*for example b.png"):
        open_brought(NAMED, folder=tmp_path)
    png(tmp_path / "b.png", np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(DataError, match="pixels of the kind RGB"):
        open_brought(NAMED, folder=tmp_path).read("b")
    png(tmp_path / "b.png", LEFT[1:])
    with pytest.raises(DataError, match=r"11 x 16 pixels"):
        open_brought(NAMED, folder=tmp_path).read("b")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(DataError, match="not a readable PNG"):
        open_brought(NAMED, folder=tmp_path).read("b")
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="has a folder for b and a PNG for a, b"):
        open_brought(NAMED, folder=tmp_path)


# Numbers


class Numbered:
    """A data set, as far as its numbers go."""

    def __init__(self, *ids: str) -> None:
        self.ids = list(ids)


def test_numbers_of_images() -> None:
    class Coco(Numbered):
        def numeric_id(self, image_id: str) -> int:
            return int(image_id[-3:])

    assert image_numbers(Coco("COCO_val2014_000139")) == {"COCO_val2014_000139": 139}  # type: ignore[arg-type]
    assert image_numbers(Numbered("000007", "12")) == {"000007": 7, "12": 12}  # type: ignore[arg-type]
    assert image_numbers(Numbered("07", "7")) == {"07": 1, "7": 2}  # type: ignore[arg-type]
    assert image_numbers(Numbered("x", "12")) == {"x": 1, "12": 2}  # type: ignore[arg-type]
