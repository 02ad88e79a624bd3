"""The predict stage with instances: base masks, true masks, masks of others, and their refinement by edges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgebench.data.images import write_map_png
from edgebench.data.instances import Instances, encode, from_masks, read_instances, write_instances
from edgebench.errors import DataError, EdgebenchError
from edgebench.files import write_json
from edgebench.plan.methods import settings_class
from edgebench.stages.evaluate_instances import evaluate_instances
from edgebench.stages.predict import predict
from edgebench.stages.run import carry_out
from edgebench.stages.spec import RunSpec

SIZE = (64, 96)
IDS = ("000000000003", "000000000012", "000000000020")


def rooms() -> tuple[np.ndarray, np.ndarray]:
    masks = np.zeros((3, *SIZE), bool)
    for mask, left in zip(masks, (8, 36, 64), strict=True):
        mask[16:48, left : left + 24] = True
    edges = np.zeros(SIZE)
    edges[12:52, 4:92] = 1
    edges[masks.any(0)] = 0
    return masks, edges


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """COCO's layout: three rooms in each image, two of one class, and a crowd; runs of masks and of edges."""
    data = tmp_path / "data"
    masks, edges = rooms()
    annotations: list[dict[str, Any]] = []
    for image_id in IDS:
        image = np.full((*SIZE, 3), (20, 40, 160), np.uint8)
        for mask, colour in zip(masks, ((200, 30, 30), (30, 180, 40), (220, 210, 40)), strict=True):
            image[mask] = colour
        (data / "val2017").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(data / "val2017" / f"{image_id}.png")
        for mask, category, crowd in (*zip(masks, (1, 1, 2), (0, 0, 0), strict=True), (masks[0], 2, 1)):
            entry = {"image_id": int(image_id), "category_id": category, "iscrowd": crowd, "area": int(mask.sum())}
            annotations.append({"id": len(annotations) + 1, "segmentation": encode(mask), **entry})
        write_map_png(tmp_path / "edges" / "maps" / f"{image_id}.png", edges)
        joined = from_masks(np.array([masks.any(0)]), SIZE, [0.5])
        write_instances(tmp_path / "masks" / "instances" / f"{image_id}.json", joined)
    content = {
        "images": [{"id": int(i), "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in IDS],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "room"}, {"id": 2, "name": "hall"}],
    }
    (data / "annotations").mkdir()
    (data / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    for folder in ("data", "masks", "edges"):
        write_json(tmp_path / folder / "run.json", {})
    return tmp_path


def spec(inputs: Path, run: str, method: str, **options: Any) -> RunSpec:
    roles = {"masks": "masks", "edges": "edges"} if method == "trace_refine" else {}
    chosen = settings_class("predict", method, "test").model_validate(
        {"stage": "predict", "method": method, "dataset": "rooms", "split": "val2017", **roles, **options}
    )
    return RunSpec(
        {
            **dict.fromkeys(("id", "role", "version", "scale"), ""),
            "stage": "predict",
            "folder": str(inputs / run),
            "label": run,
            "seed": None,
            "settings": chosen.model_dump(mode="json"),
            "inputs": {"dataset": str(inputs / "data"), **{name: str(inputs / name) for name in roles}},
            "dataset": {"name": "rooms", "layout": "coco"},
            "resources": {},
        }
    )


def found(inputs: Path, run: str, method: str, **options: Any) -> dict[str, Instances]:
    predict(spec(inputs, run, method, **options))
    return {path.stem: read_instances(path) for path in sorted((inputs / run / "instances").glob("*.json"))}


def test_true_masks_by_instance_and_by_class(inputs: Path) -> None:
    masks, _ = rooms()
    for each in found(inputs, "one", "true_masks").values():
        np.testing.assert_array_equal(each.masks(), masks)
        assert [(item.category, item.score) for item in each.items] == [(1, 1), (1, 1), (2, 1)]
    for each in found(inputs, "all", "true_masks", by="class").values():
        np.testing.assert_array_equal(each.masks(), [masks[0] | masks[1], masks[2]])
        assert [item.category for item in each.items] == [1, 2]


def test_base_masks_are_segments_without_the_background(inputs: Path) -> None:
    masks, _ = rooms()
    everything = found(inputs, "all", "felzenszwalb_masks", border=1, largest=1, scales=[200])
    objects = found(inputs, "some", "felzenszwalb_masks", scales=[200])
    for image_id in IDS:
        assert len(everything[image_id].items) == len(objects[image_id].items) + 1
        for mask in masks:
            ious = [(each & mask).sum() / (each | mask).sum() for each in objects[image_id].masks()]
            assert max(ious) > 0.7
    assert all(not each.items for each in found(inputs, "none", "felzenszwalb_masks", smallest=0.4).values())


def test_refinement_finds_the_rooms(inputs: Path) -> None:
    masks, _ = rooms()
    refined = found(inputs, "out", "trace_refine")
    assert list(refined) == list(IDS)
    for each in refined.values():
        for grown, mask in zip(each.masks(), masks, strict=True):
            assert (grown & mask).sum() == mask.sum()
            assert (grown & masks.any(0) & ~mask).sum() == 0
    assert found(inputs, "kept", "trace_refine", score="kept")[IDS[0]].items[0].score == 0.5


def test_every_option_reaches_the_refinement(inputs: Path) -> None:
    path = inputs / "edges" / "maps" / f"{IDS[0]}.png"
    rng = np.random.default_rng(0)
    write_map_png(path, np.clip(0.7 * rooms()[1] + 0.3 * rng.random(SIZE), 0, 1))
    noise = np.repeat(np.repeat(rng.random((16, 24)) > 0.5, 4, 0), 4, 1)
    few = noise & rooms()[0].any(0)
    small = np.zeros(SIZE, bool)
    small[20:26, 70:76] = True
    given = from_masks([few, small, rooms()[0][1]], SIZE, [0.5, 0.2, 0.9])
    write_instances(inputs / "masks" / "instances" / f"{IDS[0]}.json", given)

    def masks(folder: str, **options: Any) -> Instances:
        return found(inputs, folder, "trace_refine", **{"limit": 1, "steps": 3, **options})[IDS[0]]

    plain = masks("plain")
    changes: list[dict[str, Any]] = [
        {"order": "components_only"},
        {"order": "propagate_first"},
        {"order": "propagate_only"},
        {"edge_threshold": 0.1},
        {"connectivity": 8},
        {"smallest": 0.02},
        {"stride": 2},
        {"grid": 11},
        {"edge_pooling": "mean"},
        {"radius": 3},
        {"beta": 1},
        {"steps": 2},
        {"divide_by": "image_max"},
        {"background": 0.8},
        {"merge_above": 1},
        {"score": "one"},
    ]
    for number, options in enumerate(changes):
        assert masks(f"other{number}", **options) != plain, options


def test_an_interrupted_run_ends_with_the_same_files(inputs: Path) -> None:
    def files(folder: str) -> dict[str, bytes]:
        kept = [*(inputs / folder / "instances").iterdir(), *(inputs / folder).glob("results*.json")]
        return {path.name: path.read_bytes() for path in sorted(kept)}

    for folder in ("whole", "cut"):
        write_json(inputs / f"{folder}.json", spec(inputs, folder, "trace_refine").content)
        carry_out(inputs / f"{folder}.json")
    assert len(files("whole")) == 5
    (inputs / "cut" / "instances" / f"{IDS[1]}.json").unlink()
    (inputs / "cut" / "results.json").unlink()
    (inputs / "cut" / ".unfinished").touch()
    carry_out(inputs / "cut.json")
    assert files("cut") == files("whole")


def test_the_results_can_be_scored_and_brought(inputs: Path) -> None:
    masks, _ = rooms()
    predict(spec(inputs, "true", "true_masks"))
    truth = inputs / "data" / "annotations" / "instances_val2017.json"
    scores = evaluate_instances(inputs / "true" / "results.json", truth).scores
    assert scores["ap"] == scores["ar100"] == 1
    predict(spec(inputs, "refined", "trace_refine"))
    after = evaluate_instances(inputs / "refined" / "results.json", truth).scores["ap75"]
    assert after is not None
    assert after > 0.5
    again = found(inputs, "again", "brought_instances", file=str(inputs / "true" / "results.json"))
    for each in again.values():
        np.testing.assert_array_equal(each.masks(), masks)
    record = predict(spec(inputs, "again", "brought_instances", file=str(inputs / "true" / "results.json")))
    assert record["form"] == "results"
    with pytest.raises(DataError, match="no such folder"):
        predict(spec(inputs, "lost", "brought_instances", folder=str(inputs / "lost")))


def test_edges_can_be_brought_where_a_data_set_has_no_masks(inputs: Path) -> None:
    predict(spec(inputs, "brought", "brought", folder=str(inputs / "edges" / "maps")))
    for image_id in IDS:
        ours, theirs = (inputs / run / "maps" / f"{image_id}.png" for run in ("brought", "edges"))
        np.testing.assert_array_equal(np.asarray(Image.open(ours)), np.asarray(Image.open(theirs)))


def test_edges_of_another_size_and_unfinished_runs(inputs: Path) -> None:
    write_map_png(inputs / "edges" / "maps" / f"{IDS[0]}.png", np.zeros((10, 10)))
    with pytest.raises(DataError, match=r"000000000003.png: 10 x 10 pixels .* but the masks of its image have 64 x 96"):
        predict(spec(inputs, "out", "trace_refine"))
    (inputs / "masks" / "run.json").unlink()
    with pytest.raises(EdgebenchError, match=r"needed first .masks."):
        predict(spec(inputs, "out", "trace_refine"))
