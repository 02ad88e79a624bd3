"""Stage `train`: a data set and labels in, `weights.safetensors` and `log.csv` out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from edgebench.stages.inputs import LabelledBy, open_input
from edgebench.stages.spec import RunSpec

if TYPE_CHECKING:
    from edgebench.training.objective import Objective

LOG_ROWS = 500  # about this many rows in the log, however long the training


def train(spec: RunSpec) -> dict[str, Any]:
    """Train, or go on where an interrupted run stood.

    Raises:
        TrainingStopped: the time limit came; a checkpoint was saved.
        EdgebenchError: data, labels or weights are missing or damaged, or the loss is no longer finite.
    """
    import torch

    from edgebench.training.loop import train as run_loop
    from edgebench.training.settings import LoopSettings

    torch.set_num_threads(spec.threads)
    torch.manual_seed(spec.seed)  # the objective initialises its weights
    objective = _OBJECTIVES[spec.settings["method"]](spec)
    runtime = spec.content["runtime"]
    known = {field.name for field in fields(LoopSettings)}
    settings = LoopSettings(
        **{key: value for key, value in spec.settings.items() if key in known},
        seed=spec.seed,
        workers=runtime["loader_workers"],
        log_every=max(1, spec.settings["steps"] // LOG_ROWS),
        checkpoint_minutes=runtime["checkpoint_minutes"],
        time_limit_minutes=runtime["time_limit_minutes"],
        tensorboard=runtime["tensorboard"],
    )
    report = run_loop(objective, settings, spec.folder, spec.content["label"])
    return {
        "n_images": len(objective),
        "steps": report.steps,
        "loss": report.loss,
        "parameters": report.parameters,
    }


def _memo(spec: RunSpec) -> Objective:
    from edgebench.methods.memo.objective import MemoObjective

    settings = spec.settings
    dataset = open_input(spec)
    if "labels" in spec.content["inputs"]:
        labels = spec.input("labels")
        dataset = LabelledBy(dataset, labels)
    start = spec.input("start") / "weights.safetensors" if "start" in spec.content["inputs"] else None
    return MemoObjective(
        dataset,
        preset=settings["preset"],
        start=start,
        crop=settings["crop"],
        trim=settings["trim"],
        annotators=settings["annotators"],
        loss=settings["loss"],
        mask_ratio=settings["mask_ratio"],
        full_mask_share=settings["full_mask_share"],
        warm_start_steps=settings["warm_start_steps"],
        image_drop=settings["image_drop"],
        lora_rank=settings["lora_rank"],
        dino=settings["dino"],
    )


_OBJECTIVES: dict[str, Callable[[RunSpec], Objective]] = {"memo": _memo}
