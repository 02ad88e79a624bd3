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
    origin = origin_of(weights)
    wanted, given = origin.pop("checkpoint", None), None
    if "backbone" in spec.content["inputs"]:
        given = read_json(spec.input("backbone") / "run.json")["checkpoint"]
    if given != wanted:
        belong = f"the checkpoint '{wanted}'" if wanted else "a small network, which lies in the same file"
        raise ConfigError(
            f"{spec.content['label']}: the weights belong to {belong}, but {spec.content['role']}.backbone is "
            f"{given or 'null'}. Set it to {wanted or 'null'}."
        )
    backbone = None
    if given is not None:
        how: dict[str, Any] = {"size": trained_size(weights), "precision": settings["precision"], **origin}
        backbone = open_backbone(spec.input("backbone"), **how)
    device = choose_device(settings["device"])
    predictor = EdgePredictor(load_student(weights, backbone), device, settings["precision"], settings["batch"])

    def maps(images: list[np.ndarray], ids: list[str]) -> list[np.ndarray]:
        return list(predictor.predict(images, ids))

    return Prepared(maps)
