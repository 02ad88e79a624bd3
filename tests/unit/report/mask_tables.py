"""Finished runs of masks, scored by the real metrics, and the plan of a table of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from edgebench.data.adapters import open_dataset
from edgebench.data.masks import read_mask
from edgebench.metrics.masks import PROTOCOLS
from edgebench.stages.evaluate_masks import MaskItem, evaluate_items, write_counts

Predict = Callable[[str, np.ndarray], np.ndarray]
"""Gives the map of an image, uint8 (H, W), of its id and its mask."""

COLUMNS = ["max_f", "weighted_f", "s_measure", "adaptive_e", "mae", "hce", "biou"]


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def draw_data(folder: Path, split: str, count: int, size: tuple[int, int] = (64, 64)) -> Path:
    """Discs and bars in DIS5K's layout, with pictures that show them; returns the data set's folder."""
    generator = np.random.default_rng(len(split) + count)
    for part in ("im", "gt"):
        (folder / f"DIS-{split.upper()}" / part).mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[: size[0], : size[1]]
    for k in range(count):
        centre, radius = generator.uniform(0.3, 0.7, 2) * size, generator.uniform(0.15, 0.3) * min(size)
        mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        mask |= (x % 6 < 2) & (abs(y - centre[0]) < radius / 3) & (x > centre[1])
        picture = generator.normal(100, 15, (*size, 3)) + 90 * mask[..., None]
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(
            folder / f"DIS-{split.upper()}" / "im" / f"im{k:02d}.jpg"
        )
        Image.fromarray(255 * mask.astype(np.uint8)).save(folder / f"DIS-{split.upper()}" / "gt" / f"im{k:02d}.png")
    return folder


def blurred(strength: float, noise: float = 0.0, seed: int = 0) -> Predict:
    """Masks that are soft at their outlines, more so with `strength`, and uncertain by `noise`."""
    from scipy.ndimage import gaussian_filter

    def predict(name: str, truth: np.ndarray) -> np.ndarray:
        generator = np.random.default_rng([seed, *name.encode()])
        rough = gaussian_filter(generator.normal(0, 1, truth.shape), max(truth.shape) / 40)
        soft = gaussian_filter(truth / 255.0, strength) + noise * rough / rough.std()
        return (255 * np.clip(soft, 0, 1)).round().astype(np.uint8)

    return predict


def write_run(
    root: Path,
    name: str,
    data: dict[str, str],
    predict: Predict,
    *,
    seed: int = 0,
    seconds: float = 0.1,
    settings: dict[str, Any] | None = None,
    weights: str | None = None,
    protocols: Sequence[Literal["standard", "diffdis"]] = ("diffdis",),
    limit: int | None = None,
) -> dict[str, Any]:
    """Predict and evaluate runs of one row as the stages leave them; returns the row's entry of the plan."""
    dataset = open_dataset(data["layout"], root / data["folder"], data["split"])
    folder = Path("results/runs/predict") / name
    ids = dataset.ids[:limit]
    (root / folder / "maps").mkdir(parents=True)
    for each in ids:
        Image.fromarray(predict(each, dataset.mask(each))).save(root / folder / "maps" / f"{each}.png")
    record = {"id": f"predict-{name}", "n_images": len(ids), "seconds_per_image": seconds, "settings": settings or {}}
    write_json(root / folder / "run.json", record)
    if weights:
        write_json(root / "results/runs/train" / weights / "run.json", {"id": weights})
    evaluations = {}
    for rule in protocols:
        items = [
            MaskItem(each, partial(read_mask, root / folder / "maps" / f"{each}.png"), partial(_truth, dataset, each))
            for each in ids
        ]
        evaluation = evaluate_items(items, PROTOCOLS[rule], skeletons=root / "skeletons")
        prefix = {"diffdis": "", "standard": "standard"}[rule]
        protocol = {"name": f"masks_{rule}", "method": "masks", "columns": prefix, "rule": rule, "title": rule}
        scored = Path("results/runs/evaluate") / f"{name}-{rule}"
        columns = {f"{prefix}_{key}".strip("_"): value for key, value in evaluation.scores().items()}
        write_json(root / scored / "run.json", {"id": f"{rule}-{name}"})
        write_json(
            root / scored / "scores.json",
            {"columns": columns, "scores": {}, "protocol": protocol, "n_images": len(ids), "version": 1},
        )
        write_counts(root / scored / "counts.npz", evaluation)
        evaluations[protocol["name"]] = str(scored)
    return {
        "seed": seed,
        "predict": str(folder),
        "dataset": {**data, "limit": limit, "images": len(dataset.ids)},
        "weights": f"results/runs/train/{weights}" if weights else None,
        "evaluations": evaluations,
    }


def _truth(dataset: Any, name: str) -> np.ndarray:
    return dataset.mask(name) / 255


def row(key: str, label: str, *runs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A row of the plan; of the section before the `/` of its key."""
    group = {"group": key.split("/")[0]} if "/" in key else {}
    return {"key": key, "label": label, "published": {}, "published_only": False, "runs": list(runs), **group, **more}


def write_plan(root: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    """The plan of a table of these rows."""
    spec = {
        "id": "0123456789",
        "title": "Masks of what stands out",
        "paper": "diffdis",
        "table": "main_dis5k",
        "scale": "demo",
        "scale_title": "drawn scenes, small network",
        "stand_ins": {"dis5k": "scenes_dis"},
        "seeds": [0],
        "columns": COLUMNS,
        "rows": rows,
        **changes,
    }
    path = root / "results/plan/tables/demo/diffdis/main_dis5k.json"
    write_json(path, spec)
    return path
