"""Figures of masks: the grid with enlarged details, curves over thresholds, spread over draws of the noise, time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image

from edgebench.errors import DataError
from edgebench.metrics.masks import STANDARD, f_curve
from edgebench.report.collect import collect
from edgebench.report.curves import e_curves, f_curves, set_curve
from edgebench.report.figures import quality_against_time, write_figure
from edgebench.report.mask_pictures import SHOWN, densest_window, mask_grid, shrunk
from edgebench.report.pictures import choose_ids
from edgebench.report.spread import determinism, find_draws, mean_and_spread
from tests.unit.report.mask_tables import blurred, draw_data, row, write_plan, write_run

DATA = {"folder": "data", "layout": "dis5k"}
VD, TE = DATA | {"split": "vd"}, DATA | {"split": "te1"}
LABELS = ["Soft", "Softer, and uncertain"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two rows on two splits, by both protocols, and of two weights with three draws of the noise each."""
    root = tmp_path_factory.mktemp("masks")
    draw_data(root / "data", "vd", 6, (40, 60))
    draw_data(root / "data", "te1", 5)
    methods = [("soft", LABELS[0], blurred(0.5), 0.1), ("softer", LABELS[1], blurred(2, 0.2), 0.02)]
    rows = []
    for group, data in (("vd", VD), ("te", TE)):
        for key, label, predict, seconds in methods:
            run = write_run(root, f"{group}-{key}", data, predict, seconds=seconds, protocols=("standard", "diffdis"))
            rows.append(row(f"{group}/{key}", label, run))
    for key, label, _, _ in methods:
        rows.append(row(f"all/{key}", label, combines="mean", members=[f"vd/{key}", f"te/{key}"]))
    write_plan(root, rows, groups={"vd": "DIS-VD", "te": "DIS-TE1", "all": "Both"})
    draws = [
        row(
            f"{weights},{noise}",
            f"{weights} attention, draw {noise}",
            write_run(
                root, f"{weights}{noise}", VD, blurred(1, strength, noise), settings={"noise": noise}, weights=weights
            ),
        )
        for weights, strength in (("mutual", 0.05), ("no", 0.3))
        for noise in range(3)
    ]
    write_plan(root, draws).rename(root / "draws.json")
    write_plan(root, rows, groups={"vd": "DIS-VD", "te": "DIS-TE1", "all": "Both"})
    return root


@pytest.fixture
def sections(finished: Path) -> Path:
    return finished / "results/plan/tables/demo/diffdis/main_dis5k.json"


@pytest.fixture
def draws(finished: Path) -> Path:
    return finished / "draws.json"


def changed(spec: Path, to: Path, **changes: Any) -> Path:
    path = to / "changed.json"
    path.write_text(json.dumps(json.loads(spec.read_text()) | changes))
    return path


# The grid --------------------------------------------------------------------------------------------


def test_the_detail_is_where_most_contour_is() -> None:
    truth = np.zeros((200, 300), bool)
    truth[20:100, 20:100] = True  # much contour, but spread out
    truth[150:180:2, 230:260] = True  # lines close together
    top, left, height, width = densest_window(truth)
    assert (height, width) == (40, 60)
    assert top <= 149
    assert top + height >= 181
    assert left <= 229
    assert left + width >= 261
    # In the middle of the places that are as good.
    assert abs(top + height / 2 - 165) <= 1
    assert abs(left + width / 2 - 245) <= 1


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((64, 64), (20, 20, 24, 24)),  # a fifth of 64 would show nothing
        ((10, 400), (0, 160, 10, 80)),  # lower than the least detail
        ((1000, 2000), (400, 800, 200, 400)),
    ],
)
def test_without_contour_the_detail_is_the_middle(shape: tuple[int, int], window: tuple[int, ...]) -> None:
    assert densest_window(np.zeros(shape, bool)) == window
    assert densest_window(np.ones(shape, bool)) == window


