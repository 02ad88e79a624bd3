"""A run of stage `evaluate` on masks: the same scores as the command, from the plan's files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgebench.cli.evaluate import app
from edgebench.errors import DataError, EdgebenchError
from edgebench.files import read_json, write_json
from edgebench.methods.diffdis.contours import contour
from edgebench.metrics.masks import METRICS
from edgebench.report.bootstrap import Bootstrap
from edgebench.report.collect import Evaluation
from edgebench.stages import evaluate_masks
from edgebench.stages.run import carry_out

pytest.importorskip("cv2")

SIZE = (36, 50)
NAMES = ("a", "b", "blank", "c")


def truth_of(name: str) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    if name != "blank":
        row = 5 * NAMES.index(name)
        mask[row : row + 18, 10:40] = 255
        mask[row, 10:40] = 128  # foreground for one protocol and not for the other
    return mask


def prediction_of(name: str) -> np.ndarray:
    generator = np.random.default_rng(NAMES.index(name))
    soft = 0.6 * np.roll(truth_of(name), 3, axis=1) + 100 * generator.random(SIZE)
    return np.clip(soft, 0, 255).astype(np.uint8)


def plan(tmp_path: Path, rule: str, columns: str = "") -> dict[str, dict[str, Any]]:
    """Plan files of the skeletons and of the evaluation, beside a finished prediction."""
    images = tmp_path / "pairs" / "images"
    for folder, drawn in (
        (images, lambda _: np.zeros((*SIZE, 3), np.uint8)),
        (images.with_name("masks"), truth_of),
        (tmp_path / "predict" / "maps", prediction_of),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            Image.fromarray(drawn(name)).save(folder / f"{name}.png")
    for name in ("pairs", "predict"):
        write_json(tmp_path / name / "run.json", {})
    common = {
        "label": "test",
        "version": 1,
        "scale": "demo",
        "seed": None,
        "dataset": {"name": "pairs", "layout": "pairs"},
        "resources": {},
    }
    on = {"dataset": "pairs", "split": "all", "limit": None}
    fetched = {"dataset": str(tmp_path / "pairs")}
    return {
        "skeletons": {
            **common,
            "id": "0",
            "stage": "predict",
            "role": "skeletons",
            "folder": str(tmp_path / "skeletons"),
            "settings": {"method": "mask_skeletons", **on},
            "inputs": fetched,
        },
        "evaluate": {
            **common,
            "id": "1",
            "stage": "evaluate",
            "role": "evaluate",
            "folder": str(tmp_path / "evaluate"),
            "settings": {"method": "masks", **on},
            "inputs": {
                **fetched,
                "predictions": str(tmp_path / "predict"),
                "skeletons": str(tmp_path / "skeletons"),
            },
            "protocol": {"name": "p", "title": "Masks", "method": "masks", "columns": columns, "rule": rule},
        },
    }


def carried_out(tmp_path: Path, spec: dict[str, Any], threads: int = 1) -> Path:
    write_json(tmp_path / "plan.json", spec)
    return carry_out(tmp_path / "plan.json", threads)


def evaluated(tmp_path: Path, rule: str, columns: str = "", threads: int = 1) -> Path:
    specs = plan(tmp_path, rule, columns)
    carried_out(tmp_path, specs["skeletons"])
    return carried_out(tmp_path, specs["evaluate"], threads)


@pytest.mark.parametrize(("rule", "columns"), [("standard", "standard"), ("diffdis", "")])
def test_run_and_command_agree_bit_for_bit(tmp_path: Path, rule: str, columns: str) -> None:
    folder = evaluated(tmp_path, rule, columns)
    output, counts = tmp_path / "command.json", tmp_path / "command.npz"
    arguments = ["--predictions", str(tmp_path / "predict" / "maps"), "--protocol", rule, "--output", str(output)]
    arguments += ["--ground-truth", str(tmp_path / "pairs" / "masks"), "--counts", str(counts)]
    CliRunner().invoke(app, ["masks", *arguments], catch_exceptions=False)
    expected, found = json.loads(output.read_text())["dataset"], read_json(folder / "scores.json")
    prefix = f"{columns}_" if columns else ""
    assert found["columns"] == {f"{prefix}{name}": value for name, value in expected.items()}
    assert found["n_images"] == 4
    assert {name: each["value"] for name, each in found["scores"].items()} == expected
    assert found["scores"]["hce"]["note"].startswith("HCE with OpenCV 4.")
    with np.load(folder / "counts.npz") as ours, np.load(counts) as theirs:
        assert set(ours) == set(theirs) == {"ids", "histograms", *METRICS}
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_more_processes_give_the_same_and_nothing_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = plan(tmp_path, "diffdis")
    carried_out(tmp_path, specs["skeletons"])
    monkeypatch.setattr(evaluate_masks, "mask_skeleton", lambda _: pytest.fail("drawn again"))
    folder = carried_out(tmp_path, specs["evaluate"])
    alone = {name: (folder / name).read_bytes() for name in ("scores.json", "counts.npz")}
    carried_out(tmp_path, specs["evaluate"], threads=2)
    assert alone == {name: (folder / name).read_bytes() for name in alone}


def test_a_score_that_no_image_defines_is_left_out(tmp_path: Path) -> None:
    specs = plan(tmp_path, "diffdis")
    for each in specs.values():
        each["settings"]["limit"] = 1
    for folder in ("pairs/masks", "predict/maps"):
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / folder / "a.png")
    carried_out(tmp_path, specs["skeletons"])
    columns = read_json(carried_out(tmp_path, specs["evaluate"]) / "scores.json")["columns"]
    assert set(METRICS) - set(columns) == {"max_f", "mean_f", "biou"}
    assert columns["iou"] == 1


def test_intervals_of_every_column_lie_around_its_value(tmp_path: Path) -> None:
    folder = evaluated(tmp_path, "standard", "standard")
    content = read_json(folder / "scores.json")
    content = {key: content[key] for key in ("version", "protocol", "columns", "scores", "n_images")}
    ids, resampled = Bootstrap().evaluation(Evaluation("p", folder, "1", **content))
    assert ids == list(NAMES)
    assert set(resampled) == set(content["columns"])
    for name, value in content["columns"].items():
        values = resampled[name][~np.isnan(resampled[name])]
        assert values.shape[0] > 900
        assert values.min() <= value <= values.max(), name


@pytest.mark.parametrize(
    ("file", "wrong", "words"),
    [
        ("predict/maps/b.png", lambda path: path.unlink(), "no such file"),
        ("predict/maps/b.png", lambda path: path.write_bytes(path.read_bytes()[:99]), "truncated"),
        ("predict/maps/b.png", lambda path: Image.new("L", (9, 9)).save(path), "9 x 9 pixels"),
        ("pairs/masks/b.png", lambda path: Image.new("L", (9, 9)).save(path), "9 x 9 pixels"),
    ],
    ids=["missing", "damaged", "size", "mask"],
)
def test_a_bad_file_ends_the_run_with_its_name(tmp_path: Path, file: str, wrong: Any, words: str) -> None:
    specs = plan(tmp_path, "standard")
    carried_out(tmp_path, specs["skeletons"])
    wrong(tmp_path / file)
    with pytest.raises(DataError, match=words) as caught:
        carried_out(tmp_path, specs["evaluate"])
    assert file in str(caught.value)
    assert not (tmp_path / "evaluate" / "run.json").exists()


def test_skeletons_are_needed_first(tmp_path: Path) -> None:
    with pytest.raises(EdgebenchError, match="skeletons: this run is needed first"):
        carried_out(tmp_path, plan(tmp_path, "standard")["evaluate"])


def outlines(tmp_path: Path, drawn: Callable[[str], np.ndarray]) -> tuple[dict[str, Any], Path]:
    """The evaluation of edges drawn so, beside the same masks."""
    spec = plan(tmp_path, "standard")["evaluate"]
    del spec["inputs"]["skeletons"]
    spec["protocol"] = {"name": "p", "title": "Outlines", "method": "outlines", "columns": "edge"}
    (tmp_path / "predict" / "edges").mkdir(exist_ok=True)
    for name in NAMES:
        Image.fromarray(drawn(name)).save(tmp_path / "predict" / "edges" / f"{name}.png")
    folder = carried_out(tmp_path, spec)
    return read_json(folder / "scores.json"), folder


def test_edges_beside_masks_are_compared_with_the_outlines_of_the_truth(tmp_path: Path) -> None:
    scores, folder = outlines(tmp_path, lambda name: contour(truth_of(name)))
    assert scores["columns"] == {"edge_mae": 0, "edge_iou": 1}
    assert scores["n_images"] == 4
    with np.load(folder / "per_image.npz") as file:
        assert np.isnan(file["edge_iou"]).tolist() == [False, False, True, False]  # no edge in the blank one
    half = [(contour(truth_of(name)) > 0).mean() * 0.4 for name in NAMES]
    scores, folder = outlines(tmp_path, lambda name: (0.6 * contour(truth_of(name)).astype(float)).astype(np.uint8))
    assert scores["columns"] == {"edge_mae": pytest.approx(np.mean(half)), "edge_iou": 1}
    content = {key: scores[key] for key in ("version", "protocol", "columns", "scores", "n_images")}
    _, resampled = Bootstrap().evaluation(Evaluation("p", folder, "1", **content))
    assert (resampled["edge_iou"][~np.isnan(resampled["edge_iou"])] == 1).all()


def test_edges_of_another_size_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"edges/a\.png: 9 x 9 pixels .*the mask of a has 36 x 50"):
        outlines(tmp_path, lambda _: np.zeros((9, 9), np.uint8))
