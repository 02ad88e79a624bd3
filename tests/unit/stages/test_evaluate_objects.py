"""Runs of stage `evaluate` on instances and on the edges between them: scores, counts and their intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgebench.cli.evaluate import app
from edgebench.data.adapters import open_dataset
from edgebench.data.images import write_map_png
from edgebench.data.instances import Instance, Instances, decode, encode, write_instances
from edgebench.data.panoptic import Segment, Segmentation, join_records, write_segmentation
from edgebench.data.scenes import draw_dataset
from edgebench.errors import DataError
from edgebench.files import read_json, write_json
from edgebench.metrics.instance_edges import segment_edges
from edgebench.metrics.instances import INSTANCE_METRICS
from edgebench.report.bootstrap import Bootstrap, interval
from edgebench.report.collect import Evaluation
from edgebench.stages.evaluate_objects import has_adjacent
from edgebench.stages.run import carry_out

pytest.importorskip("faster_coco_eval")

INSTANCES = {
    "name": "instances",
    "title": "Instances",
    "method": "instances",
    "columns": "",
    "per_class": False,
    "images": "all",
}
EDGES = {
    "name": "instance_edges",
    "title": "Edges",
    "method": "instance_edges",
    "columns": "edge",
    "nms": None,
    "thin": True,
    "max_distance": 0.02,
    "thresholds": 9,
    "void": False,
    "truth": "panoptic",
}


PANOPTIC = {"name": "panoptic", "title": "Panoptic quality", "method": "panoptic", "columns": ""}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten drawn scenes in COCO's layout."""
    folder = tmp_path_factory.mktemp("scenes")
    draw_dataset(folder / "data", {"val": 10}, size=64, style="T", seed=5, layout="coco")
    write_json(folder / "data" / "run.json", {})
    return folder / "data"


def moved(truth: Instances, seed: int) -> Instances:
    """Found instances: the true ones, moved, with scores, and one of them missed."""
    generator = np.random.default_rng(seed)
    items = []
    for each in truth.items[1:]:
        mask = np.roll(decode(each.mask), generator.integers(0, 4, 2), (0, 1))
        items.append(Instance(encode(mask), float(generator.random()), each.category))
    return Instances(truth.size, items)


@pytest.fixture
def predicted(scenes: Path, tmp_path: Path) -> Path:
    """A predict run with instances, with maps of edges and with panoptic segmentations."""
    dataset = open_dataset("coco", scenes, "val")
    for index, image_id in enumerate(dataset.ids):
        write_instances(
            tmp_path / "predict" / "instances" / f"{image_id}.json", moved(dataset.instances(image_id), index)
        )
        edges = segment_edges(np.roll(dataset.panoptic(image_id)[0], index % 3, axis=1))
        path = tmp_path / "predict" / "maps" / f"{image_id}.png"
        path.parent.mkdir(exist_ok=True)
        write_map_png(path, 0.7 * edges + 0.2 * np.random.default_rng(index).random(edges.shape))
        ids, segments = dataset.panoptic(image_id)
        ids = np.roll(ids, index % 4, axis=0)
        # The first segment goes by another class, the last one is not found.
        first, *_, last = sorted(segments)
        found = {key: Segment(each.category) for key, each in segments.items() if key != last}
        found[first] = Segment(found[max(found)].category)
        write_segmentation(
            tmp_path / "predict" / "panoptic" / f"{image_id}.json",
            Segmentation(np.where(ids == last, 0, ids).astype(np.uint32), found),
        )
    write_json(tmp_path / "predict" / "run.json", {})
    return tmp_path / "predict"


def evaluated(predicted: Path, scenes: Path, protocol: dict[str, Any], threads: int = 1, **settings: Any) -> Path:
    spec = {
        "id": "1",
        "label": "test",
        "version": 1,
        "scale": "demo",
        "seed": None,
        "dataset": {"name": "scenes", "layout": "coco"},
        "resources": {},
        "stage": "evaluate",
        "role": "evaluate",
        "folder": str(predicted.parent / "evaluate"),
        "settings": {"method": protocol["method"], "dataset": "scenes", "split": "val", "limit": None, **settings},
        "inputs": {"dataset": str(scenes), "predictions": str(predicted)},
        "protocol": protocol,
    }
    write_json(predicted.parent / "plan.json", spec)
    return carry_out(predicted.parent / "plan.json", threads)


def evaluation_of(folder: Path) -> Evaluation:
    content = read_json(folder / "scores.json")
    return Evaluation(
        "p",
        folder,
        "1",
        content["version"],
        content["protocol"],
        content["columns"],
        content["scores"],
        content["n_images"],
    )


