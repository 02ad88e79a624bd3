from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.lines import Line2D
from PIL import Image

from edgebench.errors import ConfigError, DataError
from edgebench.report.collect import collect
from edgebench.report.figures import pooled_curve, precision_recall, quality_against_time, write_figure
from edgebench.report.pictures import choose_ids, image_grid

MakeTable = Callable[..., Path]
IDS = [f"img{k:03d}" for k in range(6)]


def xy(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xydata())


class Drawn:
    """A data set of constant images with two annotators who disagree in one pixel."""

    ids = IDS

    def image(self, image_id: str) -> np.ndarray:
        return np.full((8, 12, 3), 40 * IDS.index(image_id), np.uint8)

    def boundaries(self, image_id: str) -> list[np.ndarray]:
        first = np.zeros((8, 12), bool)
        first[3] = True
        second = first.copy()
        second[0, 0] = True
        return [first, second]

    def panoptic(self, image_id: str) -> None:
        raise DataError(f"{image_id}: no segments")


@pytest.fixture
def with_maps(make_table: MakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table's plan whose rows have maps of `Drawn`; the last row lacks the first image."""
    spec = make_table()
    content = json.loads(spec.read_text())
    for k, row in enumerate(content["rows"][:3]):
        row["runs"][0]["dataset"] = {"folder": "data", "layout": "bsds", "split": "test", "limit": None}
        for image_id in IDS[1:] if k == 2 else IDS:
            path = tmp_path / row["runs"][0]["predict"] / "maps" / f"{image_id}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((8, 12), 51 * k, np.uint8)).save(path)
    spec.write_text(json.dumps(content))
    adapters = types.ModuleType("edgebench.data.adapters")
    adapters.open_dataset = lambda layout, folder, split: Drawn()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "edgebench.data.adapters", adapters)
    return spec


def test_images_are_spread_evenly_and_not_picked() -> None:
    assert choose_ids([f"{k:02d}" for k in reversed(range(10))], 4) == ["00", "03", "06", "09"]
    assert choose_ids(["b", "a"], 4) == ["a", "b"]
    assert choose_ids(["a"], 4) == ["a"]


def test_image_grid_shows_inputs_annotators_and_maps(with_maps: Path, tmp_path: Path) -> None:
    figure = image_grid(collect(with_maps, tmp_path))
    grid = np.array(figure.axes).reshape(4, 5)
    titles = [axes.get_title() for axes in grid[0]]
    assert titles == ["Input", "Annotators", "locmax, 10 steps", "topk, 10 steps", "one-shot | 50 %\n<net>"]
    names = [axes.get_ylabel() for axes in grid[:, 0]]
    assert names == ["img001", "img002", "img004", "img005"]  # img000 has no map in the last row
    shown = [np.asarray(axes.images[0].get_array()) for axes in grid[0]]
    assert shown[0].shape == (8, 12, 3)
    assert shown[0].max() == 40
    assert (shown[1][0, 0], shown[1][3, 5], shown[1][5, 5]) == (0.5, 0, 1)
    assert [float(each.max()) for each in shown[2:]] == pytest.approx([1, 0.8, 0.6])
    assert "scale demo" in figure.get_suptitle()
    assert "not comparable" in figure.get_suptitle()


def test_image_grid_without_annotators(with_maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: Drawn, image_id: str) -> list[np.ndarray]:
        raise DataError("no annotators")

    monkeypatch.setattr(Drawn, "boundaries", none)
    figure = image_grid(collect(with_maps, tmp_path))
    assert len(figure.axes) == 4 * 4


def test_image_grid_needs_maps(with_maps: Path, tmp_path: Path) -> None:
    for path in tmp_path.glob("results/runs/predict/topk10-s0/maps/*"):
        path.unlink()
    with pytest.raises(DataError, match=r"no image of .*data"):
        image_grid(collect(with_maps, tmp_path))


