"""Mask2Former for the predict stage."""

from __future__ import annotations

from dataclasses import fields

import torch

from edgebench.data.adapters import Dataset
from edgebench.errors import DataError
from edgebench.methods.mask2former.predictor import Predictor, PredictSettings
from edgebench.methods.mask2former.weights import load_weights
from edgebench.stages.devices import choose_device
from edgebench.stages.predictors import Prepared
from edgebench.stages.spec import RunSpec
from edgebench.stages.weights import WEIGHTS


def mask2former(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Segments by a trained network.

    Raises:
        DataError: it was trained on other classes than those of the data set.
    """
    torch.set_num_threads(spec.threads)
    settings, path = spec.settings, spec.input("weights") / WEIGHTS
    network, categories = load_weights(path)
    other = sorted(key for key in categories if categories[key] != dataset.categories.get(key))
    if other:
        raise DataError(
            f"{path}: was trained on the class {other[0]} ({categories[other[0]].name}), which data set "
            f"'{settings['dataset']}' does not have so. Predict the data set that it was trained on."
        )
    predictor = Predictor(
        network,
        categories,
        PredictSettings(**{each.name: settings[each.name] for each in fields(PredictSettings)}),
        device=choose_device(settings["device"]),
        precision=settings["precision"],
        batch_size=settings["batch"],
    )
    return Prepared(predictor.predict, group=predictor.working_size)
