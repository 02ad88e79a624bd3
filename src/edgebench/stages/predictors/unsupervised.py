"""TokenCut, MaskCut and ProMerge, for the predict stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
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
from edgebench.stages.predictors import INSTANCES, Prepared
from edgebench.stages.spec import RunSpec


def tokencut(spec: RunSpec, dataset: Dataset) -> Prepared:
    """One object per image."""
    from edgebench.methods.unsupervised.tokencut import tokencut as cut

    chosen = {name: spec.settings[name] for name in ("tau", "solver")}
    return _prepared(spec, dataset, lambda features: cut(features, **chosen))


def maskcut(spec: RunSpec, dataset: Dataset) -> Prepared:
    """One object per round."""
    from edgebench.methods.unsupervised.maskcut import maskcut as cut

    chosen = {name: spec.settings[name] for name in ("tau", "rounds", "largest_overlap", "smallest", "solver")}
    return _prepared(spec, dataset, lambda features: cut(features, **chosen))


def promerge(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Candidates of a grid of seeds, merged."""
    from edgebench.methods.unsupervised.promerge import promerge as merge

    chosen = MergeSettings(**{each.name: spec.settings[each.name] for each in fields(MergeSettings)})
    return _prepared(spec, dataset, lambda features: merge(features, chosen))


def _prepared(spec: RunSpec, dataset: Dataset, find: Callable[[np.ndarray], Found]) -> Prepared:
    """Features, objects, and what the record says of them."""
    describe, settings = _features(spec), spec.settings
    crf = CrfSettings() if settings["crf"] else None
    counts = PerImage(spec.folder / "work" / "masks.tsv")
    fallbacks = PerImage(spec.folder / "work" / "fallbacks.tsv")

    def answers(images: list[np.ndarray], ids: list[str]) -> list[Instances]:
        found = [find(features) for features in describe(images)]
        masks = [
            finish(each.masks, image, settings["size"], crf, settings["least_kept"])
            for each, image in zip(found, images, strict=True)
        ]
        counts.add(ids, [len(each) for each in masks])
        fallbacks.add(ids, [each.fell_back for each in found])
        return [from_masks(each, image.shape[:2]) for each, image in zip(masks, images, strict=True)]

    def summary() -> dict[str, Any]:
        made = list(counts.read(dataset.ids).values())
        return {
            "masks_per_image": mean(made) if made else None,
            "images_without_masks": sum(not each for each in made),
            "dense_fallbacks": int(sum(fallbacks.read(dataset.ids).values())),
        }

    note = {"features": "keys of DINO" if settings["dino"] else "statistics of colour and texture"}
    # Every image becomes the same square, so that any may share a batch.
    return Prepared(
        answers,
        note | ({"crf": asdict(crf)} if crf else {}),
        group=lambda height, width: None,
        summary=summary,
        output=INSTANCES,
    )


def _features(spec: RunSpec) -> Features:
    settings = spec.settings
    if not settings["dino"]:
        return PatchStatistics(settings["size"], settings["patch"])
    import torch

    from edgebench.methods.unsupervised.features import DinoKeys, load_dino

    torch.set_num_threads(spec.threads)
    device = choose_device(settings["device"])
    return DinoKeys(load_dino(spec.input("dino")), settings["size"], device, settings["precision"])
