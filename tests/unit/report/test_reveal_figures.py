"""Figures of how maps are revealed: frames, strength of guidance, number of steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgebench.data.adapters.bsds_mat import write_bsds_annotation
from edgebench.errors import DataError
from edgebench.plan.tables import FIGURES
from edgebench.report.collect import collect
from edgebench.report.figures import quality_against_steps, write_figure
from edgebench.report.pictures import guidance_strip, reveal_frames

MakeTable = Callable[..., Path]
IDS = ["img000", "img001"]
SHAPE = (8, 12)
# Settings of the three reproduced rows of `make_table`.
SETTINGS: list[dict[str, Any]] = [
    {"reveal": "locmax", "steps": 10, "guidance": 2.0},
    {"reveal": "topk", "steps": "full", "guidance": 1.0},
    {"reveal": "locmax", "steps": 1, "guidance": 1.4},
]


@pytest.fixture
def spec(make_table: MakeTable, tmp_path: Path) -> Path:
    """A table's plan with settings in the records, two images and a map of each row."""
    path = make_table()
    content = json.loads(path.read_text())
    for k, (row, settings) in enumerate(zip(content["rows"][:3], SETTINGS, strict=True)):
        run = row["runs"][0]
        run["dataset"] = {"folder": "data", "layout": "bsds", "split": "test", "limit": None}
        record = tmp_path / run["predict"] / "run.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "settings": settings}))
        for image_id in IDS:
            map_path = tmp_path / run["predict"] / "maps" / f"{image_id}.png"
            map_path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full(SHAPE, 51 * k, np.uint8)).save(map_path)
    for image_id in IDS:
        for part in ("images", "groundTruth"):
            (tmp_path / "data" / part / "test").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SHAPE[::-1], (200, 10, 10)).save(tmp_path / f"data/images/test/{image_id}.png")
        write_bsds_annotation(
            tmp_path / f"data/groundTruth/test/{image_id}.mat", [np.ones(SHAPE, int)], [np.eye(*SHAPE, dtype=bool)]
        )
    path.write_text(json.dumps(content))
    return path


def keep_reveals(spec: Path, root: Path, row: int, rounds: int) -> None:
    """Reveal rows of pixels from above, with an edge in the first and last of them."""
    folder = root / json.loads(spec.read_text())["rows"][row]["runs"][0]["predict"] / "frames"
    folder.mkdir()
    for image_id in IDS:
        order = np.minimum(np.arange(SHAPE[0])[:, None].repeat(SHAPE[1], 1), rounds - 1).astype(np.uint8)
        probability = np.zeros(SHAPE, np.uint8)
        probability[[0, -1]] = 255
        np.savez_compressed(folder / f"{image_id}.npz", order=order, probability=probability)


def change_record(spec: Path, root: Path, row: int, **changes: Any) -> None:
    path = root / json.loads(spec.read_text())["rows"][row]["runs"][0]["predict"] / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def shown(axes: Any) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def test_reveal_frames_are_those_of_the_first_row_that_kept_them(spec: Path, tmp_path: Path) -> None:
    keep_reveals(spec, tmp_path, row=1, rounds=4)
    figure = reveal_frames(collect(spec, tmp_path))
    grid = np.array(figure.axes).reshape(2, 5)
    assert [axes.get_title().replace("\n", " ") for axes in grid[0]] == [
        "Input",
        "step 1: 12 %",
        "step 2: 25 %",
        "step 3: 38 %",
        "step 4: 100 %",
    ]
    assert [axes.get_ylabel() for axes in grid[:, 0]] == IDS
    assert "topk, 10 steps" in figure.get_suptitle()
    first, last = shown(grid[0, 1]), shown(grid[1, 4])
    assert (first[0, 0] == 0).all()  # a revealed edge is dark
    assert first[1, 0].tolist() == [184, 209, 230]  # not revealed: blue
    assert (last[1, 0] == 255).all()  # revealed background is white
    assert (last[-1] == 0).all()


def test_long_reveals_are_shown_by_six_of_their_steps(spec: Path, tmp_path: Path) -> None:
    keep_reveals(spec, tmp_path, row=0, rounds=8)
    titles = [axes.get_title() for axes in reveal_frames(collect(spec, tmp_path)).axes[:6]]
    assert [title.split(":")[0] for title in titles[1:]] == [f"step {k}" for k in (1, 2, 3, 5, 8)]
    assert titles[-1].replace("\n", " ") == "step 8: 100 %"


