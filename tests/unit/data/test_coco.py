from __future__ import annotations

import json

import numpy as np
import pytest

from edgebench.data.coco import read_instance_results, read_instance_truth
from edgebench.errors import DataError

RUNS = {"size": [4, 5], "counts": [5, 2, 13]}
PACKED = {"size": [4, 5], "counts": "52="}  # 5, 2 and 13, each in one group of five bits


def truth():
    return {
        "images": [{"id": 7, "height": 4, "width": 5, "file_name": "a.jpg"}, {"id": 8, "height": 6, "width": 5}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 2, "segmentation": RUNS, "iscrowd": 1, "area": 2},
            {"id": 0, "image_id": 7, "category_id": 2, "segmentation": PACKED},
            {"id": 5, "image_id": 8, "category_id": 9, "segmentation": [[0, 0, 4, 0, 4.5, 5.5]], "area": 9.5},
        ],
        "categories": [{"id": 2, "name": "cat"}, {"id": 9}],
    }


def results():
    return [
        {"image_id": 7, "category_id": 2, "segmentation": RUNS, "score": 0.5},
        {"image_id": 7, "category_id": 9, "segmentation": PACKED, "score": 1},
        {"image_id": 8, "category_id": 2, "segmentation": [[0, 0, 4, 0, 4.5, 5.5]], "score": -3.0},
    ]


@pytest.fixture
def save(tmp_path):
    def write(value, name="file.json"):
        (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value))
        return tmp_path / name

    return write


def test_truth_is_read(save):
    read = read_instance_truth(save(truth()))
    assert read.sizes == {7: (4, 5), 8: (6, 5)}
    assert read.categories == {2: "cat", 9: "9"}
    assert [each["iscrowd"] for each in read.annotations] == [1, 0, 0]
    assert [each.get("area") for each in read.annotations] == [2, None, 9.5]
    assert [each["category_id"] for each in read.annotations] == [2, 2, 9]


def test_results_are_read(save):
    read = read_instance_truth(save(truth(), "truth.json"))
    found = read_instance_results(save(results()), read)
    assert [each["score"] for each in found] == [0.5, 1, -3]
    assert all(set(each) == {"image_id", "segmentation", "score"} for each in found)
    assert [each["category_id"] for each in read_instance_results(save(results()), read, True)] == [2, 9, 2]
    boxed = [{**each, "bbox": [0, 1, 2, 3]} for each in results()]
    assert [each["bbox"] for each in read_instance_results(save(boxed), read)] == [[0, 1, 2, 3]] * 3
    assert read_instance_results(save([]), read) == []
    unnamed = [{key: value for key, value in each.items() if key != "category_id"} for each in results()]
    assert len(read_instance_results(save(unnamed), read)) == 3


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_of_the_evaluator_are_accepted_and_cut_ones_are_not(save, seed):
    mask = pytest.importorskip("faster_coco_eval").mask
    drawn = np.random.default_rng(seed).random((40, 50)) < (0.02, 0.2, 0.5, 0.9, 2)[seed]
    counts = mask.encode(np.asfortranarray(drawn.astype(np.uint8)))["counts"].decode()
    read = read_instance_truth(
        save({"images": [{"id": 1, "height": 40, "width": 50}], "annotations": [], "categories": []}, "truth.json")
    )

    def result(text):
        return save([{"image_id": 1, "segmentation": {"size": [40, 50], "counts": text}, "score": 1}])

    assert read_instance_results(result(counts), read)[0]["segmentation"]["counts"] == counts
    for damaged in (counts[:-1], counts + "1", "1" + counts, ""):
        with pytest.raises(DataError, match="run lengths are damaged"):
            read_instance_results(result(damaged), read)


def changed(value, place, key, new):
    """A copy with `value[place][key]` set, or removed when `new` is ...."""
    copy = json.loads(json.dumps(value))
    entry = copy
    for step in place:
        entry = entry[step]
    if new is ...:
        del entry[key]
    else:
        entry[key] = new
    return copy


MASKS = [
    (None, "segmentation is None"),
    ([], r"segmentation is \[\]"),
    ({"size": [5, 4], "counts": [20]}, r"size \[5, 4\].*image has \[4, 5\]"),
    ({"counts": [20]}, "the size None"),
    ({"size": [4, 5], "counts": [5, 2, 12]}, "do not add up to 4 x 5"),
    ({"size": [4, 5], "counts": [-5, 25]}, "do not add up"),
    ({"size": [4, 5], "counts": [5.0, 15]}, "do not add up"),
    ({"size": [4, 5], "counts": "52<"}, "do not add up"),
    ({"size": [4, 5], "counts": "52\x01"}, "damaged"),
    ({"size": [4, 5], "counts": "52é"}, "damaged"),
    ({"size": [4, 5], "counts": "o" * 40}, "damaged"),
    ({"size": [4, 5], "counts": None}, "counts is None"),
    ([[0, 0, 1, 1]], "4 numbers"),
    ([[0, 0, 1, 1, 2, 2, 3]], "7 numbers"),
    ([0, 0, 1, 1, 2, 2], "a polygon is 0"),
    ([[0, 0, 1, "1", 2, 2]], "a polygon is .*not a list of numbers"),
    ([[0, 0, 1, float("nan"), 2, 2]], "not a list of numbers"),
    ([[0, 0, 300, 0, 2, 2]], "from 0 to 300 where the image has 5"),
]