def test_large_pictures_are_reduced_and_small_ones_are_not() -> None:
    reduced = shrunk(np.tile(np.array([0, 255], np.uint8), (2000, 2000)))
    assert reduced.shape == (SHOWN // 2, SHOWN)
    assert np.all(abs(reduced.astype(int) - 127.5) < 1)  # pixels are averaged, not dropped
    small = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(shrunk(small), small)


def test_mask_grid_shows_the_first_section_with_a_detail_of_each_picture(sections: Path, finished: Path) -> None:
    figure = mask_grid(collect(sections, finished))
    assert len(figure.axes) == 4 * 4 * 2
    texts = [text.get_text() for text in figure.texts]
    names = choose_ids([f"im{k:02d}" for k in range(6)])
    assert names == texts[:4]
    assert [each.replace("\n", " ") for each in texts[4:-1]] == ["Input", "Ground truth", *LABELS]
    assert "DIS-VD" in figure.get_suptitle()
    assert "not comparable" in figure.get_suptitle()
    for k, name in enumerate(names):
        truth = np.asarray(Image.open(finished / f"data/DIS-VD/gt/{name}.png"))
        top, left, height, width = densest_window(truth > 128)
        for p, path in ((1, f"data/DIS-VD/gt/{name}.png"), (3, f"results/runs/predict/vd-softer/maps/{name}.png")):
            whole, detail = figure.axes[8 * k + 2 * p : 8 * k + 2 * p + 2]
            levels = np.asarray(Image.open(finished / path))
            assert np.array_equal(np.asarray(whole.images[0].get_array()), levels)
            assert np.array_equal(
                np.asarray(detail.images[0].get_array()), levels[top : top + height, left : left + width]
            )
            frame = next(each for each in whole.patches if isinstance(each, Rectangle))
            assert (frame.get_y(), frame.get_x(), frame.get_height(), frame.get_width()) == (top, left, height, width)


def test_many_masks_stand_below_one_another(sections: Path, finished: Path, tmp_path: Path) -> None:
    content = json.loads(sections.read_text())
    rows = [{**content["rows"][k % 2], "key": f"vd/{k}", "label": f"Method {k}"} for k in range(9)]
    figure = mask_grid(collect(changed(sections, tmp_path, rows=rows), finished))
    tops = [axes.get_position().y1 for axes in figure.axes[: 2 * 11]]
    assert tops[::2] == sorted(tops[::2], reverse=True)
    assert tops[::2] == tops[1::2]  # the detail stands beside its picture


def test_a_map_of_another_size_is_named(sections: Path, finished: Path, tmp_path: Path) -> None:
    path = finished / "results/runs/predict/vd-soft/maps/im00.png"
    kept = path.read_bytes()
    try:
        Image.new("L", (30, 20)).save(path)
        with pytest.raises(DataError, match=r"im00\.png: 30 x 20 pixels \(width x height\), but its image has 60 x 40"):
            mask_grid(collect(sections, finished))
    finally:
        path.write_bytes(kept)


# Curves ----------------------------------------------------------------------------------------------


def test_curves_have_a_panel_per_section_with_runs_and_protocol(sections: Path, finished: Path) -> None:
    collected = collect(sections, finished)
    for letter, figure in (("f", f_curves(collected)), ("e", e_curves(collected))):
        titles = [panel.get_title() for panel in figure.axes]
        protocols = ["protocol standard", "protocol diffdis, masks cut at one half"]
        assert titles == [f"{name}\n{each}" for name in ("DIS-VD", "DIS-TE1") for each in protocols]
        assert {panel.get_ylabel() for panel in figure.axes} == {f"{letter.upper()}-measure"}
        for panel, key, column in (
            (figure.axes[0], "vd/softer", f"standard_max_{letter}"),
            (figure.axes[3], "te/softer", f"max_{letter}"),
        ):
            marks = [np.asarray(line.get_xydata())[0] for line in panel.lines if line.get_marker() == "o"]
            assert marks[1][1] == pytest.approx(collected.row(key).values(column)[0])


def test_the_curve_is_the_mean_over_images_and_its_band_holds_it(sections: Path, finished: Path) -> None:
    evaluation = collect(sections, finished).row("vd/softer").runs[0].evaluations["masks_standard"]
    curve, band = set_curve([evaluation], "f")
    histograms = np.load(evaluation.folder / "counts.npz")["histograms"]
    assert curve == pytest.approx(np.mean([f_curve(each, STANDARD) for each in histograms], axis=0))
    assert band is not None
    assert np.all(band[0] <= curve)
    assert np.all(curve <= band[1])
    assert np.any(band[0] < band[1])


def test_masks_cut_first_give_a_step_with_its_mark_in_the_middle(sections: Path, finished: Path) -> None:
    panel = f_curves(collect(sections, finished)).axes[1]
    line = next(line for line in panel.lines if line.get_label() == LABELS[1])
    levels = np.asarray(line.get_ydata())
    assert levels[0] < levels[1]
    assert np.ptp(levels[1:]) < 1e-9
    mark = [line for line in panel.lines if line.get_marker() == "o"][1]
    assert abs(float(np.asarray(mark.get_xdata())[0]) - 128) <= 1


def test_seeds_are_averaged_and_have_no_band_when_their_images_differ(sections: Path, finished: Path) -> None:
    collected = collect(sections, finished)
    vd, te = (collected.row(f"{group}/soft").runs[0].evaluations["masks_standard"] for group in ("vd", "te"))
    curve, band = set_curve([vd, te], "e")
    assert band is None
    assert curve == pytest.approx((set_curve([vd], "e")[0] + set_curve([te], "e")[0]) / 2)


def test_curves_need_masks(draws: Path, finished: Path, tmp_path: Path) -> None:
    rows = json.loads(draws.read_text())["rows"]
    for each in rows:
        each["runs"][0]["evaluations"] = {}
    with pytest.raises(DataError, match="no row was scored by a protocol of masks"):
        f_curves(collect(changed(draws, tmp_path, rows=rows), finished))


def test_damaged_counts_are_named(sections: Path, finished: Path) -> None:
    path = finished / "results/runs/evaluate/vd-soft-standard/counts.npz"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept[:50])
        with pytest.raises(DataError, match=r"vd-soft-standard/counts\.npz: not the counts of masks"):
            f_curves(collect(sections, finished))
    finally:
        path.write_bytes(kept)


