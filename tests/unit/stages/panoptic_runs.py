"""Runs on a few drawn scenes with panoptic maps, planned by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgebench.data.scenes import draw_dataset
from edgebench.files import write_json
from edgebench.plan.methods import settings_class
from edgebench.stages.spec import RunSpec

SIDE = 64


def draw(folder: Path, **splits: int) -> None:
    """A data set of layout `coco`, as a finished run."""
    draw_dataset(folder, splits, size=SIDE, seed=5, layout="coco", style="T")
    write_json(folder / "run.json", {})


def planned(root: Path, out: str, stage: str, method: str, inputs: dict[str, str], /, **settings: Any) -> RunSpec:
    """A run of `root` whose inputs are other folders there, by the settings that name them."""
    model = settings_class(stage, method, "a test")
    given = {"stage": stage, "method": method, "dataset": "scenes_coco", **dict.fromkeys(inputs, "x"), **settings}
    resolved = model.model_validate(given).model_dump(mode="json")
    for name in inputs:
        write_json(root / inputs[name] / "run.json", {})
    return RunSpec(
        {
            "folder": str(root / out),
            "label": out,
            "stage": stage,
            "seed": 0,
            "settings": resolved,
            "inputs": {"dataset": str(root / "data"), **{name: str(root / each) for name, each in inputs.items()}},
            "dataset": {"name": "scenes_coco", "layout": "coco"},
            "runtime": {
                "loader_workers": 0,
                "checkpoint_minutes": 10,
                "time_limit_minutes": None,
                "tensorboard": False,
            },
            "resources": {},
        }
    )
