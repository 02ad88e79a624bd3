"""Figures of instances, panoptic segments and of what TRACE's first stage found, on drawn scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgebench.data.adapters import open_dataset
from edgebench.data.instances import from_masks, write_instances
from edgebench.data.scenes import draw_dataset
from edgebench.errors import DataError
from edgebench.report.attention_plots import _any_in_cells
from edgebench.report.figures import write_figure

N = 3
TAUS = np.array([0, 99, 199, 299])


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    draw_dataset(tmp_path / "data", {"val": N}, style="T", layout="coco", size=48)
    return tmp_path


def run(root: Path, name: str, **record: Any) -> Path:
    folder = root / "results/runs/predict" / f"{name}-{name:0>10}"
    folder.mkdir(parents=True)
    content = {"id": f"{name:0>10}", "n_images": N, "settings": {}, "inputs": {}} | record
    (folder / "run.json").write_text(json.dumps(content))
    return folder


def plan(root: Path, figure: str, *runs: Path) -> Path:
    data = {"folder": "data", "layout": "coco", "split": "val", "images": N, "limit": None}
    rows = [
        {
            "key": each.name,
            "label": f"Row {each.name}",
            "published": {},
            "runs": [{"seed": 0, "predict": str(each.relative_to(root)), "dataset": data, "evaluations": {}}],
        }
        for each in runs
    ]
    spec: dict[str, Any] = {"id": "0", "title": "A table", "paper": "trace", "table": "t", "scale": "demo"}
    spec |= {"scale_title": "small", "columns": ["ap"], "seeds": [0], "figures": [figure]}
    path = root / "plan.json"
    path.write_text(json.dumps(spec | {"rows": rows}))
    return path


def drawn(root: Path, figure: str, *runs: Path) -> np.ndarray:
    path = write_figure(plan(root, figure, *runs), figure, root / figure, root)[0]
    return np.asarray(Image.open(path).convert("RGB"))


def with_instances(root: Path) -> Path:
    folder, dataset = run(root, "a"), open_dataset("coco", root / "data", "val")
    for image in dataset.ids:
        masks = dataset.instances(image).masks()[:2]
        write_instances(folder / "instances" / f"{image}.json", from_masks(masks, dataset.size(image)))
    return folder


def with_labels(root: Path, name: str = "b", taus: np.ndarray = TAUS) -> Path:
    folder = run(root, name)
    (folder / "maps").mkdir()
    (folder / "labels").mkdir()
    rng = np.random.default_rng(0)
    for image in open_dataset("coco", root / "data", "val").ids:
        Image.fromarray(np.zeros((48, 48), np.uint8)).save(folder / "maps" / f"{image}.png")
        np.savez(
            folder / "labels" / f"{image}.npz",
            scores=rng.random((12, 12), np.float32),
            taus=taus,
            curve=rng.random(max(len(taus) - 1, 0)),
            kept=np.int64(taus[-1]),
        )
    return folder


class TestSegments:
    def test_instances_are_shown_in_colours(self, scenes: Path) -> None:
        picture = drawn(scenes, "segment_grid", with_instances(scenes))
        saturation = picture.max(axis=2).astype(int) - picture.min(axis=2)
        assert (saturation > 80).mean() > 0.05

    def test_panoptic_segments_stand_beside_the_true_ones(self, scenes: Path) -> None:
        folder = run(scenes, "c")
        (folder / "panoptic").mkdir()
        for image in open_dataset("coco", scenes / "data", "val").ids:
            Image.fromarray(np.full((48, 48, 3), 7, np.uint8)).save(folder / "panoptic" / f"{image}.png")
        assert drawn(scenes, "segment_grid", folder).std() > 10

    def test_missing_segments_are_named(self, scenes: Path) -> None:
        with pytest.raises(DataError, match="was predicted in every row"):
            drawn(scenes, "segment_grid", run(scenes, "d"))


class TestFirstStage:
    def test_curves_of_rows_that_lead_to_labels(self, scenes: Path) -> None:
        labels = with_labels(scenes)
        run(scenes, "w", inputs={"labels": labels.name[-10:]})
        edges = run(scenes, "e", inputs={"weights": f"{'w':0>10}"})
        refined = run(scenes, "f", inputs={"edges": edges.name[-10:]})
        assert drawn(scenes, "divergence_curves", refined).std() > 10

    def test_a_network_without_time_has_no_curve(self, scenes: Path) -> None:
        with pytest.raises(DataError, match="no row's edges come from a search"):
            drawn(scenes, "divergence_curves", with_labels(scenes, taus=TAUS[:1]))

    def test_abdiv_at_borders_and_inside(self, scenes: Path) -> None:
        assert drawn(scenes, "abdiv_pixels", with_labels(scenes)).std() > 10
        with pytest.raises(DataError, match="no row is scored on the edges"):
            drawn(scenes, "abdiv_pixels", run(scenes, "g"))

    def test_a_damaged_file_is_named(self, scenes: Path) -> None:
        folder = with_labels(scenes)
        broken = next((folder / "labels").glob("*.npz"))
        broken.write_bytes(b"nothing")
        with pytest.raises(DataError, match=broken.name):
            drawn(scenes, "abdiv_pixels", folder)

    def test_a_token_is_at_a_border_when_any_of_its_pixels_is(self) -> None:
        mask = np.zeros((5, 7), bool)
        mask[4, 6] = mask[0, 0] = True
        assert _any_in_cells(mask, (2, 3)).tolist() == [[True, False, False], [False, False, True]]
