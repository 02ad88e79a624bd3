"""Instance masks without training, for the predict stage: base masks, masks of others, and TRACE's refinement."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from edgebench.data.adapters import Dataset
from edgebench.data.instances import Instance, Instances, from_masks, read_instances
from edgebench.stages.inputs import instances_file, map_file
from edgebench.stages.predictors import Prepared
from edgebench.stages.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np


def felzenszwalb_masks(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Segments by colour; all scores are 1."""
    from edgebench.methods.sam.proposals import object_masks

    chosen = {name: spec.settings[name] for name in ("scales", "smallest", "largest", "border")}

    def answers(images: list[np.ndarray], ids: list[str]) -> list[Instances]:
        return [from_masks(object_masks(image, **chosen), (image.shape[0], image.shape[1])) for image in images]

    return Prepared(answers)


def true_masks(spec: RunSpec, dataset: Dataset) -> Prepared:
    """The data set's own instances, or those of a class as one."""
    import numpy as np

    def of_classes(found: Instances) -> Instances:
        kinds = sorted({each.category for each in found.items})
        masks = found.masks()
        joined = [masks[[each.category == kind for each in found.items]].any(0) for kind in kinds]
        return from_masks(np.array(joined, dtype=bool), found.size, categories=kinds)

    def answers(images: list[np.ndarray], ids: list[str]) -> list[Instances]:
        found = [_without_crowds(dataset.instances(each)) for each in ids]
        return found if spec.settings["by"] == "instance" else [of_classes(each) for each in found]

    return Prepared(answers, sees=False)


def brought_instances(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Masks that another method wrote to files.

    Raises:
        DataError: a file is missing, damaged, of no known form, or not about these images.
    """
    from edgebench.data.brought_instances import open_brought, wanted_images

    named = {name: Path(spec.settings[name]).expanduser() for name in ("file", "folder") if spec.settings[name]}
    brought = open_brought(wanted_images(dataset), **named)
    note = {"brought_from": ", ".join(map(str, named.values())), "form": brought.form}
    return Prepared(lambda images, ids: [brought.read(each) for each in ids], note, sees=False)


def trace_refine(spec: RunSpec, dataset: Dataset) -> Prepared:
    """The instances of one run refined by the edges of another."""
    from edgebench.methods.trace.refine import RefineSettings
    from edgebench.stages.refine_files import refine_instances

    masks, edges = spec.input("masks"), spec.input("edges")
    settings = RefineSettings(**{each.name: spec.settings[each.name] for each in fields(RefineSettings)})

    def refined(image_id: str) -> Instances:
        return refine_instances(read_instances(instances_file(masks, image_id)), map_file(edges, image_id), settings)

    # It needs no image, but its time counts.
    return Prepared(lambda images, ids: [refined(each) for each in ids])


def _without_crowds(found: Instances) -> Instances:
    """Objects alone; a crowd is no answer that anyone could give."""
    items = [Instance(each.mask, 1.0, each.category) for each in found.items if not each.crowd]
    return Instances(found.size, items)
