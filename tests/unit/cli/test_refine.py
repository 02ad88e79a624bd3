"""`edgebench refine`: files of any method in, results out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from edgebench.cli.app import app
from edgebench.data.coco import read_instance_results, read_instance_truth
from edgebench.data.images import write_map_png
from edgebench.data.instances import decode, encode
from edgebench.errors import EdgebenchError
from tests.unit.cli.helpers import run
from tests.unit.methods.test_trace_refine import two_rooms

NAMES = {7: "COCO_val_7", 12: "COCO_val_12"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """In each image one mask over two rooms; the second image has the rooms in disorder, too."""
    mask, edges = two_rooms()
    rooms = np.stack([mask & (np.arange(96) < 45), mask & (np.arange(96) > 45)])
    for name in NAMES.values():
        write_map_png(tmp_path / "edges" / f"{name}.png", edges)
    entries = [
        {"image_id": 7, "category_id": 3, "segmentation": encode(mask), "score": 0.5},
        {"image_id": 12, "category_id": 3, "segmentation": encode(mask), "score": 0.4},
        {"image_id": 12, "category_id": 3, "segmentation": encode(rooms[1]), "score": 0.9},
    ]
    sizes = {"height": 64, "width": 96}
    images = [{"id": key, "file_name": f"val/{name}.jpg", **sizes} for key, name in NAMES.items()]
    images.append({"id": 99, "file_name": "nothing.jpg", **sizes})
    truth = [
        {"id": index + 1, "image_id": key, "category_id": 3, "iscrowd": 0, "segmentation": encode(room)}
        for index, (key, room) in enumerate((key, room) for key in NAMES for room in rooms)
    ]
    (tmp_path / "masks.json").write_text(json.dumps(entries))
    content = {"images": images, "annotations": truth, "categories": [{"id": 3, "name": "room"}]}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    return tmp_path


def refine(files: Path, *more: str, masks: str = "masks.json", truth: bool = True) -> Result:
    given = ["--masks", f"{files / masks}", "--edges", f"{files / 'edges'}", "--output", f"{files / 'out.json'}"]
    given += ["--images", f"{files / 'truth.json'}"] if truth else []
    return CliRunner().invoke(app, ["refine", *given, *more])


def written(files: Path) -> list[dict[str, Any]]:
    return read_instance_results(files / "out.json", read_instance_truth(files / "truth.json"), per_class=True)


def test_masks_become_rooms(files: Path) -> None:
    result = refine(files)
    assert result.exit_code == 0, result.output
    assert "Images with masks: 2; masks before: 3, after: 4" in result.output
    entries = written(files)
    assert [each["image_id"] for each in entries] == [7, 7, 12, 12]
    _, edges = two_rooms()
    for each in entries:
        grown = decode(each["segmentation"])
        assert (grown & (edges == 0)).sum() == 32 * 32
        assert each["category_id"] == 3


def test_options_reach_the_refinement(files: Path) -> None:
    refine(files)
    plain = (files / "out.json").read_bytes()
    for option, value in (
        ("--order", "components_only"),
        ("--edge-threshold", "0"),
        ("--smallest", "0.9"),
        ("--stride", "3"),
        ("--steps", "0"),
        ("--background", "0.9"),
        ("--merge-above", "1"),
        ("--score", "kept"),
    ):
        assert refine(files, option, value).exit_code == 0
        assert (files / "out.json").read_bytes() != plain, option
    assert refine(files, "--jobs", "2").exit_code == 0
    assert (files / "out.json").read_bytes() == plain


def test_a_file_with_its_own_images_needs_no_other(files: Path) -> None:
    refine(files)
    plain = (files / "out.json").read_bytes()
    content = json.loads((files / "truth.json").read_text())
    content["annotations"] = json.loads((files / "masks.json").read_text())
    (files / "whole.json").write_text(json.dumps(content))
    assert refine(files, masks="whole.json", truth=False).exit_code == 0
    assert (files / "out.json").read_bytes() == plain


def test_mistakes_are_told(files: Path) -> None:
    def told(*more: str, **named: Any) -> str:
        result = refine(files, *more, **named)
        assert isinstance(result.exception, EdgebenchError), result.output
        return str(result.exception)

    assert "has no list `images`" in told(truth=False)
    assert "is read by this command" in told("--output", f"{files / 'masks.json'}")
    (files / "edges" / "COCO_val_12.png").rename(files / "edges" / "other.png")
    assert "1 of the 2 images with masks have no edge map here (COCO_val_12)" in told()
    write_map_png(files / "edges" / "COCO_val_12.png", np.zeros((5, 5)))
    assert "5 x 5 pixels" in told()
    assert not (files / "out.json").exists()


def test_help_teaches(tmp_path: Path) -> None:
    output = run(tmp_path, "refine", "--help")
    assert "Examples: edgebench refine --masks" in output
    assert "evaluate instances" in " ".join(output.split())