# Spread ----------------------------------------------------------------------------------------------


def test_draws_share_weights_images_and_settings_but_noise(draws: Path, finished: Path, tmp_path: Path) -> None:
    found = find_draws(collect(draws, finished))
    assert [(each.label, len(each.runs)) for each in found] == [("mutual attention", 3), ("no attention", 3)]
    # Of weights with one draw there is no spread.
    rows = json.loads(draws.read_text())["rows"]
    found = find_draws(collect(changed(draws, tmp_path, rows=rows[:4]), finished))
    assert [each.label for each in found] == ["mutual attention"]
    with pytest.raises(DataError, match=r"differ in `predict\.noise`"):
        determinism(collect(changed(draws, tmp_path, rows=rows[:1]), finished))


def test_mean_and_spread_are_those_of_numpy_and_exactly_0_of_equal_maps() -> None:
    maps = np.random.default_rng(0).integers(0, 256, (5, 7, 9)).astype(np.uint8)
    mean, spread = mean_and_spread(iter(maps))
    assert mean == pytest.approx((maps / 255).mean(axis=0), rel=1e-6)
    assert spread == pytest.approx((maps / 255).std(axis=0, ddof=1), rel=1e-5)
    _, spread = mean_and_spread([maps[0]] * 181)
    assert not spread.any()
    _, spread = mean_and_spread([np.full((1, 1), level, np.uint8) for level in [255] * 91 + [0] * 90])
    assert spread[0, 0] == pytest.approx(np.std([1] * 91 + [0] * 90, ddof=1))


