"""TokenCut, MaskCut and ProMerge, for the predict stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from edgebench.data.adapters import Dataset
from edgebench.data.instances import Instances, from_masks
from edgebench.methods.unsupervised.crf import CrfSettings
from edgebench.methods.unsupervised.finish import finish
from edgebench.methods.unsupervised.promerge import MergeSettings
from edgebench.methods.unsupervised.statistics import Features, PatchStatistics
from edgebench.methods.unsupervised.tokencut import Found
from edgebench.stages.devices import choose_device
from edgebench.stages.per_image import PerImage
from edgebench.stages.predictors import Prepared
from edgebench.stages.spec import RunSpec

MASKS, FALLBACKS = "masks", "fallbacks"
ARGUMENTS = {
    "tokencut": ("tau", "solver"),
    "maskcut": ("tau", "rounds", "largest_overlap", "smallest", "solver"),
    "promerge": tuple(each.name for each in fields(MergeSettings)),
}
"""By method the settings that it takes besides features."""


def tokencut(spec: RunSpec, dataset: Dataset) -> Prepared:
    """One object per image."""
    return _prepared(spec, dataset)


def maskcut(spec: RunSpec, dataset: Dataset) -> Prepared:
    """One object per round."""
    return _prepared(spec, dataset)


def promerge(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Candidates of a grid of seeds, merged."""
    return _prepared(spec, dataset)


def finder(method: str, settings: Mapping[str, Any]) -> Callable[[np.ndarray], Found]:
    """What finds objects in features (h, w, d), by a method with these of its `ARGUMENTS`; others have defaults."""
    if method == "promerge":
        from edgebench.methods.unsupervised.promerge import promerge as merge

        chosen = MergeSettings(**settings)
        return lambda features: merge(features, chosen)
    from edgebench.methods.unsupervised.maskcut import maskcut as several
    from edgebench.methods.unsupervised.tokencut import tokencut as one

    cut = one if method == "tokencut" else several
    return lambda features: cut(features, **settings)


def patch_features(dino: Path | None, size: int, patch: int, device: str, precision: Any) -> Features:
    """What describes patches: the DINO of a folder, or statistics where there is none, of which torch is no part.

    Raises:
        ConfigError: the size is no multiple of the patches'.
        DataError: the folder holds no DINO.
    """
    if dino is None:
        return PatchStatistics(size, patch)
    from edgebench.methods.unsupervised.features import DinoKeys, load_dino

    return DinoKeys(load_dino(dino), size, choose_device(device), precision)


def _prepared(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Features, objects, and what the record says of them."""
    settings = spec.settings
    dino = spec.input("dino") if "dino" in spec.content["inputs"] else None
    if dino:
        import torch

        torch.set_num_threads(spec.threads)
    describe = patch_features(dino, settings["size"], settings["patch"], settings["device"], settings["precision"])
    find = finder(settings["method"], {name: settings[name] for name in ARGUMENTS[settings["method"]]})
    crf = CrfSettings() if settings["crf"] else None
    counts = PerImage(spec, MASKS)
    fallbacks = PerImage(spec, FALLBACKS)

    def answers(images: list[np.ndarray], ids: list[str]) -> list[Instances]:
        found = [find(features) for features in describe(images)]
        masks = [
            finish(each.masks, image, settings["size"], crf, settings["least_kept"])
            for each, image in zip(found, images, strict=True)
        ]
        counts.add(ids, [len(each) for each in masks])
        fallbacks.add(ids, [each.fell_back for each in found])
        return [from_masks(each, image.shape[:2]) for each, image in zip(masks, images, strict=True)]

    note = {"features": "keys of DINO" if dino else "statistics of colour and texture"}
    # Every image becomes the same square, so that any may share a batch.
    return Prepared(
        answers,
        note | ({"crf": asdict(crf)} if crf else {}),
        group=lambda height, width: None,
    )


def summary(spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    """How many masks were found."""
    made = list(PerImage(spec, MASKS).read(dataset.ids).values())
    return {
        "masks_per_image": mean(made) if made else None,
        "images_without_masks": sum(not each for each in made),
        "dense_fallbacks": int(sum(PerImage(spec, FALLBACKS).read(dataset.ids).values())),
    }