def test_a_damaged_map_is_named(with_maps: Path, tmp_path: Path) -> None:
    path = tmp_path / "results/runs/predict/topk10-s0/maps/img002.png"
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(DataError, match=r"maps/img002\.png: not a readable PNG"):
        image_grid(collect(with_maps, tmp_path))


def test_curves_pool_the_counts_of_all_seeds(make_table: MakeTable, tmp_path: Path) -> None:
    collected = collect(make_table(seeds=(0, 1)), tmp_path)
    evaluations = [run.evaluations["bsds_ceval"] for run in collected.row("topk,10").runs]
    P, R = pooled_curve(evaluations)
    files = [np.load(each.folder / "counts.npz") for each in evaluations]
    total = {name: sum(file[name][:, 4].sum() for file in files) for name in ("cntR", "sumR", "cntP", "sumP")}
    assert P[4] == pytest.approx(total["cntP"] / total["sumP"])
    assert R[4] == pytest.approx(total["cntR"] / total["sumR"])


def test_precision_recall_has_a_panel_per_protocol_and_a_point_per_row(make_table: MakeTable, tmp_path: Path) -> None:
    collected = collect(make_table(), tmp_path)
    figure = precision_recall(collected)
    assert [axes.get_title() for axes in figure.axes] == ["bsds_seval", "bsds_ceval"]
    labels = [line.get_label() for line in figure.axes[0].lines if not str(line.get_label()).startswith("_")]
    assert labels == ["locmax, 10 steps", "topk, 10 steps", "one-shot | 50 % <net>"]
    ods = collected.row("topk,10").runs[0].evaluations["bsds_seval"].scores["ods"]
    points = [xy(line)[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert np.allclose(points[1], [ods["recall"], ods["precision"]])
    # The iso-F lines really have the F they are labelled with.
    recall, precision = xy(figure.axes[0].lines[4])[57]
    assert 2 * precision * recall / (precision + recall) == pytest.approx(0.5)


def test_precision_recall_needs_counts(make_table: MakeTable, tmp_path: Path) -> None:
    spec = make_table()
    for path in tmp_path.glob("results/runs/*/*/counts.npz"):
        path.unlink()
    with pytest.raises(DataError, match="no curve to draw"):
        precision_recall(collect(spec, tmp_path))


def test_quality_against_time(make_table: MakeTable, tmp_path: Path) -> None:
    collected = collect(make_table(), tmp_path)
    figure = quality_against_time(collected)
    assert [axes.get_title() for axes in figure.axes] == ["AC", "CEval ODS"]
    assert {axes.get_xscale() for axes in figure.axes} == {"log"}
    points = [xy(line)[0].tolist() for line in figure.axes[1].lines if len(xy(line)) == 1]
    assert points == [
        [row.runs[0].value("seconds_per_image"), row.runs[0].value("ceval_ods")] for row in collected.rows[:3]
    ]


def test_quality_against_time_needs_times(make_table: MakeTable, tmp_path: Path) -> None:
    spec = make_table()
    for path in tmp_path.glob("results/runs/predict/*/run.json"):
        content = json.loads(path.read_text())
        del content["seconds_per_image"]
        path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="no row has both a time"):
        quality_against_time(collect(spec, tmp_path))


def test_the_same_runs_give_the_same_bytes(with_maps: Path, tmp_path: Path) -> None:
    for name, kinds in (("quality_against_time", ["png", "svg"]), ("image_grid", ["png"])):
        paths = write_figure(with_maps, name, tmp_path / "figures" / name, tmp_path)
        assert [path.name for path in paths] == [f"{name}.{kind}" for kind in kinds]
        first = [path.read_bytes() for path in paths]
        write_figure(with_maps, name, tmp_path / "figures" / name, tmp_path)
        assert [path.read_bytes() for path in paths] == first


def test_unknown_figure_names_the_nearest(make_table: MakeTable, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'image_grid'"):
        write_figure(make_table(), "image_grids", tmp_path / "x", tmp_path)