@pytest.mark.parametrize(("mask", "words"), MASKS)
def test_bad_masks_are_named_in_both_files(save, mask, words):
    wrong = save(changed(truth(), ["annotations", 1], "segmentation", mask), "truth.json")
    with pytest.raises(DataError, match=rf"truth\.json: annotations\[1\], image 7: .*{words}"):
        read_instance_truth(wrong)
    right = read_instance_truth(save(truth(), "truth.json"))
    with pytest.raises(DataError, match=rf"file\.json: entry 1 .counted from 0., image 7: .*{words}"):
        read_instance_results(save(changed(results(), [1], "segmentation", mask)), right)


@pytest.mark.parametrize(
    ("place", "key", "new", "words"),
    [
        ([], "images", ..., "is an object with the lists"),
        ([], "images", [], "holds no image"),
        (["images"], 0, 3, r"images\[0\]: 3 is not an object"),
        (["images", 1], "id", 7, r"images\[1\]: the image id 7 is given twice"),
        (["images", 1], "id", "8", "id is '8', not a whole number"),
        (["images", 1], "id", True, "id is True"),
        (["images", 1], "height", ..., "has no height"),
        (["images", 1], "height", 0, "0 x 5"),
        (["images", 1], "height", 10**20, "0 x 5 pixels, is not one"),
        (["categories", 0], "id", ..., r"categories\[0\]: has no id"),
        (["annotations", 2], "image_id", 9, r"annotations\[2\]: image_id 9 is not among the 2 images"),
        (["annotations", 2], "category_id", 4, "category_id 4 is not among the 2 categories"),
        (["annotations", 2], "id", 0, "annotation id 0 is given twice"),
        (["annotations", 2], "iscrowd", 2, "iscrowd is 2"),
        (["annotations", 2], "area", "big", "area is 'big', not a finite number"),
        (["annotations"], 1, None, "None is not an object"),
    ],
)
def test_bad_truth_is_named(save, place, key, new, words):
    with pytest.raises(DataError, match=words):
        read_instance_truth(save(changed(truth(), place, key, new)))


@pytest.mark.parametrize(
    ("key", "new", "words"),
    [
        ("score", ..., "image 7: has no score"),
        ("score", None, "score is None"),
        ("score", float("nan"), "score is nan"),
        ("score", float("inf"), "score is inf"),
        ("score", "0.5", "score is '0.5'"),
        ("score", True, "score is True"),
        ("image_id", 9, "image_id 9 is not among the 2 images"),
        ("image_id", ..., "has no image_id"),
        ("image_id", 7.0, "image_id is 7.0"),
        ("category_id", ..., "has no category_id"),
        ("category_id", 4, "category_id 4"),
        ("bbox", [1, 2, 3], "not .x, y, width, height."),
        ("bbox", [1, 2, -3, 4], "not .x, y, width, height."),
        ("bbox", [float("nan"), 2, 3, 4], "not .x, y, width, height."),
        ("bbox", [1, 2, 3, 4], "only some of the entries have a bbox"),
    ],
)
def test_bad_results_are_named(save, key, new, words):
    read = read_instance_truth(save(truth(), "truth.json"))
    with pytest.raises(DataError, match=rf"file\.json: entry 1 .*{words}"):
        read_instance_results(save(changed(results(), [1], key, new)), read, per_class=True)


def test_files_of_another_kind_are_explained(save, tmp_path):
    read = read_instance_truth(save(truth(), "truth.json"))
    with pytest.raises(DataError, match=r"results are a list.*`annotations`"):
        read_instance_results(tmp_path / "truth.json", read)
    with pytest.raises(DataError, match="a list, as results are"):
        read_instance_truth(save(results()))
    for text, words in (
        ("[1, 2", "not valid JSON"),
        ("", "not valid JSON"),
        ("[" * 100000, "not valid JSON"),
        ("9" * 5000, "not valid JSON"),
    ):
        with pytest.raises(DataError, match=words):
            read_instance_truth(save(text))
    with pytest.raises(DataError, match="no such file"):
        read_instance_truth(tmp_path / "none.json")
    with pytest.raises(DataError, match="is a folder"):
        read_instance_truth(tmp_path)
    (tmp_path / "pickle.json").write_bytes(b"\x80\x04\x95\xff.")
    with pytest.raises(DataError, match="not valid JSON"):
        read_instance_truth(tmp_path / "pickle.json")
