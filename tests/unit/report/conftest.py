"""A table of finished runs on a temporary folder, with scores computed from the counts it holds."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

N, T = 30, 9
IDS = [f"img{k:03d}" for k in range(N)]
THRESHOLDS = np.arange(1, T + 1) / (T + 1)

MakeTable = Callable[..., Path]


def random_counts(quality: float, seed: int, n: int = N) -> dict[str, np.ndarray]:
    """Counts that behave like a detector's: a larger threshold gives fewer, better pixels."""
    generator = np.random.default_rng(seed)
    hard = generator.uniform(0.6, 1.0, (n, 1))
    sumR = np.repeat(generator.integers(300, 600, (n, 1)), T, axis=1)
    recall = np.clip(quality * hard * (1.2 - THRESHOLDS) + generator.normal(0, 0.01, (n, T)), 0, 1)
    precision = np.clip(quality * hard * (0.5 + 0.6 * THRESHOLDS) + generator.normal(0, 0.01, (n, T)), 0.01, 1)
    cntR = np.round(sumR * recall).astype(np.int64)
    sumP = np.round(cntR / precision).astype(np.int64)
    return {"cntR": cntR, "sumR": sumR, "cntP": np.minimum(cntR, sumP), "sumP": sumP}


def simple_ods(counts: dict[str, np.ndarray]) -> float:
    """ODS as the benchmark defines it, one threshold pair at a time."""
    R = [r / s if s else 0.0 for r, s in zip(counts["cntR"].sum(0), counts["sumR"].sum(0), strict=True)]
    P = [p / s if s else 0.0 for p, s in zip(counts["cntP"].sum(0), counts["sumP"].sum(0), strict=True)]
    best = 0.0
    for k in range(len(R) - 1):
        for a in np.linspace(0, 1, 100):
            r, p = R[k] + (R[k + 1] - R[k]) * a, P[k] + (P[k + 1] - P[k]) * a
            best = max(best, 2 * p * r / (p + r) if p + r else 0.0)
    return best


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_row(root: Path, name: str, seed: int, quality: float, crispness: float, seconds: float) -> dict[str, Any]:
    """Predict and evaluate runs of one row for one seed, as the stages leave them."""
    predict = f"results/runs/predict/{name}-s{seed}"
    write_json(
        root / predict / "run.json",
        {"id": f"predict-{name}-{seed}", "n_images": N, "seconds_per_image": seconds, "seed": seed},
    )
    evaluations = {}
    for protocol, prefix, drop in (("bsds_seval", "seval", 0.0), ("bsds_ceval", "ceval", 0.05)):
        counts = random_counts(quality - drop, seed + zlib.crc32(name.encode()))
        folder = f"results/runs/{protocol}/{name}-s{seed}"
        ods = simple_ods(counts)
        write_json(root / folder / "run.json", {"id": f"{prefix}-{name}-{seed}"})
        pooled = {key: value.sum(0) for key, value in counts.items()}
        best = int(np.argmax(pooled["cntP"] / pooled["sumP"] + pooled["cntR"] / pooled["sumR"]))
        write_json(
            root / folder / "scores.json",
            {
                "columns": {f"{prefix}_ods": ods, f"{prefix}_ap": 0.5},
                "scores": {
                    "ods": {
                        "f": ods,
                        "threshold": float(THRESHOLDS[best]),
                        "precision": float(pooled["cntP"][best] / pooled["sumP"][best]),
                        "recall": float(pooled["cntR"][best] / pooled["sumR"][best]),
                    }
                },
                "protocol": {"method": "edges", "nms": None, "thin": True, "max_distance": 0.0075, "thresholds": T},
                "n_images": N,
                "version": 1,
            },
        )
        np.savez(root / folder / "counts.npz", ids=np.array(IDS), thresholds=THRESHOLDS, **counts)  # type: ignore[arg-type]
        evaluations[protocol] = folder
    folder = f"results/runs/crispness/{name}-s{seed}"
    values = np.clip(np.random.default_rng(seed + zlib.crc32(name.encode())).normal(crispness, 0.05, N), 0, 1)
    write_json(root / folder / "run.json", {"id": f"ac-{name}-{seed}"})
    write_json(
        root / folder / "scores.json",
        {
            "columns": {"ac": float(values.mean())},
            "scores": {},
            "protocol": {"method": "crispness", "title": "Average crispness", "nms": None},
            "n_images": N,
            "version": 2,
        },
    )
    np.savez(root / folder / "per_image.npz", ids=np.array(IDS), ac=values)
    evaluations["crispness"] = folder
    return {"seed": seed, "predict": predict, "dataset": None, "evaluations": evaluations}


@pytest.fixture
def make_table(tmp_path: Path) -> MakeTable:
    """Write runs and the plan of a table below `tmp_path`; returns the plan's path."""

    def make(scale: str = "demo", seeds: tuple[int, ...] = (0,), **changes: Any) -> Path:
        rows = [
            (
                "locmax,10",
                "locmax, 10 steps",
                0.9,
                0.6,
                0.12,
                {"seval_ods": 0.854, "ceval_ods": 0.836, "ac": 0.663},
            ),
            (
                "topk,10",
                "topk, 10 steps",
                0.8,
                0.7,
                0.12,
                {"seval_ods": 0.825, "ceval_ods": 0.715, "ac": 0.51},
            ),
            ("one.shot", "one-shot | 50 % <net>", 0.9, 0.3, 0.01, {}),
        ]
        spec = {
            "id": "0123456789",
            "title": "Order & number of reveal steps",
            "paper": "memo",
            "table": "ablation_reveal_steps",
            "scale": scale,
            "scale_title": "drawn scenes, small network",
            "stand_ins": {} if scale == "paper" else {"bsds500": "scenes"},
            "overrides": {},
            "seeds": list(seeds),
            "columns": ["seval_ods", "ceval_ods", "ac", "seconds_per_image"],
            "claims": [
                "locmax,10.ceval_ods > topk,10.ceval_ods",
                "one.shot.ac > locmax,10.ac + 0.02",
                "one.shot.seconds_per_image < locmax,10.seconds_per_image",
            ],
            "notes": ["Guidance is 2."],
            "figures": ["precision_recall", "image_grid", "quality_against_time"],
            "rows": [
                {
                    "key": key,
                    "label": label,
                    "published": published,
                    "published_only": False,
                    "runs": [
                        write_row(tmp_path, key.replace(",", ""), seed, quality, crispness, seconds) for seed in seeds
                    ],
                }
                for key, label, quality, crispness, seconds, published in rows
            ]
            + [
                {
                    "key": "DiffEdge",
                    "label": "DiffEdge",
                    "published": {"seval_ods": 0.834, "ceval_ods": 0.749, "ac": 0.476},
                    "published_only": True,
                    "runs": [],
                }
            ],
        } | changes
        path = tmp_path / "results/plan/tables" / scale / "memo/ablation_reveal_steps.json"
        write_json(path, spec)
        return path

    return make
