"""Class maps and panoptic segmentations without training, by the predict stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgebench.data.adapters import open_dataset
from edgebench.data.images import write_map_png
from edgebench.data.panoptic import read_panoptic, read_segmentation
from edgebench.data.semantic import read_semantic
from edgebench.errors import DataError
from edgebench.stages.evaluate_panoptic import evaluate_panoptic
from edgebench.stages.predict import predict
from edgebench.stages.predictors import Prepared
from tests.unit.methods.test_trace_panoptic import borders
from tests.unit.stages.panoptic_runs import SIDE, draw, planned


@pytest.fixture
def root(tmp_path: Path) -> Path:
    draw(tmp_path / "data", test=4)
    return tmp_path


def run(root: Path, out: str, method: str, inputs: dict[str, str] | None = None, /, **settings: Any) -> Path:
    predict(planned(root, out, "predict", method, inputs or {}, **settings))
    return root / out


def quality(root: Path, out: Path) -> dict[str, Any]:
    truth = root / "data" / "annotations" / "panoptic_test"
    return evaluate_panoptic(out / "panoptic.json", out / "panoptic", truth.with_suffix(".json"), truth).scores()


def true_edges(root: Path) -> str:
    """Edge maps of the borders between segments, as a run."""
    dataset = open_dataset("coco", root / "data", "test")
    for image_id in dataset.ids:
        write_map_png(root / "edges" / "maps" / f"{image_id}.png", borders(dataset.panoptic(image_id)[0].astype(int)))
    return "edges"


def test_true_classes_are_those_of_the_data_set(root: Path) -> None:
    out = run(root, "semantic", "true_semantic")
    dataset = open_dataset("coco", root / "data", "test")
    assert len(dataset.ids) == 4
    for image_id in dataset.ids:
        np.testing.assert_array_equal(read_semantic(out / "semantic" / f"{image_id}.png"), dataset.semantic(image_id))


def test_perfect_edges_make_instances_and_none_do_not(root: Path) -> None:
    run(root, "semantic", "true_semantic")
    inputs = {"semantic": "semantic"}
    fine = {"stride": 1, "steps": 64, "smallest": 0.0005}
    found = run(root, "with", "trace_panoptic", inputs | {"edges": true_edges(root)}, **fine)
    scores = quality(root, found)
    assert scores["all"]["pq"] > 0.97
    assert scores["things"]["rq"] > 0.97  # a sliver between two borders is a part of its own
    assert scores["stuff"]["pq"] == 1.0
    plain = quality(root, run(root, "without", "trace_panoptic", inputs))
    assert plain["stuff"]["pq"] == 1.0
    assert plain["things"]["pq"] < scores["things"]["pq"] - 0.1


def test_what_is_written_is_read_as_cocos_files_are(root: Path) -> None:
    run(root, "semantic", "true_semantic")
    out = run(root, "out", "trace_panoptic", {"semantic": "semantic"})
    joined = read_panoptic(out / "panoptic.json", out / "panoptic")
    numbers = [
        image["id"] for image in json.loads((root / "data/annotations/panoptic_test.json").read_text())["images"]
    ]
    assert list(joined.images) == [str(number) for number in numbers]
    assert joined.categories == open_dataset("coco", root / "data", "test").categories
    record = json.loads((out / "panoptic.json").read_text())["annotations"][0]
    assert set(record["segments_info"][0]) == {"id", "category_id", "area", "bbox", "iscrowd"}


def test_an_interrupted_run_ends_with_the_same_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(root, "semantic", "true_semantic")
    whole = run(root, "whole", "trace_panoptic", {"semantic": "semantic"})
    spec = planned(root, "cut", "predict", "trace_panoptic", {"semantic": "semantic"})
    dataset = open_dataset("coco", root / "data", "test")

    def stops(prepare: Any) -> Any:
        def prepared(*given: Any) -> Prepared:
            ours = prepare(*given)

            def answers(images: Any, ids: list[str]) -> Any:
                if dataset.ids[2] in ids:
                    raise KeyboardInterrupt
                return ours.answers(images, ids)

            return Prepared(answers)

        return prepared

    import edgebench.stages.predict as stage

    with monkeypatch.context() as patch:
        patch.setattr(stage, "prepare", stops(stage.prepare))
        with pytest.raises(KeyboardInterrupt):
            predict(spec)
    assert not (root / "cut" / "panoptic.json").exists()
    # Killed between the PNG and the record: the record counts.
    (root / "cut" / "panoptic" / f"{dataset.ids[2]}.png").write_bytes(b"half")
    predict(spec)
    names = {path.relative_to(whole) for path in (whole / "panoptic").iterdir()} | {Path("panoptic.json")}
    assert len(names) == 9
    assert all((whole / name).read_bytes() == (root / "cut" / name).read_bytes() for name in names)


def test_edges_of_another_size_are_refused(root: Path) -> None:
    run(root, "semantic", "true_semantic")
    true_edges(root)
    first = sorted((root / "edges" / "maps").iterdir())[0]
    write_map_png(first, np.zeros((10, 12)))
    with pytest.raises(DataError, match=rf"{first.name}: 10 x 12 pixels \(height x width\), but the class map"):
        run(root, "out", "trace_panoptic", {"semantic": "semantic", "edges": "edges"})


def test_brought_class_maps_are_translated(root: Path) -> None:
    dataset = open_dataset("coco", root / "data", "test")
    (root / "mine").mkdir()
    for image_id in dataset.ids:
        classes = dataset.semantic(image_id)
        Image.fromarray(np.where(classes > 4, 0, classes * 10).astype(np.uint8)).save(root / "mine" / f"{image_id}.png")
    values = {0: 255, 10: 1, 20: 2, 30: 3, 40: 4}
    out = run(root, "out", "brought_semantic", folder=str(root / "mine"), values=values)
    for image_id in dataset.ids:
        classes = dataset.semantic(image_id)
        found = read_semantic(out / "semantic" / f"{image_id}.png")
        np.testing.assert_array_equal(found, np.where(classes > 4, 255, classes))
    with pytest.raises(DataError, match="are no class of the data set"):
        run(root, "other", "brought_semantic", folder=str(root / "mine"))


def test_brought_class_maps_that_do_not_fit_are_refused(root: Path) -> None:
    dataset = open_dataset("coco", root / "data", "test")
    (root / "mine").mkdir()
    for image_id in dataset.ids:
        Image.new("L", (SIDE, SIDE)).save(root / "mine" / f"{image_id}.png")
    Image.new("L", (SIDE, SIDE + 1)).save(root / "mine" / f"{dataset.ids[1]}.png")
    with pytest.raises(DataError, match=rf"{dataset.ids[1]}\.png: is 64x65 pixels, its image 64x64"):
        run(root, "a", "brought_semantic", folder=str(root / "mine"))
    (root / "mine" / f"{dataset.ids[0]}.png").unlink()
    with pytest.raises(DataError, match=rf"1 of 4 images have no class map here, the first is '{dataset.ids[0]}'"):
        run(root, "b", "brought_semantic", folder=str(root / "mine"))


def test_brought_segmentations_are_found_by_their_numbers(root: Path) -> None:
    annotations = root / "data" / "annotations"
    given = {"file": str(annotations / "panoptic_test.json"), "folder": str(annotations / "panoptic_test")}
    out = run(root, "out", "brought_panoptic", **given)
    assert quality(root, out)["all"]["pq"] == 1.0
    content = json.loads((annotations / "panoptic_test.json").read_text())
    number = content["annotations"].pop()["image_id"]
    (root / "less.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"less\.json: 1 of 4 images have no annotation here, .*{number}"):
        run(root, "less", "brought_panoptic", file=str(root / "less.json"), folder=given["folder"])


def test_a_segment_of_no_pixels_is_not_listed(root: Path) -> None:
    run(root, "semantic", "true_semantic")
    out = run(root, "out", "trace_panoptic", {"semantic": "semantic"}, limit=1)
    (path,) = (out / "panoptic").glob("*.json")
    found = read_segmentation(path)
    assert set(found.segments) == set(np.unique(found.ids[found.ids > 0]).tolist())