def columns_once(folder: Path) -> dict[str, float]:
    """Every column as the bootstrap computes it of each image drawn once."""
    bootstrap = Bootstrap()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgebench.report.bootstrap.draw_weights", lambda ids, *_: np.ones((1, len(ids))))
        _, columns = bootstrap.evaluation(evaluation_of(folder))
    return {name: float(values[0]) for name, values in columns.items()}


@pytest.mark.parametrize("per_class", [False, True])
def test_run_and_command_score_instances_alike(predicted: Path, scenes: Path, tmp_path: Path, per_class: bool) -> None:
    folder = evaluated(predicted, scenes, INSTANCES | {"per_class": per_class, "columns": "class" if per_class else ""})
    dataset = open_dataset("coco", scenes, "val")
    results = [
        {"image_id": int(image_id), "category_id": each["category_id"], **each}
        for image_id in dataset.ids
        for each in read_json(predicted / "instances" / f"{image_id}.json")["instances"]
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    arguments = ["--predictions", str(tmp_path / "results.json"), "--output", str(tmp_path / "command.json")]
    arguments += ["--ground-truth", str(scenes / "annotations" / "instances_val.json")]
    arguments += ["--per-class"] if per_class else []
    CliRunner().invoke(app, ["instances", *arguments], catch_exceptions=False)
    expected = json.loads((tmp_path / "command.json").read_text())
    found = read_json(folder / "scores.json")
    prefix = "class_" if per_class else ""
    assert found["columns"] == {
        f"{prefix}{key}": value for key, value in expected["dataset"].items() if value is not None
    }
    assert 0.1 < found["columns"][f"{prefix}ap"] < 0.9
    assert found["n_images"] == 10
    assert found["scores"]["instances"]["annotated"] == expected["n_instances"]
    assert found["scores"]["instances"]["note"].startswith("by faster-coco-eval 1.")


def test_sizes_go_by_masks_and_not_by_boxes(predicted: Path, scenes: Path) -> None:
    """A prediction that carried a box would be small or large by it; runs carry none."""
    folder = evaluated(predicted, scenes, INSTANCES)
    before = read_json(folder / "scores.json")["columns"]
    for path in (predicted / "instances").iterdir():
        content = read_json(path)
        for each in content["instances"]:
            each["bbox"] = [0, 0, 64, 64]
        write_json(path, content)
    assert read_json(evaluated(predicted, scenes, INSTANCES) / "scores.json")["columns"] == before


@pytest.mark.parametrize(
    "protocol",
    [
        INSTANCES,
        INSTANCES | {"per_class": True, "columns": "class"},
        EDGES,
        EDGES | {"truth": "instances", "columns": ""},
    ],
)
def test_intervals_are_of_the_same_scores(predicted: Path, scenes: Path, protocol: dict[str, Any]) -> None:
    folder = evaluated(predicted, scenes, protocol)
    evaluation = evaluation_of(folder)
    once = columns_once(folder)
    assert {name: once[name] for name in evaluation.columns} == pytest.approx(evaluation.columns, rel=0, abs=1e-9)
    ids, resampled = Bootstrap(resamples=200).evaluation(evaluation)
    assert len(ids) == 10
    for name, value in evaluation.columns.items():
        low, high = interval(resampled[name])
        assert low <= value + 1e-9 <= high + 2e-9, name
    assert np.std(resampled[next(iter(evaluation.columns))]) > 0


def test_both_kinds_of_images_make_all(predicted: Path, scenes: Path) -> None:
    dataset = open_dataset("coco", scenes, "val")
    adjacent = [each for each in dataset.ids if has_adjacent(dataset, each, dataset.instances(each), 2)]
    assert 0 < len(adjacent) < 10
    counted = {}
    for kind in ("adjacent", "apart"):
        protocol = INSTANCES | {"name": kind, "columns": kind, "images": kind, "reach": 2}
        folder = evaluated(predicted, scenes, protocol)
        scores = read_json(folder / "scores.json")
        with np.load(folder / "counts.npz", allow_pickle=False) as file:
            counted[kind] = file["ids"].tolist()
        assert set(scores["columns"]) <= {f"{kind}_{name}" for name in INSTANCE_METRICS}
        assert scores["n_images"] == len(counted[kind])
        assert scores["scores"]["images"]["of"] == 10
        assert f"{len(counted[kind])} of 10 images" in scores["scores"]["images"]["note"]
    assert counted["adjacent"] == adjacent
    assert sorted(counted["adjacent"] + counted["apart"]) == dataset.ids


def test_without_an_image_of_the_kind_there_is_nothing_to_score(
    predicted: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgebench.stages.evaluate_objects.has_adjacent", lambda *_: False)
    with pytest.raises(DataError, match="none of the 10 images is of the kind 'adjacent'"):
        evaluated(predicted, scenes, INSTANCES | {"images": "adjacent", "reach": 2})


def test_a_prediction_of_another_size_or_class_is_named(predicted: Path, scenes: Path) -> None:
    path = sorted((predicted / "instances").iterdir())[3]
    good = read_json(path)
    write_json(path, good | {"height": 63})
    with pytest.raises(DataError, match=rf"{path.name}: 63 x 64 pixels"):
        evaluated(predicted, scenes, INSTANCES)
    good["instances"][0]["category_id"] = 77
    write_json(path, good)
    evaluated(predicted, scenes, INSTANCES)
    with pytest.raises(DataError, match=rf"{path.name}: has objects of the classes \[77\]"):
        evaluated(predicted, scenes, INSTANCES | {"per_class": True})


def test_run_and_command_score_edges_alike(predicted: Path, scenes: Path, tmp_path: Path) -> None:
    protocol = EDGES | {"nms": {"radius": 1, "border": 5, "multiplier": 1.01}, "void": True}
    folder = evaluated(predicted, scenes, protocol)
    annotations = scenes / "annotations"
    arguments = ["--predictions", str(predicted / "maps"), "--output", str(tmp_path / "command.json")]
    arguments += ["--ground-truth", str(annotations / "panoptic_val.json"), "--void"]
    arguments += ["--ground-truth-dir", str(annotations / "panoptic_val"), "--max-distance", "0.02"]
    arguments += ["--thresholds", "9", "--counts", str(tmp_path / "command.npz")]
    CliRunner().invoke(app, ["instance-edges", *arguments], catch_exceptions=False)
    expected = json.loads((tmp_path / "command.json").read_text())
    found = read_json(folder / "scores.json")
    assert found["scores"] == {name: expected[name] for name in ("ods", "ois", "ap", "cldice", "cldice_plain")}
    assert found["columns"] == {
        "edge_ods": expected["ods"]["f"],
        "edge_ois": expected["ois"]["f"],
        "edge_ap": expected["ap"]["value"],
        "edge_cldice": expected["cldice"]["value"],
        "edge_cldice_plain": expected["cldice_plain"]["value"],
    }
    with np.load(folder / "counts.npz") as ours, np.load(tmp_path / "command.npz") as theirs:
        assert set(ours) == set(theirs)
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.parametrize("threads", [1, 2])
def test_run_and_command_score_segmentations_alike(predicted: Path, scenes: Path, tmp_path: Path, threads: int) -> None:
    folder = evaluated(predicted, scenes, PANOPTIC, threads)
    dataset, annotations = open_dataset("coco", scenes, "val"), scenes / "annotations"
    records: dict[int | str, Path] = {
        int(image_id): predicted / "panoptic" / f"{image_id}.json" for image_id in dataset.ids
    }
    join_records(tmp_path / "joined.json", records, dataset.categories)
    arguments = ["--predictions", str(tmp_path / "joined.json"), "--prediction-dir", str(predicted / "panoptic")]
    arguments += ["--ground-truth", str(annotations / "panoptic_val.json"), "--output", str(tmp_path / "command.json")]
    arguments += ["--ground-truth-dir", str(annotations / "panoptic_val")]
    CliRunner().invoke(app, ["panoptic", *arguments], catch_exceptions=False)
    expected = json.loads((tmp_path / "command.json").read_text())
    found = read_json(folder / "scores.json")
    assert found["scores"] == {name: expected[name] for name in ("all", "things", "stuff", "per_class")}
    assert found["columns"] == {
        f"{quality}{'' if group == 'all' else f'_{group}'}": expected[group][quality]
        for group in ("all", "things", "stuff")
        for quality in ("pq", "sq", "rq")
        if expected[group][quality] is not None
    }
    assert 0.05 < found["columns"]["pq"] < 0.95
    with np.load(folder / "counts.npz") as counts:
        assert counts["things"].tolist() == [each.thing for each in dataset.categories.values()]
        totals = counts["tp"].sum(axis=0)
        for place, key in enumerate(counts["categories"].tolist()):
            assert totals[place] == expected["per_class"].get(str(key), {"tp": 0})["tp"]


def test_a_segment_of_an_unknown_class_is_named(predicted: Path, scenes: Path) -> None:
    path = sorted((predicted / "panoptic").glob("*.json"))[2]
    content = read_json(path)
    content["segments_info"][0]["category_id"] = 999
    write_json(path, content)
    with pytest.raises(DataError, match=rf"{path.name}: has segments of the classes 999"):
        evaluated(predicted, scenes, PANOPTIC)