def test_reveal_frames_say_which_setting_keeps_them(spec: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`predict\.frames: 4`"):
        reveal_frames(collect(spec, tmp_path))


def test_damaged_frames_are_named(spec: Path, tmp_path: Path) -> None:
    keep_reveals(spec, tmp_path, row=0, rounds=4)
    path = next(tmp_path.rglob("frames/img001.npz"))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"frames/img001\.npz: not a kept reveal"):
        reveal_frames(collect(spec, tmp_path))


def test_guidance_strip_goes_from_weak_to_strong(spec: Path, tmp_path: Path) -> None:
    figure = guidance_strip(collect(spec, tmp_path))
    assert [axes.get_title() for axes in figure.axes] == [
        "Input",
        "Annotators",
        "guidance 1",
        "guidance 1.4",
        "guidance 2",
    ]
    assert figure.axes[0].get_ylabel() == "img000"
    assert [float(shown(axes).max()) for axes in figure.axes[2:]] == pytest.approx([0.8, 0.6, 1])


def test_quality_is_drawn_at_the_steps_or_the_counted_rounds(spec: Path, tmp_path: Path) -> None:
    change_record(spec, tmp_path, row=1, rounds=81.5)
    for row in range(3):
        change_record(spec, tmp_path, row=row, settings={**SETTINGS[row], "guidance": 1.4})
    collected = collect(spec, tmp_path)
    figure = quality_against_steps(collected)
    assert [panel.get_title() for panel in figure.axes] == ["AC", "CEval ODS"]
    panel = figure.axes[1]
    lines = {str(line.get_label()): np.asarray(line.get_xydata()) for line in panel.lines}
    value = {row.key: row.values("ceval_ods")[0] for row in collected.rows if row.runs}
    assert lines["locmax"] == pytest.approx(np.array([[1, value["one.shot"]], [10, value["locmax,10"]]]))
    assert lines["topk"] == pytest.approx(np.array([[81.5, value["topk,10"]]]))
    rings = [line for line in panel.lines if line.get_markersize() == 11]
    assert [np.asarray(line.get_xdata()).tolist() for line in rings] == [[81.5]]


def test_lines_tell_apart_strengths_of_guidance(spec: Path, tmp_path: Path) -> None:
    change_record(spec, tmp_path, row=1, rounds=80)
    labels = quality_against_steps(collect(spec, tmp_path)).axes[0].get_legend_handles_labels()[1]
    assert labels == ["locmax, guidance 2", "topk, guidance 1", "locmax, guidance 1.4"]


def test_rounds_that_were_not_counted_are_asked_for(spec: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"topk10-s0/run\.json: does not say how many rounds `steps: full` took"):
        quality_against_steps(collect(spec, tmp_path))


@pytest.mark.parametrize("draw", [quality_against_steps, guidance_strip])
def test_tables_without_reveals(make_table: MakeTable, tmp_path: Path, draw: Any) -> None:
    with pytest.raises(DataError, match=r"no row"):
        draw(collect(make_table(), tmp_path))


@pytest.mark.parametrize(
    ("name", "suffixes"),
    [("reveal_frames", ["png"]), ("guidance_strip", ["png"]), ("quality_against_steps", ["png", "svg"])],
)
def test_files_are_written(spec: Path, tmp_path: Path, name: str, suffixes: list[str]) -> None:
    keep_reveals(spec, tmp_path, row=0, rounds=3)
    change_record(spec, tmp_path, row=1, rounds=80)
    assert write_figure(spec, name, tmp_path / name, tmp_path) == [tmp_path / f"{name}.{each}" for each in suffixes]


def test_every_figure_that_can_be_planned_can_be_drawn(spec: Path, tmp_path: Path) -> None:
    of_masks = {"mask_grid", "f_curves", "e_curves", "determinism"}  # drawn in test_mask_figures
    of_segments = {"segment_grid", "divergence_curves", "abdiv_pixels", "emergence"}  # drawn in test_segment_figures
    keep_reveals(spec, tmp_path, row=0, rounds=3)
    change_record(spec, tmp_path, row=1, rounds=80)
    for name in FIGURES.keys() - of_masks - of_segments:
        assert write_figure(spec, name, tmp_path / name, tmp_path)[0].stat().st_size > 5000
