from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgebench.data.panoptic import (
    Category,
    Segment,
    Segmentation,
    join_records,
    read_ids,
    read_panoptic,
    read_segmentation,
    read_segments,
    write_segmentation,
)
from edgebench.errors import DataError
from tests.unit.panoptic_files import Drawn, write_ids, write_panoptic

IDS = np.array([[1, 1, 0], [300, 70_000, 16_777_215]])
CLASSES = {1: 1, 300: 1, 70_000: 18, 16_777_215: 187}


@pytest.fixture
def files(tmp_path):
    return write_panoptic(tmp_path, "truth", {7: Drawn(IDS, CLASSES, {300}), "b": Drawn(IDS, CLASSES)})


def test_reads_what_was_written(files):
    found = read_panoptic(*files)
    assert list(found.images) == ["7", "b"]
    assert found.categories[18] == Category("dog", True)
    assert found.categories[187] == Category("sky", False)
    image = found.images["7"]
    assert image.segments == {
        1: Segment(1, False, 2),
        300: Segment(1, True, 1),
        70_000: Segment(18, False, 1),
        16_777_215: Segment(187, False, 1),
    }
    ids = read_segments(image)
    assert ids.dtype == np.uint32
    np.testing.assert_array_equal(ids, IDS)
    np.testing.assert_array_equal(read_ids(image.png), IDS)


def test_predictions_need_neither_categories_nor_crowds_nor_areas(files):
    path, folder = files
    annotations = json.loads(path.read_text())["annotations"]
    for segment in annotations[0]["segments_info"]:
        del segment["iscrowd"], segment["area"]
    path.write_text(json.dumps({"annotations": annotations[:1]}))
    categories = {1: Category("x", True), 18: Category("y", True), 187: Category("z", False)}
    found = read_panoptic(path, folder, categories)
    assert found.categories is categories
    assert found.images["7"].segments[300] == Segment(1)
    assert read_segments(found.images["7"]).shape == (2, 3)


def segment(content):
    return content["annotations"][0]["segments_info"][0]


def change(function):
    def wrong(path: Path, folder: Path) -> None:
        content = json.loads(path.read_text())
        function(content)
        path.write_text(json.dumps(content))

    return wrong


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda path, folder: path.unlink(), r"truth\.json: no such file"),
        (lambda path, folder: path.write_bytes(b""), r"truth\.json: empty"),
        (lambda path, folder: path.write_text("<html>"), "an HTML page"),
        (lambda path, folder: path.write_bytes(path.read_bytes()[:99]), "not valid JSON"),
        (lambda path, folder: path.write_text("[]"), "A list is what COCO uses for detections"),
        (lambda path, folder: (folder / "7.png").unlink(), r"1 of 2 PNG files that .*truth\.json names .*\(7\.png\)"),
        (lambda path, folder: folder.rename(folder.with_name("other")), r"truth: no such folder"),
        (change(lambda c: c.pop("annotations")), "the file has no 'annotations'"),
        (change(lambda c: c.update(annotations={})), r"'annotations' is \{\}, not a list"),
        (change(lambda c: c.update(annotations=[])), "there is no image"),
        (change(lambda c: c.update(annotations=[3])), "annotation 0 is 3, not an object"),
        (change(lambda c: c.pop("categories")), "the file has no 'categories'"),
        (change(lambda c: c["categories"][1].pop("isthing")), "category 1 has no 'isthing'"),
        (change(lambda c: c["categories"][1].update(isthing="no")), "isthing is 'no'"),
        (change(lambda c: c["categories"][1].update(id=1)), "two categories have the id 1"),
        (change(lambda c: c["annotations"][0].pop("image_id")), "annotation 0 has no 'image_id'"),
        (change(lambda c: c["annotations"][0].update(image_id=1.5)), "image_id is 1.5"),
        (change(lambda c: c["annotations"][0].update(image_id="b")), "image b has two annotations"),
        (change(lambda c: c["annotations"][0].pop("file_name")), "image 7 has no 'file_name'"),
        (change(lambda c: c["annotations"][0].update(file_name=7)), "file_name is 7"),
        (change(lambda c: c["annotations"][0].pop("segments_info")), "image 7 has no 'segments_info'"),
        (change(lambda c: segment(c).pop("category_id")), "image 7: segment 1 has no 'category_id'"),
        (change(lambda c: segment(c).update(category_id=2)), r"segment 1: unknown category_id 2\. .* 1, 18, 187"),
        (change(lambda c: segment(c).update(id=300)), "segment 300 is listed twice"),
        (change(lambda c: segment(c).update(id=0)), "segment 0: the id is not a colour"),
        (change(lambda c: segment(c).update(id=2**24)), "segment 16777216: the id is not a colour"),
        (change(lambda c: segment(c).update(id="1")), "id of a segment is '1', not an integer"),
        (change(lambda c: segment(c).update(iscrowd=2)), "segment 1: iscrowd is 2"),
        (change(lambda c: segment(c).update(area="2")), "segment 1: area is '2'"),
    ],
)
def test_what_is_wrong_with_the_json_file_is_named(files, wrong, words):
    wrong(*files)
    with pytest.raises(DataError, match=words) as error:
        read_panoptic(*files)
    assert "truth" in str(error.value).split(":")[0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda path, png: write_ids(png, np.where(IDS == 300, 0, IDS)), r"no pixel of 1 segment \(300\)"),
        (lambda path, png: write_ids(png, np.where(IDS == 0, 9, IDS)), r"has 1 segment \(9\) that .* does not list"),
        (lambda path, png: write_ids(png, np.where(IDS == 0, 1, IDS)), r"segment 1 has 3 pixels, but its area .* is 2"),
        (lambda path, png: png.write_bytes(png.read_bytes()[:60]), "not a readable PNG"),
        (lambda path, png: Image.fromarray(IDS.astype(np.uint8)).save(png), "pixels of the kind L"),
        (lambda path, png: Image.open(png).convert("P").save(png), "pixels of the kind P"),
        (lambda path, png: Image.open(png).convert("RGBA").save(png), "pixels of the kind RGBA"),
        (lambda path, png: Image.open(png).save(png, "JPEG"), "not a readable PNG"),
        (lambda path, png: png.unlink(), "no such file"),
    ],
    ids=["unseen", "unlisted", "area", "cut", "grey", "palette", "alpha", "jpeg", "gone"],
)
def test_a_png_that_contradicts_the_json_file_is_named(files, wrong, words):
    path, folder = files
    images = read_panoptic(path, folder).images
    wrong(path, folder / "7.png")
    with pytest.raises(DataError, match=words) as error:
        read_segments(images["7"])
    assert str(error.value).startswith(str(folder / "7.png"))
    assert read_segments(images["b"]).any()


