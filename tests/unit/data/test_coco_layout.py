"""COCO's layout: objects, segments and classes of each image, from the files as they unpack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgebench.data.adapters import open_dataset
from edgebench.data.adapters.coco import CocoDataset
from edgebench.data.coco import read_instance_truth
from edgebench.data.instances import compress, decode, encode
from edgebench.data.panoptic import Category, Segment
from edgebench.errors import DataError

SIZE = (40, 60)
PERSON, DOG, SKY = 1, 18, 187


def blank(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), (10, 20, 30)).save(path)


def block(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[rows, columns] = True
    return mask


def plain_runs(mask: np.ndarray) -> dict[str, Any]:
    """COCO's run lengths that are not compressed: column by column, beginning with zeros."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


LARGE, SMALL, CROWD = (
    block(slice(5, 35), slice(5, 45)),
    block(slice(10, 20), slice(10, 20)),
    block(slice(0, 8), slice(60)),
)


def objects(split: str, names: dict[int, str]) -> dict[str, Any]:
    """Of the first image a person, a dog before it as polygons, and a crowd; of the others nothing."""
    first = min(names)
    annotations = [
        {"id": 1, "image_id": first, "category_id": DOG, "iscrowd": 0, "area": 99.5, "bbox": [10, 10, 10, 10],
         "segmentation": [[10, 10, 20, 10, 20, 20, 10, 20]]},
        {"id": 2, "image_id": first, "category_id": PERSON, "iscrowd": 0, "segmentation": encode(LARGE)},
        {"id": 3, "image_id": first, "category_id": PERSON, "iscrowd": 1, "segmentation": plain_runs(CROWD)},
    ]  # fmt: skip
    return {
        "info": {"description": split},
        "images": [{"id": k, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for k, name in names.items()],
        "annotations": annotations,
        "categories": [{"id": PERSON, "name": "person"}, {"id": DOG, "name": "dog"}],
    }


def segments(folder: Path, split: str, numbers: list[int]) -> None:
    """A panoptic file: sky, and in it a dog."""
    ids = np.full(SIZE, 300)
    ids[SMALL], ids[:, -2:] = 70_000, 0
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    records = []
    for number in numbers:
        png = folder / "annotations" / f"panoptic_{split}" / f"{number:012d}.png"
        png.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours).save(png)
        info = [
            {"id": 300, "category_id": SKY, "iscrowd": 0, "area": int((ids == 300).sum())},
            {"id": 70_000, "category_id": DOG, "iscrowd": 1, "area": 100},
        ]
        records.append({"image_id": number, "file_name": png.name, "segments_info": info})
    content = {
        "images": [{"id": number} for number in numbers],
        "annotations": records,
        "categories": [
            {"id": PERSON, "name": "person", "isthing": 1},
            {"id": DOG, "name": "dog", "isthing": 1},
            {"id": SKY, "name": "sky-other-merged", "isthing": 0},
        ],
    }
    (folder / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content))


def change(path: Path, **parts: Any) -> None:
    content = json.loads(path.read_text())
    for part, (index, values) in parts.items():
        content[part][index] |= values
    path.write_text(json.dumps(content))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    names = {139: "000000000139.jpg", 285: "000000000285.jpg"}
    for name in names.values():
        blank(tmp_path / "val2017" / name)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(objects("val2017", names)))
    return tmp_path


def test_objects_are_as_annotated(coco: Path) -> None:
    dataset = CocoDataset(coco, "val2017")
    assert dataset.ids == ["000000000139", "000000000285"]
    assert dataset.numeric_id("000000000285") == 285
    assert dataset.image("000000000139").shape == (*SIZE, 3)
    size, items = dataset.instances("000000000139")
    assert size == SIZE
    assert [(each.category, each.crowd, each.area, each.score) for each in items] == [
        (DOG, False, 99.5, 1),
        (PERSON, False, None, 1),
        (PERSON, True, None, 1),
    ]
    for each, mask in zip(items, (SMALL, LARGE, CROWD), strict=True):
        assert np.array_equal(decode(each.mask), mask)
    assert dataset.instances("000000000285").items == []
    assert dataset.categories == {PERSON: Category("person", True), DOG: Category("dog", True)}


def test_classes_are_painted_small_over_large(coco: Path) -> None:
    classes = CocoDataset(coco, "val2017").semantic("000000000139")
    expected = np.where(CROWD | LARGE, PERSON, 0)
    expected[SMALL] = DOG
    assert classes.dtype == np.uint8
    assert np.array_equal(classes, expected)


def test_the_panoptic_map_goes_before_painted_objects(coco: Path) -> None:
    segments(coco, "val2017", [139, 285])
    dataset = CocoDataset(coco, "val2017")
    ids, known = dataset.panoptic("000000000139")
    assert ids.dtype == np.uint32
    assert np.unique(ids).tolist() == [0, 300, 70_000]
    assert known == {300: Segment(SKY, False, int((ids == 300).sum())), 70_000: Segment(DOG, True, 100)}
    assert dataset.categories[SKY] == Category("sky-other-merged", False)
    assert np.array_equal(dataset.semantic("000000000139"), np.where(ids == 300, SKY, np.where(ids == 70_000, DOG, 0)))
    assert len(dataset.instances("000000000139").items) == 3


