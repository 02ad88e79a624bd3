"""Stage `train`: a data set and labels in, `weights.safetensors` and `log.csv` out.

Weights that somebody else trained and released come in by the same door: they are converted, not trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from edgebench.files import read_json
from edgebench.stages.fetch import require_preset
from edgebench.stages.inputs import LabelledBy, open_input
from edgebench.stages.spec import RunSpec
from edgebench.stages.weights import WEIGHTS

if TYPE_CHECKING:
    from edgebench.training.objective import Objective

LOG_ROWS = 500  # about this many rows in the log, however long the training


def train(spec: RunSpec) -> dict[str, Any]:
    """Train, or go on where an interrupted run stood; or convert what was trained elsewhere.

    Raises:
        TrainingStopped: the time limit came; a checkpoint was saved.
        EdgebenchError: data, labels or weights are missing or damaged, or the loss is no longer finite.
    """
    if spec.settings["method"] in _CONVERTERS:
        return _CONVERTERS[spec.settings["method"]](spec)
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
        "trained_parameters": report.parameters,
        "parameters": sum(each.numel() for each in objective.model.parameters()),
        "training_seconds": report.seconds,
    }


def _memo(spec: RunSpec) -> Objective:
    from edgebench.methods.memo.network import MemoNetwork
    from edgebench.methods.memo.objective import Objective as MemoObjective
    from edgebench.methods.memo.objective import ObjectiveSettings
    from edgebench.methods.memo.presets import preset
    from edgebench.methods.memo.pretrained import load_pretrained_dino
    from edgebench.methods.memo.weights import load_network

    settings = spec.settings
    dataset: Any = open_input(spec)
    if "labels" in spec.content["inputs"]:
        dataset = LabelledBy(dataset, spec.input("labels"))
    if "start" in spec.content["inputs"]:
        network = load_network(spec.input("start") / WEIGHTS)
    else:
        network = MemoNetwork(preset(settings["preset"]))
        if network.dino is not None:
            load_pretrained_dino(network, spec.input("dino_weights"))
    known = {field.name for field in fields(ObjectiveSettings)}
    chosen = {key: value for key, value in settings.items() if key in known}
    objective: Any = MemoObjective(network, dataset, ObjectiveSettings(**chosen))
    return objective


def _memo_released(spec: RunSpec) -> dict[str, Any]:
    from edgebench.methods.memo.released import convert_released

    folder = spec.input("checkpoint")
    fetched = read_json(folder / "run.json")
    (file,) = fetched["contents"]
    notes = {"checkpoint": fetched["checkpoint"], "source_sha256": file["sha256"]}
    released = convert_released(folder / file["path"], spec.folder / WEIGHTS, notes)
    require_preset(fetched["checkpoint"], spec.settings["preset"], released.preset)
    return {
        "preset": released.preset,
        "averaged_updates": released.averaged,
        "merged_lora_rank": released.lora_rank,
        "adapter_parameters": released.adapter_parameters,
        "parameters": sum(value.numel() for value in released.state.values()),
        **notes,
    }


_OBJECTIVES: dict[str, Callable[[RunSpec], Objective]] = {"memo": _memo}
_CONVERTERS: dict[str, Callable[[RunSpec], dict[str, Any]]] = {"memo_released": _memo_released}
