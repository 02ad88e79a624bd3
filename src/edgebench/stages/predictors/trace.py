"""TRACE in one pass, for the predict stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from edgebench.data.adapters import Dataset
from edgebench.errors import ConfigError
from edgebench.files import read_json
from edgebench.methods.trace.opening import open_backbone
from edgebench.methods.trace.student import EdgePredictor
from edgebench.methods.trace.weights import load_student, origin_of, trained_size
from edgebench.stages.devices import choose_device
from edgebench.stages.predictors import Prepared
from edgebench.stages.spec import RunSpec
from edgebench.stages.weights import WEIGHTS


def trace(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Edges by the distilled network.

    Raises:
        ConfigError: the weights belong to another checkpoint than the one given.
    """
    torch.set_num_threads(spec.threads)
    settings, weights = spec.settings, spec.input("weights") / WEIGHTS
    wanted = origin_of(weights).get("checkpoint")
    backbone: Any = None
    given = None
    if "backbone" in spec.content["inputs"]:
        folder = spec.input("backbone")
        given = read_json(folder / "run.json")["checkpoint"]
        backbone = open_backbone(folder, trained_size(weights), settings["precision"]) if given == wanted else None
    if given != wanted:
        raise ConfigError(
            f"{spec.content['label']}: the weights belong to {_named(wanted)}, but predict.backbone is {given or 'null'}. "
            f"Set it to {wanted or 'null'}."
        )
    predictor = EdgePredictor(
        load_student(weights, backbone), choose_device(settings["device"]), settings["precision"], settings["batch"]
    )

    def maps(images: list[np.ndarray], ids: list[str]) -> list[np.ndarray]:
        return list(predictor.predict(images, ids))

    return Prepared(maps)


def _named(checkpoint: str | None) -> str:
    return f"the checkpoint '{checkpoint}'" if checkpoint else "a small network"
