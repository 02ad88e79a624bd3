"""The methods of the predict stage: what prepares each of them for a run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgebench.stages.inputs import instances_file, map_file, panoptic_file, semantic_file

if TYPE_CHECKING:
    import numpy as np

    from edgebench.data.adapters import Dataset
    from edgebench.data.instances import Instances
    from edgebench.data.panoptic import Segmentation
    from edgebench.stages.spec import RunSpec


@dataclass(frozen=True)
class Output:
    """What a run keeps of each image.

    Attributes:
        file: From the run's folder and an image's id to the file that is written last of the image.
        write: Writes what a method answered about an image to that file, whole or not at all.
        finish: Called with the run's folder and the data set when all images have their files, for what gathers them.
    """

    file: Callable[[Path, str], Path]
    write: Callable[[Path, Any], None]
    finish: Callable[[Path, Dataset], None] | None = None


def _write_map(path: Path, answer: np.ndarray) -> None:
    from edgebench.data.images import write_map_png

    write_map_png(path, answer)


def _write_instances(path: Path, answer: Instances) -> None:
    from edgebench.data.instances import write_instances

    write_instances(path, answer)


def _gather_instances(folder: Path, dataset: Dataset) -> None:
    from edgebench.data.coco_results import image_numbers, write_results
    from edgebench.data.instances import read_instances

    found = ((each, read_instances(instances_file(folder, each))) for each in dataset.ids)
    write_results(folder, found, image_numbers(dataset))


def _write_segmentation(path: Path, answer: Segmentation) -> None:
    from edgebench.data.panoptic import write_segmentation

    write_segmentation(path, answer)


def _gather_segmentations(folder: Path, dataset: Dataset) -> None:
    from edgebench.data.panoptic import JOINED, image_key, join_records

    records = {image_key(dataset, each): panoptic_file(folder, each) for each in dataset.ids}
    join_records(folder / JOINED, records, dataset.categories)


def _write_semantic(path: Path, answer: np.ndarray) -> None:
    from edgebench.data.semantic import write_semantic

    write_semantic(path, answer)


MAPS = Output(map_file, _write_map)
"""A float map (H, W) in [0, 1], kept with 8 bits."""
INSTANCES = Output(instances_file, _write_instances, _gather_instances)
"""`Instances`; at the end all of them as COCO's results, too, so that they can be scored elsewhere."""
PANOPTIC = Output(panoptic_file, _write_segmentation, _gather_segmentations)
"""A `Segmentation`; at the end `panoptic.json` names all of them as COCO's files do."""
SEMANTIC = Output(semantic_file, _write_semantic)
"""A class map (H, W) of ids, kept as an indexed PNG."""
OUTPUTS = {"maps": MAPS, "instances": INSTANCES, "panoptic": PANOPTIC, "semantic": SEMANTIC}
"""By what a method writes, as its settings class says."""


@dataclass(frozen=True)
class Prepared:
    """A method that is ready to predict.

    Attributes:
        answers: From the images and ids of one batch to one answer per image, of the kind that `output` writes.
        note: What the run's record should say.
        sees: Whether it looks at the images; a method that does not is given none, and its time says nothing.
        group: From an image's (H, W) to what those that share a batch have in common; None where images are
            taken one at a time.
    """

    answers: Callable[[list[np.ndarray], list[str]], Sequence[Any]]
    note: dict[str, Any] = field(default_factory=dict)
    sees: bool = True
    group: Callable[[int, int], Hashable] | None = None


MODULES = {
    "memo": "memo",
    "sobel": "baselines",
    "canny": "baselines",
    "otsu": "baselines",
    "foreground": "baselines",
    "brought": "brought",
    "brought_semantic": "semantic",
    "true_semantic": "semantic",
    "brought_panoptic": "panoptic",
    "trace_panoptic": "panoptic",
    "mask2former": "mask2former",
    "sam_prompted": "sam",
    "sam_prompted_panoptic": "sam",
    "diffdis": "diffdis",
    "diffdis_vae": "diffdis",
    "trace": "trace",
    "tokencut": "unsupervised",
    "maskcut": "unsupervised",
    "promerge": "unsupervised",
    "trace_attention": "trace_attention",
    "felzenszwalb_masks": "instances",
    "true_masks": "instances",
    "brought_instances": "instances",
    "trace_refine": "instances",
}
"""By method the module here that has the function of its name."""


def prepare(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Prepare the method of a run; only that one is imported.

    Args:
        spec: The run.
        dataset: What it predicts.

    Raises:
        EdgebenchError: its weights, or maps that were brought, are missing or damaged.
    """
    prepared: Prepared = getattr(_module(spec), spec.settings["method"])(spec, dataset)
    return prepared


def output_of(spec: RunSpec) -> Output:
    """What a run keeps of each image."""
    from edgebench.plan.methods import settings_class

    return OUTPUTS[settings_class("predict", spec.settings["method"], spec.content["label"]).WRITES]


def summary(spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    """What the record should say about all images: what the function `summary` of the method's module tells."""
    found: dict[str, Any] = getattr(_module(spec), "summary", lambda *given: {})(spec, dataset)
    return found


def _module(spec: RunSpec) -> ModuleType:
    return importlib.import_module(f"{__name__}.{MODULES[spec.settings['method']]}")
