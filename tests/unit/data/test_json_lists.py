"""Entries of large JSON files are found as the json module finds them, one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgebench.data.json_lists import JsonLists, json_lists
from edgebench.errors import DataError

AWKWARD: dict[str, Any] = {
    "info": {"images": [1, 2], "text": 'brackets ]}{[ and "quotes" and a backslash \\'},
    "images": [],
    "annotations": [
        {"id": 5, "image_id": 7, "segmentation": [[1.5, 2, 3, 4, 5, 6]], "inner": {"image_id": 8}},
        {"name": "image_id", "image_id": 9},
        {"text": "é ] } \\", "image_id": 7},
        {"image_id": 10},
    ],
    "categories": [{"id": 1, "name": 'a "name", with: marks'}],
    "empty": {},
    "last": None,
}


def write(path: Path, content: object, **how: Any) -> Path:
    path.write_text(json.dumps(content, **how))
    return path


@pytest.mark.parametrize("how", [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_entries_are_those_of_the_json_module(tmp_path: Path, how: dict[str, Any]) -> None:
    lists = JsonLists(write(tmp_path / "a.json", AWKWARD, **how))
    for name in ("images", "annotations", "categories"):
        assert list(lists.entries(name)) == AWKWARD[name]
    annotations = AWKWARD["annotations"]
    for number, places in {7: [0, 2], 8: [], 9: [1], 10: [3], 11: []}.items():
        assert lists.entries_of("annotations", "image_id", number) == [(k, annotations[k]) for k in places]
    assert "last" in lists
    assert "lost" not in lists


def test_many_entries(tmp_path: Path) -> None:
    content = {"annotations": [{"image_id": k % 7, "id": k} for k in range(1000)]}
    lists = JsonLists(write(tmp_path / "a.json", content))
    assert [each["id"] for _, each in lists.entries_of("annotations", "image_id", 3)] == list(range(3, 1000, 7))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("[1, 2]", "another JSON value than an object"),
        ("<html><body>", "HTML page"),
        ('{"annotations": [{"image_id": 1}', "brackets do not close"),
        ('{"annotations": [{"image_id": 1}]} more', "brackets do not close"),
        ('{"annotations": {}}', "has no list `annotations`"),
        ('{"images": []}', "has no list `annotations`, only images"),
        ('{"annotations": [{"image_id": 1}, {"id": 1}]}', r"annotations\[1\] has no `image_id`"),
        ('{"annotations": [{"image_id": 1.5}]}', r"annotations\[0\] has no `image_id` that is a whole number"),
        ('{"annotations": [{"image_id": "1"}]}', r"annotations\[0\] has no `image_id`"),
        ('{"annotations": [{"image_id": 1, "a" 2}]}', r"annotations\[0\] is not valid JSON"),
    ],
)
def test_damage_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"a\.json: .*{says}"):
        JsonLists(path).entries_of("annotations", "image_id", 1)


def test_a_file_is_searched_once_until_it_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"images": [1]})
    first = json_lists(path)
    assert json_lists(path) is first
    write(path, {"images": [1, 2]})
    assert list(json_lists(path).entries("images")) == [1, 2]
    with pytest.raises(DataError, match=r"b\.json: no such file"):
        json_lists(tmp_path / "b.json")