def test_determinism_shows_the_spread_of_scores_and_pixels(draws: Path, finished: Path) -> None:
    figure = determinism(collect(draws, finished))
    scores, pixels = figure.axes[:2]
    assert [label.get_text().replace("\n", " ") for label in scores.get_xticklabels()] == [
        "Max F",
        "Weighted F",
        "S-measure",
        "Adaptive E",
        "MAE",
        "BIoU",
    ]
    assert "3 draws of the noise, 6 images" in figure.get_suptitle()
    files = [np.load(finished / f"results/runs/evaluate/no{k}-diffdis/counts.npz") for k in range(3)]
    wanted = np.median(np.std([file["mae"] for file in files], axis=0, ddof=1))
    medians = [np.asarray(line.get_xydata()) for line in scores.lines if line.get_linewidth() == 2]
    assert any(line[:, 1] == pytest.approx(wanted) and abs(line[:, 0].mean() - 4.2) < 1e-6 for line in medians)
    levels = [float(np.asarray(line.get_ydata())[0]) for line in pixels.lines if line.get_linewidth() == 2]
    assert 0 < levels[0] < levels[1]  # the second weights were given more noise
    titles = [axes.get_title().replace("\n", " ") for axes in figure.axes[2:8]]
    assert titles == [
        "Input",
        "Ground truth",
        *(f"{label} attention: {what}" for label in ("mutual", "no") for what in ("mean", "deviation")),
    ]


# Quality against time --------------------------------------------------------------------------------


def test_masks_are_placed_by_max_f_and_time_in_every_section(sections: Path, finished: Path) -> None:
    collected = collect(sections, finished)
    figure = quality_against_time(collected)
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == [f"{section}\nStandard max F" for section in ("DIS-VD", "DIS-TE1", "Both")]
    for panel, group in zip(figure.axes, ("vd", "te", "all"), strict=True):
        points = [line for line in panel.lines if len(np.asarray(line.get_xydata())) == 1]
        rows = [collected.row(f"{group}/{key}") for key in ("soft", "softer")]
        wanted = [[each.values(column)[0] for column in ("seconds_per_image", "standard_max_f")] for each in rows]
        assert np.array([np.asarray(line.get_xydata())[0] for line in points]) == pytest.approx(np.array(wanted))
        assert [to_hex(line.get_color()) for line in points] == ["#0072b2", "#d55e00"]


# Files -----------------------------------------------------------------------------------------------


def test_figures_of_masks_are_written_and_repeat(sections: Path, draws: Path, finished: Path, tmp_path: Path) -> None:
    for name, spec, kinds in (
        ("mask_grid", sections, ["png"]),
        ("f_curves", sections, ["png", "svg"]),
        ("e_curves", sections, ["png", "svg"]),
        ("determinism", draws, ["png", "svg"]),
    ):
        paths = write_figure(spec, name, tmp_path / name, finished)
        assert [path.name for path in paths] == [f"{name}.{kind}" for kind in kinds]
        written = [path.read_bytes() for path in paths]
        assert min(map(len, written)) > 5000
    write_figure(draws, "determinism", tmp_path / "determinism", finished)
    assert [path.read_bytes() for path in paths] == written


def test_real_pictures_of_several_shapes_can_be_shown(shared: Path, tmp_path: Path) -> None:
    os.symlink(shared / "data/ECSSD", tmp_path / "data")
    data = {"folder": "data", "layout": "ecssd", "split": "test"}
    plan = write_plan(tmp_path, [row("soft", "Soft", write_run(tmp_path, "soft", data, blurred(1), limit=3))])
    figure = mask_grid(collect(plan, tmp_path))
    assert len(figure.axes) == 3 * 3 * 2
    places = [axes.get_position() for axes in figure.axes]
    assert all(0 <= place.x0 < place.x1 <= 1 and 0 <= place.y0 < place.y1 <= 1 for place in places)
