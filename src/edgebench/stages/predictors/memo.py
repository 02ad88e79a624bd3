"""MEMO, for the predict stage."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from edgebench.data.adapters import Dataset
from edgebench.files import atomic_path
from edgebench.methods.memo.frames import RevealOrder
from edgebench.methods.memo.predictor import Predictor
from edgebench.methods.memo.reveal import RevealSettings
from edgebench.methods.memo.tiles import padded_size
from edgebench.methods.memo.weights import load_network
from edgebench.stages.devices import choose_device
from edgebench.stages.inputs import FRAMES
from edgebench.stages.per_image import PerImage
from edgebench.stages.predictors import Prepared
from edgebench.stages.spec import RunSpec
from edgebench.stages.weights import WEIGHTS

ROUNDS = "rounds"


def memo(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Edge maps by revealing; the reveals of the first images are kept if the settings say so."""
    torch.set_num_threads(spec.threads)
    settings = spec.settings
    predictor = Predictor(
        load_network(spec.input("weights") / WEIGHTS),
        RevealSettings(
            strategy=settings["reveal"],
            steps=settings["steps"],
            compat=settings["compat"],
            confidence_threshold=settings["confidence_threshold"],
            schedule=settings["schedule"],
        ),
        guidance=settings["guidance"],
        device=choose_device(settings["device"]),
        precision=settings["precision"],
        batch_size=settings["batch"],
        seed=spec.seed,
        long_side=settings["long_side"],
        tile=settings["tile"],
        scales=settings["scales"],
        dino_size=settings["dino_size"],
        compile=settings["compile"],
    )
    kept = set(dataset.ids[: settings["frames"]])
    rounds = PerImage(spec, ROUNDS)

    def maps(images: list[np.ndarray], ids: list[str]) -> list[np.ndarray]:
        recorder = RevealOrder() if kept & set(ids) else None
        predictions = predictor.predict(images, ids, recorder)
        rounds.add(ids, [each.rounds for each in predictions])
        for image_id, each in zip(ids, predictions, strict=True):
            if recorder is not None and image_id in kept:
                _write_frames(spec.folder / FRAMES / f"{image_id}.npz", recorder.orders[image_id], each.probability)
        return [each.probability for each in predictions]

    def group(height: int, width: int) -> tuple[int, int]:
        return padded_size(height, width, settings["long_side"])

    return Prepared(maps, group=group)


def summary(spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    """How many rounds the reveals took."""
    counted = PerImage(spec, ROUNDS).read(dataset.ids)
    return {"rounds": mean(counted.values())} if counted else {}


def _write_frames(path: Path, order: np.ndarray, probability: np.ndarray) -> None:
    """Keep a reveal: `order` (H, W) uint8, or uint16 beyond step 255, and `probability` (H, W) uint8."""
    kind = np.uint8 if order.max() <= np.iinfo(np.uint8).max else np.uint16
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary, order=order.astype(kind), probability=np.floor(255 * probability).astype(np.uint8)
        )
