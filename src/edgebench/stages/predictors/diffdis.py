"""DiffDIS, and its latents alone, for the predict stage."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch

from edgebench.data.adapters import Dataset, open_dataset
from edgebench.data.images import write_map_png
from edgebench.methods.codec import Codec
from edgebench.methods.diffdis.objective import fitted_codec
from edgebench.methods.diffdis.predictor import Predictor, PredictSettings
from edgebench.methods.diffdis.pretrained import load_vae
from edgebench.methods.diffdis.reconstruction import reconstruct
from edgebench.methods.diffdis.weights import load_weights
from edgebench.stages.devices import choose_device
from edgebench.stages.inputs import edge_file
from edgebench.stages.predictors import Prepared
from edgebench.stages.spec import RunSpec
from edgebench.stages.weights import WEIGHTS


def diffdis(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Masks from noise; the edges are written beside them if the settings say so."""
    torch.set_num_threads(spec.threads)
    settings = spec.settings
    network, codec = load_weights(spec.input("weights") / WEIGHTS, settings["precision"], settings["tiled"])
    predictor = Predictor(
        network,
        codec,
        PredictSettings(**{each.name: settings[each.name] for each in fields(PredictSettings)}),
        device=choose_device(settings["device"]),
        precision=settings["precision"],
        batch_size=settings["batch"],
        seed=spec.seed,
    )

    def maps(images: list[np.ndarray], ids: list[str]) -> list[np.ndarray]:
        predictions = predictor.predict(images, ids)
        for image_id, each in zip(ids, predictions, strict=True):
            if each.edge is not None:
                write_map_png(edge_file(spec.folder, image_id), each.edge)
        return [each.mask for each in predictions]

    return Prepared(maps, {"tta": settings["tta"]}, group=predictor.working_size)


def diffdis_vae(spec: RunSpec, dataset: Dataset) -> Prepared:
    """The true masks, encoded and decoded."""
    torch.set_num_threads(spec.threads)
    settings, device = spec.settings, choose_device(spec.settings["device"])
    codec: Codec
    if "vae" in spec.content["inputs"]:
        codec = load_vae(spec.input("vae"), settings["precision"], settings["tiled"])
        note = {"code": "autoencoder"}
    else:
        training = open_dataset(spec.content["dataset"]["layout"], spec.input("dataset"), settings["fit_on"])
        codec = fitted_codec(training, settings["size"], settings["channels"])
        note = {"code": f"patches, fitted to {settings['fit_on']}"}

    def maps(images: list[np.ndarray], ids: list[str]) -> list[np.ndarray]:
        return [reconstruct(codec, dataset.mask(each), settings["size"], device) for each in ids]

    return Prepared(maps, note, sees=False)
