"""A copy of the repository whose experiments hold every kind of run, each a second or two long."""

from __future__ import annotations

from pathlib import Path

from edgebench.plan.runs import Run
from edgebench.plan.tables import Table
from edgebench.plan.workbench import Workbench
from tests.workflow.conftest import Repository, copy_repository

EDGES = {
    "title": "Edges",
    "shows": {"paper": "memo", "table": "ablation_reveal_steps"},
    "recipe": "memo_bsds",
    "protocol": ["bsds_ceval", "crispness"],
    "matrix": {"predict.steps": [2]},
    "rows": [{"key": "canny", "label": "Canny", "recipe": "canny_bsds"}],
    "columns": ["ceval_ods", "ac"],
    "figures": ["precision_recall"],
}
OUTLINES = {
    "title": "DiffDIS",
    "shows": {"paper": "diffdis"},
    "recipe": "diffdis_dis5k",
    "protocol": ["masks_diffdis"],
    "rows": [{"key": "diffdis", "label": "DiffDIS"}],
    "groups": [{"key": "vd", "title": "DIS-VD", "set": {"predict.split": "vd"}}],
    "columns": ["max_f", "hce"],
    "figures": ["mask_grid"],
}
INSTANCES = {
    "title": "Instances refined by TRACE",
    "shows": {"paper": "trace"},
    "recipe": "trace_refine",
    "protocol": ["instances"],
    "rows": [{"key": "trace", "label": "MaskCut + TRACE", "set": {"masks.method": "maskcut"}}],
    "columns": ["ap", "ar100"],
    "figures": ["segment_grid"],
}
PANOPTIC = {
    "title": "Mask2Former on TRACE's segments",
    "shows": {"paper": "trace"},
    "recipe": "mask2former",
    "protocol": ["panoptic"],
    "rows": [{"key": "trace", "label": "TRACE"}],
    "columns": ["pq"],
    "figures": ["segment_grid"],
}
BORDERS = {
    "title": "Instance edges of the first stage",
    "shows": {"paper": "trace"},
    "recipe": "trace_stage1",
    "protocol": ["instance_edges"],
    "rows": [{"key": "stage1", "label": "Stage 1"}],
    "columns": ["edge_ods"],
    "figures": ["precision_recall"],
}
IMAGES = {
    "scenes": {"train": 6, "val": 2, "test": 6},
    "scenes_photos": {"train": 8},
    "scenes_dis": {"train": 6, "vd": 6},
    "scenes_coco": {"train": 6, "val": 2, "test": 6},
}
SHORTER = {
    "memo_bsds": {
        "pretrain": {"steps": 8, "warm_start_steps": 2, "batch": 2, "ema_start": 3},
        "finetune": {"steps": 6, "warm_start_steps": 2, "batch": 2, "ema_start": 3},
        "predict": {"batch": 2},
    },
    "diffdis_dis5k": {"train": {"steps": 6, "warmup_steps": 2, "batch": 1}, "predict": {"batch": 2}},
    "trace": {
        "pretrain": {"steps": 6, "warmup_steps": 2, "batch": 1, "ema_start": 3},
        "distill": {"steps": 6, "batch": 1},
    },
    "mask2former": {"segmenter": {"steps": 6, "batch": 1, "size": 64}, "predict": {"size": 64, "longest": 64}},
}
CHECKPOINT_MINUTES = 0.1 / 60
"""So often that kills fall into the writing of checkpoints, too."""


def make_repository(root: Path, folder: Path) -> Repository:
    """Copy the repository into `folder`, with few images, short trainings and frequent checkpoints."""
    experiments = {"edges": EDGES, "outlines": OUTLINES, "instances": INSTANCES, "panoptic": PANOPTIC}
    repository = copy_repository(root, folder, {**experiments, "borders": BORDERS})
    for name, images in IMAGES.items():
        definition = repository.read(f"config/datasets/{name}.yaml")
        repository.write(f"config/datasets/{name}.yaml", definition | {"images": images})
    demo = repository.read("config/scales/demo.yaml")
    for recipe, runs in SHORTER.items():
        for role, settings in runs.items():
            demo["recipes"][recipe][role].update(settings)
    repository.write("config/scales/demo.yaml", demo)
    repository.write("config/config.yaml", {"scale": "demo", "runtime": {"checkpoint_minutes": CHECKPOINT_MINUTES}})
    return repository


def planned(folder: Path) -> tuple[list[Run], list[Table]]:
    """All runs of a repository's tables, each once, in an order in which they could be carried out; and the tables."""
    tables = Workbench(folder).plan("demo").targets()
    runs = [run for table in tables for each in table.evaluations for run in [*each.upstream(), each]]
    return list({run.id: run for run in runs}.values()), tables
