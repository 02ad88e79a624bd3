"""From drawn scenes to scores: the recipes of masks, planned and carried out run by run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from edgebench.files import read_json
from edgebench.plan.workbench import Workbench
from edgebench.stages.run import carry_out

TABLE: dict[str, Any] = {
    "title": "DiffDIS beside what needs no learning",
    "shows": {"paper": "diffdis"},
    "recipe": "diffdis_dis5k",
    "protocol": ["masks_diffdis"],
    "rows": [
        {"key": "diffdis", "label": "DiffDIS", "set": {"predict.edges": True}},
        {"key": "noise", "label": "from other noise", "set": {"predict.noise": 1}},
        {"key": "flip", "label": "flipped too", "set": {"predict.tta": "flip"}},
        {"key": "otsu", "label": "Otsu", "recipe": "otsu_dis5k"},
        {"key": "foreground", "label": "everything", "recipe": "foreground_dis5k"},
        {"key": "code", "label": "the code alone", "recipe": "diffdis_vae_dis5k"},
    ],
    "columns": ["max_f", "mae", "seconds_per_image"],
}


def change(path: Path, **values: Any) -> None:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values, sort_keys=False))


@pytest.fixture(scope="module")
def rows(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Folders of the predict run and the evaluation by row, at scale `demo` with few scenes and few steps."""
    folder = tmp_path_factory.mktemp("chain")
    shutil.copytree(root / "config", folder / "config", ignore=shutil.ignore_patterns("experiments"))
    (folder / "config/experiments/diffdis").mkdir(parents=True)
    (folder / "config/experiments/diffdis/chain.yaml").write_text(yaml.safe_dump(TABLE))
    change(folder / "config/datasets/scenes_dis.yaml", images={"train": 8, "vd": 4})
    change(folder / "config/scales/demo.yaml", tables=None, notes={})  # those are about other tables
    found, done = {}, set[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
            patch.setenv(name, "1")  # put back at the end: carrying out a run sets them
        bench = Workbench(folder, {"set": {"train.steps": 4, "train.warmup_steps": 0, "predict.limit": 3}})
        for row in bench.find_table("demo", "diffdis/chain").rows:
            (made,) = row.runs
            (evaluation,) = made.evaluations.values()
            for run in [*evaluation.upstream(), evaluation]:
                if run.id not in done:
                    bench.write_spec(run)
                    carry_out(Path(run.spec_file))
                    done.add(run.id)
            found[row.key] = folder / made.predict.folder, folder / evaluation.folder
    return found


def masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.asarray(Image.open(path)) for path in sorted((folder / "maps").glob("*.png"))}


def test_every_method_writes_a_mask_per_picture_and_is_scored(rows: dict[str, tuple[Path, Path]]) -> None:
    assert list(rows) == [row["key"] for row in TABLE["rows"]]
    for predicted, evaluated in rows.values():
        assert len(masks(predicted)) == 3
        assert all(each.shape == (64, 64) for each in masks(predicted).values())
        scores = read_json(evaluated / "scores.json")["columns"]
        assert all(0 <= scores[name] <= 1.01 for name in scores if name != "hce")


def test_a_row_is_what_its_settings_say(rows: dict[str, tuple[Path, Path]]) -> None:
    found = {key: masks(predicted) for key, (predicted, _) in rows.items()}
    records = {key: read_json(predicted / "run.json") for key, (predicted, _) in rows.items()}
    for image_id in found["diffdis"]:
        assert not np.array_equal(found["diffdis"][image_id], found["noise"][image_id])
        assert not np.array_equal(found["diffdis"][image_id], found["flip"][image_id])
        assert (found["foreground"][image_id] == 255).all()
        assert set(np.unique(found["otsu"][image_id])) <= {0, 255}
        assert (rows["diffdis"][0] / "edges" / f"{image_id}.png").is_file()
    assert not (rows["noise"][0] / "edges").exists()
    assert records["diffdis"]["inputs"]["weights"] == records["noise"]["inputs"]["weights"]
    assert [records[key]["tta"] for key in ("diffdis", "flip")] == ["none", "flip"]
    assert "tta-flip" in records["flip"]["label"]
    assert "noise1" in records["noise"]["label"]
    assert records["code"]["code"] == "patches, fitted to train"
    assert records["foreground"]["seconds_per_image"] is None
    assert records["otsu"]["seconds_per_image"] > 0


def test_the_code_alone_loses_next_to_nothing(rows: dict[str, tuple[Path, Path]]) -> None:
    mae = {key: read_json(evaluated / "scores.json")["columns"]["mae"] for key, (_, evaluated) in rows.items()}
    assert mae["code"] < 0.02
    assert mae["code"] < min(mae[key] for key in rows if key != "code")
