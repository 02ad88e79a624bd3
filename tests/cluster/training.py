"""A training for clusters: short, and as long as a test wants it."""

from __future__ import annotations

import json
from pathlib import Path

from edgebench.plan.runs import Run
from edgebench.plan.workbench import Workbench
from tests.workflow.conftest import Repository, copy_repository

EDGES = {
    "title": "TRACE",
    "shows": {"paper": "trace"},
    "recipe": "trace",
    "protocol": ["instance_edges"],
    "rows": [{"key": "trace", "label": "TRACE"}],
    "columns": ["edge_ods"],
}


def with_trace(root: Path, folder: Path, name: str) -> Repository:
    """A repository in which TRACE's backbone is trained on few scenes."""
    repository = copy_repository(root, folder / name, {"edges": EDGES})
    scenes = repository.read("config/datasets/scenes_coco.yaml")
    repository.write("config/datasets/scenes_coco.yaml", scenes | {"images": {"train": 24, "val": 1, "test": 1}})
    return repository


def pretraining(repository: Repository, **settings: object) -> tuple[Run, tuple[str, ...]]:
    """The backbone's training with these settings, and what snakemake needs to make it."""
    changes = {f"pretrain.{key}": value for key, value in settings.items()}
    changes |= {"pretrain.warmup_steps": 0, "pretrain.ema_start": 0, "pretrain.batch": 2}
    bench = Workbench(repository.folder, {"set": changes})
    run = next(run for run in bench.plan("demo").runs.values() if run.role == "pretrain")
    return run, (run.record, "--config", "set=" + json.dumps(changes))


def steps_in(seconds: float, repository: Repository) -> int:
    """Steps that this training takes in so many seconds on this machine."""
    run, arguments = pretraining(repository, steps=40)
    repository.snakemake(*arguments, "--quiet", "rules")
    record = json.loads((repository.folder / run.record).read_text())
    return int(40 * seconds / record["training_seconds"])
