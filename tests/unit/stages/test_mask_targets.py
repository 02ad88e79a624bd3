"""Outlines and skeletons of masks as runs: what they write, restarts, processes, and that the evaluation finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgebench.data import masks as mask_files
from edgebench.data.adapters import open_dataset
from edgebench.errors import DataError
from edgebench.files import read_json, write_json
from edgebench.metrics.masks import mask_skeleton
from edgebench.plan.attempts import UNFINISHED
from edgebench.stages import evaluate_masks
from edgebench.stages.evaluate_masks import MaskItem, evaluate_items, mask_protocol
from edgebench.stages.inputs import SKELETONS
from edgebench.stages.run import carry_out

SIZE = (20, 30)


def drawn() -> dict[str, np.ndarray]:
    """A box, the same box with a soft rim, and nothing at all."""
    hard, blank = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    hard[5:15, 8:22] = 255
    soft = hard.copy()
    soft[4, 8:22] = 128  # foreground for one protocol and not for the other
    return {"blank": blank, "hard": hard, "soft": soft}


@pytest.fixture
def run(tmp_path: Path) -> dict[str, Any]:
    """A plan of either method, on three masks."""
    for name, mask in drawn().items():
        for folder, array in (("images", np.full((*SIZE, 3), 90, np.uint8)), ("masks", mask)):
            (tmp_path / "pairs" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "pairs" / folder / f"{name}.png")
    write_json(tmp_path / "pairs" / "run.json", {})
    return {
        "id": "0123456789",
        "stage": "predict",
        "role": "contours",
        "label": "test",
        "folder": str(tmp_path / "run"),
        "version": 1,
        "scale": "demo",
        "seed": None,
        "settings": {"method": "mask_contours", "split": "all", "limit": None},
        "inputs": {"dataset": str(tmp_path / "pairs")},
        "dataset": {"name": "pairs", "layout": "pairs"},
        "protocol": None,
        "resources": {},
    }


def carried_out(run: dict[str, Any], threads: int = 1) -> Path:
    path = Path(run["folder"]).parent / "plan.json"
    write_json(path, run)
    return carry_out(path, threads)


def skeletons(run: dict[str, Any], threads: int = 1) -> Path:
    run["settings"]["method"] = "mask_skeletons"
    return carried_out(run, threads) / SKELETONS


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_outlines_are_bands_at_the_border(run: dict[str, Any]) -> None:
    folder = carried_out(run)
    assert read_json(folder / "run.json")["n_images"] == 3
    with Image.open(folder / "maps" / "hard.png") as file:
        assert file.mode == "L"
        outline = np.asarray(file)
    band = np.zeros(SIZE, bool)
    band[3:17, 6:24] = True
    band[7:13, 10:20] = False  # two pixels to each side of the border
    np.testing.assert_array_equal(outline, np.where(band, 255, 0))
    assert not np.asarray(Image.open(folder / "maps" / "blank.png")).any()


def test_an_interrupted_run_draws_only_what_is_missing(run: dict[str, Any]) -> None:
    whole = contents(carried_out(run) / "maps")
    folder = Path(run["folder"])
    (folder / "run.json").unlink()
    (folder / UNFINISHED).touch()
    (folder / "maps" / "hard.png").unlink()
    (folder / "maps" / "soft.png").write_bytes(b"kept")
    assert contents(carried_out(run) / "maps") == {**whole, "soft.png": b"kept"}


@pytest.mark.parametrize("method", ["mask_contours", "mask_skeletons"])
def test_processes_write_the_same(run: dict[str, Any], method: str) -> None:
    run["settings"]["method"] = method
    below = "maps" if method == "mask_contours" else SKELETONS
    alone = contents(carried_out(run) / below)
    assert contents(carried_out(run, threads=2) / below) == alone


@pytest.mark.parametrize("name", ["standard", "diffdis"])
def test_the_evaluation_draws_no_skeleton_that_is_kept(
    run: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kept = skeletons(run)
    before = contents(kept)
    assert len(before) == 3  # blank, the box, and the box with its rim

    def never(mask: np.ndarray) -> np.ndarray:
        raise AssertionError("drawn again")

    monkeypatch.setattr(evaluate_masks, "mask_skeleton", never)
    dataset = open_dataset("pairs", run["inputs"]["dataset"], "all")
    items = [
        MaskItem(each, lambda: np.zeros(SIZE), lambda each=each: dataset.mask(each) / 255)  # type: ignore[misc]
        for each in dataset.ids
    ]
    scored = evaluate_items(items, mask_protocol(name), skeletons=kept)
    assert scored.ids == ["blank", "hard", "soft"]
    assert contents(kept) == before


def test_kept_skeletons_are_those_of_the_masks(run: dict[str, Any]) -> None:
    kept = skeletons(run)
    mask = drawn()["hard"] > 128
    found = mask_files.kept_skeleton(mask, kept, lambda _: pytest.fail("not kept"))
    np.testing.assert_array_equal(found, mask_skeleton(mask))


def test_a_mask_of_another_size_ends_the_run_with_its_name(run: dict[str, Any]) -> None:
    Image.new("L", (31, 20)).save(Path(run["inputs"]["dataset"]) / "masks" / "soft.png")
    with pytest.raises(DataError, match=r"masks/soft\.png: 31 x 20 pixels.*images/soft\.png has 30 x 20"):
        carried_out(run)
    assert not (Path(run["folder"]) / "run.json").exists()