def test_a_segmentation_that_is_written_is_read_again(tmp_path):
    segments = {1: Segment(1), 300: Segment(1, True), 70_000: Segment(18), 16_777_215: Segment(187)}
    write_segmentation(tmp_path / "a.json", Segmentation(IDS.astype(np.uint32), segments))
    found = read_segmentation(tmp_path / "a.json")
    np.testing.assert_array_equal(found.ids, IDS)
    areas = {key: int(np.count_nonzero(key == IDS)) for key in segments}
    assert found.segments == {key: each._replace(area=areas[key]) for key, each in segments.items()}
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["segments_info"][0] == {"id": 1, "category_id": 1, "area": 2, "bbox": [0, 0, 2, 1], "iscrowd": 0}
    assert record["segments_info"][1]["bbox"] == [0, 1, 1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.png"]


def test_records_are_joined_to_a_file_of_cocos_kind(tmp_path):
    folder = tmp_path / "panoptic"
    write_segmentation(folder / "a.json", Segmentation(np.zeros((2, 3), np.uint32), {}))
    write_segmentation(
        folder / "b.json", Segmentation(IDS.astype(np.uint32), {k: Segment(c) for k, c in CLASSES.items()})
    )
    categories = {1: Category("person", True), 18: Category("dog", True), 187: Category("sky", False)}
    count = join_records(tmp_path / "panoptic.json", {139: folder / "a.json", "b": folder / "b.json"}, categories)
    assert count == 4
    found = read_panoptic(tmp_path / "panoptic.json", folder)
    assert found.categories == categories
    assert list(found.images) == ["139", "b"]
    assert found.images["139"].segments == {}
    np.testing.assert_array_equal(read_segments(found.images["b"]), IDS)


def test_segments_that_are_not_those_of_the_map_are_not_written(tmp_path):
    with pytest.raises(DataError, match=r"the map has the segments \[1\], listed are \[1, 2\]"):
        write_segmentation(
            tmp_path / "a.json", Segmentation(np.ones((2, 2), np.uint32), {1: Segment(1), 2: Segment(1)})
        )
    with pytest.raises(DataError, match="ids from 0 to 16777215"):
        write_segmentation(tmp_path / "a.json", Segmentation(np.full((2, 2), 2**24, np.uint32), {2**24: Segment(1)}))
    assert not list(tmp_path.iterdir())


def test_a_record_and_a_png_that_do_not_belong_together_are_refused(tmp_path):
    write_segmentation(tmp_path / "a.json", Segmentation(np.ones((2, 2), np.uint32), {1: Segment(1)}))
    write_ids(tmp_path / "a.png", np.array([[1, 1], [1, 2]]))
    with pytest.raises(DataError, match=r"a\.png: has 1 segment \(2\) that .*a\.json does not list"):
        read_segmentation(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataError, match="not the segments of an image"):
        read_segmentation(tmp_path / "a.json")
