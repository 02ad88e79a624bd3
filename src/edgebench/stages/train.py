"""Stage `train`: a data set and labels in, `weights.safetensors` and `log.csv` out.

Weights that somebody else trained and released come in by the same door: they are converted, not trained.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.errors import DataError
from edgebench.files import read_json, sha256_file
from edgebench.stages.devices import choose_device
from edgebench.stages.fetch import require_preset
from edgebench.stages.inputs import LabelledBy, SegmentedBy, labels_file, map_file, open_input
from edgebench.stages.spec import RunSpec
from edgebench.stages.weights import WEIGHTS

if TYPE_CHECKING:
    import numpy as np

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
        workers=_loader_workers(runtime["loader_workers"], spec.settings["device"], spec.threads),
        log_every=max(1, spec.settings["steps"] // LOG_ROWS),
        checkpoint_minutes=runtime["checkpoint_minutes"],
        time_limit_minutes=runtime["time_limit_minutes"],
        tensorboard=runtime["tensorboard"],
    )
    report = run_loop(objective, settings, spec.folder, spec.content["label"])
    return {
        "n_images": len(objective),
        "steps": report.steps,
        "resumed_from_step": report.resumed_from,
        "loss": report.loss,
        "trained_parameters": report.parameters,
        "parameters": sum(each.numel() for each in objective.model.parameters()),
        "training_seconds": report.seconds,
        "contents": [_content(report.weights)],
    }


def _content(weights: Path) -> dict[str, Any]:
    """What those who take the weights compare them with."""
    return {"path": weights.name, "bytes": weights.stat().st_size, "sha256": sha256_file(weights)}


def _loader_workers(asked: int | None, device: str, threads: int) -> int:
    """Processes that prepare samples; by default what keeps a GPU from waiting. The result does not depend on it."""
    if asked is not None:
        return asked
    if choose_device(device) == "cpu":
        return 0
    return max(0, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1)


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


def _diffdis(spec: RunSpec) -> Objective:
    from edgebench.methods.codec import Codec
    from edgebench.methods.diffdis.network import DiffdisNetwork
    from edgebench.methods.diffdis.objective import Objective as DiffdisObjective
    from edgebench.methods.diffdis.objective import ObjectiveSettings, fitted_codec
    from edgebench.methods.diffdis.presets import preset
    from edgebench.methods.diffdis.pretrained import empty_text, from_backbone, load_vae

    settings, inputs = spec.settings, spec.content["inputs"]
    dataset: Any = open_input(spec)
    config = preset(settings["preset"])
    switches = {name: settings[name] for name in ("edge", "stream_embedding", "interaction", "injection")}
    config = replace(config, **switches, prediction=settings["prediction"] or config.prediction)
    model = next((name for name in ("vae", "backbone") if name in inputs), None)
    if "backbone" in inputs:
        network = from_backbone(spec.input("backbone"), config)
    else:
        network = DiffdisNetwork(config)
        if model:
            text = empty_text(spec.input(model))
            if text.shape != network.text.shape:
                raise DataError(
                    f"{spec.input(model)}: says {tuple(text.shape)} to an empty text, preset '{settings['preset']}' "
                    f"expects {tuple(network.text.shape)}. Set train.vae to null, or choose another preset."
                )
            network.text.copy_(text)
    codec: Codec
    if model:
        codec = load_vae(spec.input(model), settings["precision"])
    else:
        codec = fitted_codec(dataset, settings["size"], config.latent)
    edge_of = _drawn_edges(spec.input("edge_targets"), dataset.ids) if "edge_targets" in inputs else None
    chosen = {field.name: settings[field.name] for field in fields(ObjectiveSettings)}
    objective: Any = DiffdisObjective(network, codec, dataset, ObjectiveSettings(**chosen), edge_of)
    return objective


def _drawn_edges(folder: Path, ids: list[str]) -> Callable[[str], np.ndarray]:
    """Edge targets uint8 (H, W) by image, as a run of method `mask_contours` drew them."""
    missing = [image_id for image_id in ids if not map_file(folder, image_id).is_file()]
    if missing:
        raise DataError(
            f"{map_file(folder, missing[0])}: the edge of image {missing[0]} is missing, one of {len(missing)} of "
            f"{len(ids)}. Delete the folder {folder}, then run the same command again, which draws them all."
        )
    return partial(_drawn_edge, folder)


def _drawn_edge(folder: Path, image_id: str) -> np.ndarray:
    import numpy as np

    from edgebench.data.grey import read_grey

    return np.rint(read_grey(map_file(folder, image_id), "edge") * 255).astype(np.uint8)


def _mask2former(spec: RunSpec) -> Objective:
    from edgebench.methods.mask2former.network import Mask2FormerNetwork
    from edgebench.methods.mask2former.objective import Objective as Mask2formerObjective
    from edgebench.methods.mask2former.objective import ObjectiveSettings
    from edgebench.methods.mask2former.presets import network_config
    from edgebench.methods.mask2former.pretrained import from_backbone

    settings, inputs = spec.settings, spec.content["inputs"]
    dataset: Any = open_input(spec)
    categories = dataset.categories
    if "labels" in inputs:
        dataset = SegmentedBy(dataset, spec.input("labels"))
    changes = {key: settings[key] for key in ("class_weight", "mask_weight", "dice_weight", "no_object_weight")}
    for key, name in (("queries", "num_queries"), ("points", "train_num_points")):
        changes |= {name: settings[key]} if settings[key] else {}
    given = settings["preset"], len(categories)
    if "backbone" in inputs:
        network = from_backbone(spec.input("backbone"), *given, **changes)
    else:
        network = Mask2FormerNetwork(network_config(*given, **changes))
    chosen = {field.name: settings[field.name] for field in fields(ObjectiveSettings)}
    objective: Any = Mask2formerObjective(network, dataset, categories, ObjectiveSettings(**chosen))
    return objective


def _trace_backbone(spec: RunSpec) -> Objective:
    from edgebench.methods.trace.pretraining import PretrainingObjective, fitted_codec
    from edgebench.methods.trace.small import SmallTransformer, preset

    settings = spec.settings
    dataset: Any = open_input(spec)
    config = preset(settings["preset"], settings["size"])
    network = SmallTransformer(config)
    objective: Any = PretrainingObjective(network, fitted_codec(dataset, config), dataset, settings["flip"])
    return objective


def _trace(spec: RunSpec) -> Objective:
    from edgebench.methods.trace.decoder import DecoderConfig, find_levels
    from edgebench.methods.trace.objective import DistilObjective, DistilSettings
    from edgebench.methods.trace.opening import open_backbone
    from edgebench.methods.trace.student import Student

    settings = spec.settings
    dataset: Any = open_input(spec)
    released = "backbone" in spec.content["inputs"]
    origin = {name: settings[name] for name in ("reads", "layers")}
    if released:
        fetched = read_json(spec.input("backbone") / "run.json")
        origin["checkpoint"] = fetched["checkpoint"]
        backbone = open_backbone(
            spec.input("backbone"), settings["size"], settings["precision"], settings["reads"], settings["layers"]
        )
    else:
        backbone = open_backbone(spec.input("pretrained"))
    config = DecoderConfig(
        settings["decoder_input"], settings["decoder_join"], settings["window"], settings["decoder_width"]
    )
    if choose_device(settings["device"]) == "cuda":  # on a CPU the one pass that finds the levels takes minutes
        backbone.network.to(f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
    levels = find_levels(backbone, config, settings["blocks"])
    label_of = _pseudo_labels(spec.input("labels"), dataset.ids)
    student = Student(backbone, config, levels, settings["lora_rank"])
    chosen = {field.name: settings[field.name] for field in fields(DistilSettings)}
    objective: Any = DistilObjective(student, dataset, label_of, DistilSettings(**chosen), origin if released else None)
    return objective


def _pseudo_labels(folder: Path, ids: list[str]) -> Callable[[str], np.ndarray]:
    """Pseudo edges int8 (h, w) by image, as a run of method `trace_attention` made them."""
    from edgebench.methods.trace.label_files import read_labels

    missing = [image_id for image_id in ids if not labels_file(folder, image_id).is_file()]
    if missing:
        raise DataError(
            f"{labels_file(folder, missing[0])}: the pseudo edges of image {missing[0]} are missing, one of "
            f"{len(missing)} of {len(ids)}. Give the run of the labels the same limit, or delete the folder {folder} "
            f"and run the same command again, which makes them all."
        )
    grid = read_labels(labels_file(folder, ids[0])).labels.shape if ids else ()
    return partial(_pseudo_label, folder, grid)


def _pseudo_label(folder: Path, grid: tuple[int, ...], image_id: str) -> np.ndarray:
    import numpy as np

    from edgebench.methods.trace.label_files import read_labels

    path = labels_file(folder, image_id)
    labels, again = read_labels(path).labels, f"Delete the folder {folder}, then run it again."
    if labels.shape != grid:
        sizes = ("x".join(map(str, each)) for each in (labels.shape, grid))
        raise DataError(f"{path}: pseudo edges of {' instead of '.join(sizes)} tokens, as the first has. {again}")
    if labels.ndim != 2 or labels.dtype != np.int8 or not np.isin(labels, (-1, 0, 1)).all():
        raise DataError(f"{path}: holds no pseudo edges of 1, 0 and -1. {again}")
    return labels


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
        "contents": [_content(spec.folder / WEIGHTS)],
        **notes,
    }


def _diffdis_released(spec: RunSpec) -> dict[str, Any]:
    from edgebench.methods.diffdis.pretrained import WEIGHTS as SOURCE
    from edgebench.methods.diffdis.released import convert_released

    folder = spec.input("checkpoint")
    fetched = read_json(folder / "run.json")
    digests = {each["path"]: each["sha256"] for each in fetched["contents"]}
    notes = {"checkpoint": fetched["checkpoint"], "source_sha256": digests[f"unet/{SOURCE}"]}
    released = convert_released(folder, spec.folder / WEIGHTS, notes)
    require_preset(fetched["checkpoint"], spec.settings["preset"], released.preset)
    contents = [_content(spec.folder / WEIGHTS)]
    return {"preset": released.preset, "parameters": released.parameters, "contents": contents, **notes}


_OBJECTIVES: dict[str, Callable[[RunSpec], Objective]] = {
    "memo": _memo,
    "diffdis": _diffdis,
    "trace_backbone": _trace_backbone,
    "mask2former": _mask2former,
    "trace": _trace,
}
_CONVERTERS: dict[str, Callable[[RunSpec], dict[str, Any]]] = {
    "memo_released": _memo_released,
    "diffdis_released": _diffdis_released,
}