def test_2014_takes_its_segments_from_2017_by_number(coco: Path) -> None:
    names = {139: "COCO_val2014_000000000139.jpg", 581: "COCO_val2014_000000000581.jpg"}
    for name in names.values():
        blank(coco / "val2014" / name)
    (coco / "annotations" / "instances_val2014.json").write_text(json.dumps(objects("val2014", names)))
    segments(coco, "val2017", [139])
    dataset = CocoDataset(coco, "val2014")
    assert dataset.ids == ["COCO_val2014_000000000139", "COCO_val2014_000000000581"]
    with pytest.raises(DataError, match=r"split 'val2014' \(panoptic_train2017.json is not there\)"):
        dataset.panoptic("COCO_val2014_000000000139")
    segments(coco, "train2017", [581])
    dataset = CocoDataset(coco, "val2014")
    for image_id in dataset.ids:
        assert 300 in dataset.panoptic(image_id)[1]
    assert dataset.semantic("COCO_val2014_000000000581").max() == SKY


def test_images_alone_can_be_read(coco: Path) -> None:
    blank(coco / "test2017" / "000000000001.jpg")
    dataset = CocoDataset(coco, "test2017")
    assert dataset.ids == ["000000000001"]
    assert (dataset.size("000000000001"), dataset.numeric_id("000000000001")) == (SIZE, 1)
    with pytest.raises(DataError, match=r"instances_test2017\.json: no such file, so split 'test2017' has no"):
        dataset.instances("000000000001")
    with pytest.raises(DataError, match="no panoptic maps of split 'test2017'"):
        dataset.panoptic("000000000001")
    with pytest.raises(DataError, match=r"has no boundaries.*layout `bsds`"):
        dataset.boundaries("000000000001")


@pytest.mark.parametrize("split", ["val2018", "annotations"])
def test_unknown_split(coco: Path, split: str) -> None:
    with pytest.raises(DataError, match=f"no split '{split}'.*val2017"):
        open_dataset("coco", coco, split)


def test_missing_and_unlisted_images(coco: Path) -> None:
    (coco / "val2017" / "000000000285.jpg").rename(coco / "val2017" / "000000000286.jpg")
    with pytest.raises(DataError, match=r"val2017: 1 of the 2 images that .* lists are missing: 000000000285\.jpg"):
        open_dataset("coco", coco, "val2017")
    blank(coco / "val2017" / "000000000285.jpg")
    with pytest.raises(DataError, match=r"does not list 1 images of .*val2017: 000000000286"):
        open_dataset("coco", coco, "val2017")


@pytest.mark.parametrize(
    ("part", "index", "values", "says"),
    [
        ("annotations", 0, {"category_id": 5}, r"annotations\[0\]: category_id 5"),
        ("annotations", 1, {"segmentation": []}, r"annotations\[1\], image 139: segmentation is \[\]"),
        ("annotations", 2, {"iscrowd": 2}, "iscrowd is 2"),
        ("annotations", 2, {"segmentation": {"size": [4, 4], "counts": [16]}}, r"has the size \[4, 4\]"),
        ("images", 0, {"width": 61}, r"000000000139\.jpg: 40 x 60 pixels .* says 40 x 61"),
        ("images", 1, {"id": 139}, "two images have the id 139"),
        ("images", 1, {"file_name": "000000000139.jpg"}, "two images have the name '000000000139'"),
        ("images", 1, {"height": 0}, r"images\[1\] \(image 285\): its size"),
    ],
)
def test_damaged_annotations_are_named(coco: Path, part: str, index: int, values: dict[str, Any], says: str) -> None:
    change(coco / "annotations" / "instances_val2017.json", **{part: (index, values)})
    with pytest.raises(DataError, match=says):
        CocoDataset(coco, "val2017").instances("000000000139")


def test_a_segmentation_of_another_size(coco: Path) -> None:
    segments(coco, "val2017", [139])
    blank(coco / "annotations" / "panoptic_val2017" / "000000000139.png", (4, 4))
    with pytest.raises(DataError, match="segment"):
        CocoDataset(coco, "val2017").panoptic("000000000139")
    with pytest.raises(DataError, match="lists no image 285"):
        CocoDataset(coco, "val2017").panoptic("000000000285")


@pytest.mark.parametrize(("split", "count"), [("train2017", 457), ("val2017", 486)])
def test_real_coco_is_read_as_a_whole_file_is(shared: Path, split: str, count: int) -> None:
    """Image by image, what the plain reader of the whole file gives, and the masks of pycocotools."""
    pycocotools = pytest.importorskip("pycocotools.mask")
    folder = shared / "data" / "COCO_Tiny"
    truth = read_instance_truth(folder / "annotations" / f"instances_{split}.json")
    dataset = CocoDataset(folder, split)
    assert len(dataset.ids) == 53
    found = 0
    for image_id in dataset.ids:
        number, (size, items) = dataset.numeric_id(image_id), dataset.instances(image_id)
        expected = [each for each in truth.annotations if each["image_id"] == number]
        assert size == truth.sizes[number] == dataset.image(image_id).shape[:2]
        found += len(items)
        for item, entry in zip(items, expected, strict=True):
            assert (item.category, item.crowd, item.area) == (
                entry["category_id"],
                bool(entry["iscrowd"]),
                entry["area"],
            )
            runs = pycocotools.frPyObjects(entry["segmentation"], *size)
            runs = pycocotools.merge(runs) if isinstance(runs, list) else runs
            assert item.mask["counts"] == runs["counts"].decode()
            assert compress(item.mask, size) == item.mask
    assert found == count
    assert len(dataset.categories) == 80
    assert dataset.semantic(dataset.ids[0]).max() <= 90
