"""SAM prompted by what another run found, for the predict stage."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch

from edgebench.data.adapters import Dataset
from edgebench.data.instances import Instances, encode, read_instances
from edgebench.data.panoptic import Segmentation, read_segmentation
from edgebench.methods.sam.prompted import PromptSettings, Redrawn, redraw
from edgebench.methods.sam.scorer import Scorer, load_scorer
from edgebench.stages.devices import choose_device
from edgebench.stages.inputs import instances_file, panoptic_file
from edgebench.stages.predictors import Prepared
from edgebench.stages.spec import RunSpec


def sam_prompted(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Instances with SAM's masks."""
    scorer, prompts = _loaded(spec)
    found, keeps = spec.input("instances"), spec.settings["score"] == "kept"

    def one(image: np.ndarray, image_id: str) -> Instances:
        size, items = read_instances(instances_file(found, image_id))
        redrawn = redraw(image, list(Instances(size, items).masks()), scorer, prompts)
        return Instances(
            size,
            [
                item
                if new.iou is None
                else item._replace(mask=encode(new.mask), score=item.score if keeps else new.iou, area=None)
                for item, new in zip(items, redrawn, strict=True)
            ],
        )

    return Prepared(lambda images, ids: [one(*pair) for pair in zip(images, ids, strict=True)])


def sam_prompted_panoptic(spec: RunSpec, dataset: Dataset) -> Prepared:
    """A panoptic segmentation with SAM's masks of things."""
    scorer, prompts = _loaded(spec)
    found, categories = spec.input("segments"), dataset.categories

    def one(image: np.ndarray, image_id: str) -> Segmentation:
        before = read_segmentation(panoptic_file(found, image_id))
        things = [number for number, each in before.segments.items() if categories[each.category].thing]
        redrawn = redraw(image, [before.ids == number for number in things], scorer, prompts)
        return _laid(before, dict(zip(things, redrawn, strict=True)))

    return Prepared(lambda images, ids: [one(*pair) for pair in zip(images, ids, strict=True)])


def _laid(before: Segmentation, things: dict[int, Redrawn]) -> Segmentation:
    """Things laid over what else there was, smaller ones last; segments that nothing is left of are gone."""
    ids = np.where(np.isin(before.ids, list(things)), 0, before.ids).astype(np.uint32)
    for number, new in sorted(things.items(), key=lambda pair: -np.count_nonzero(pair[1].mask)):
        ids[new.mask] = number
    left = set(np.unique(ids).tolist())
    segments = {number: each._replace(area=None) for number, each in before.segments.items() if number in left}
    return Segmentation(ids, segments)


def _loaded(spec: RunSpec) -> tuple[Scorer, PromptSettings]:
    torch.set_num_threads(spec.threads)
    settings: dict[str, Any] = spec.settings
    scorer = load_scorer(
        settings["generator"],
        spec.input("generator_weights"),
        choose_device(settings["device"]),
        settings["precision"],
    )
    known = {each.name for each in fields(PromptSettings)}
    return scorer, PromptSettings(**{key: value for key, value in settings.items() if key in known})
