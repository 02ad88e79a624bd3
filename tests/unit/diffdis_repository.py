"""A copy of the definitions with one table of DiffDIS on data of one's own, at the paper's scale and a tiny one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

SPLITS = {"train": 6, "vd": 2}
TABLE = "diffdis/trial"
TINY: dict[str, Any] = {
    "title": "a few steps of a tiny network",
    "without_checkpoints": ["sd_turbo", "sd21_base", "sd21_v"],
    "every": {"device": "cpu"},
    "recipes": {
        "diffdis_dis5k": {
            "train": {"preset": "small", "size": 64, "steps": 3, "learning_rate": 1.0e-3, "margin": 4},
            "predict": {"size": 64},
        }
    },
}


def make_repository(folder: Path, root: Path, rows: list[dict[str, Any]], **scale: Any) -> Path:
    """Copy `config/` and add the data set, the experiment with `rows`, and the scale `tiny`."""
    shutil.copytree(root / "config", folder / "config")
    shutil.rmtree(folder / "config" / "experiments" / "diffdis", ignore_errors=True)
    dataset = {
        "name": "dis5k",
        "title": "Discs",
        "layout": "pairs",
        "source": {"local": True},
        "images": SPLITS,
        "licence": "",
        "terms": "",
        "citation": "",
    }
    experiment = {
        "title": "Trial",
        "shows": {"paper": "diffdis", "table": None},
        "recipe": "diffdis_dis5k",
        "protocol": ["crispness"],
        "rows": rows,
        "columns": ["seconds_per_image"],
    }
    contents = {"datasets/dis5k": dataset, f"experiments/{TABLE}": experiment, "scales/tiny": {**TINY, **scale}}
    for name, content in contents.items():
        path = folder / "config" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(content))
    return folder


def draw_discs(folder: Path) -> Path:
    """Pictures of bright discs, with their masks, in the layout `pairs`."""
    rng = np.random.default_rng(0)
    for split, count in SPLITS.items():
        for number in range(count):
            y, x = np.mgrid[:48, :60]
            mask = np.where(np.hypot(y - rng.integers(16, 32), x - rng.integers(16, 44)) < 10, 255, 0).astype(np.uint8)
            image = (mask[..., None] // 2 + rng.integers(0, 60, (*mask.shape, 3))).astype(np.uint8)
            for kind, array in (("images", image), ("masks", mask)):
                (folder / split / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(folder / split / kind / f"disc{number}.png")
    return folder
