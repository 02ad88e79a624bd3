"""The methods of the predict stage: what prepares each of them for a run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.stages.inputs import instances_file, map_file

if TYPE_CHECKING:
    import numpy as np

    from edgebench.data.adapters import Dataset
    from edgebench.data.instances import Instances
    from edgebench.stages.spec import RunSpec


@dataclass(frozen=True)
class Output:
    """What a run keeps of each image.

    Attributes:
        file: From the run's folder and an image's id to the file that is written last of the image.
        write: Writes what a method answered about an image to that file, whole or not at all.
    """

    file: Callable[[Path, str], Path]
    write: Callable[[Path, Any], None]


def _write_map(path: Path, answer: np.ndarray) -> None:
    from edgebench.data.images import write_map_png

    write_map_png(path, answer)


def _write_instances(path: Path, answer: Instances) -> None:
    from edgebench.data.instances import write_instances

    write_instances(path, answer)


MAPS = Output(map_file, _write_map)
"""A float map (H, W) in [0, 1], kept with 8 bits."""
INSTANCES = Output(instances_file, _write_instances)
"""`Instances`."""


@dataclass(frozen=True)
class Prepared:
    """A method that is ready to predict.

    Attributes:
        answers: From the images and ids of one batch to one answer per image, of the kind that `output` writes.
        note: What the run's record should say.
        sees: Whether it looks at the images; a method that does not is given none, and its time says nothing.
        group: From an image's (H, W) to what those that share a batch have in common; None where images are
            taken one at a time.
        summary: Called at the end for what the record should say besides.
        output: What is kept of each image.
    """

    answers: Callable[[list[np.ndarray], list[str]], Sequence[Any]]
    note: dict[str, Any] = field(default_factory=dict)
    sees: bool = True
    group: Callable[[int, int], Hashable] | None = None
    summary: Callable[[], dict[str, Any]] = dict
    output: Output = MAPS


MODULES = {
    "memo": "memo",
    "sobel": "baselines",
    "canny": "baselines",
    "otsu": "baselines",
    "foreground": "baselines",
    "brought": "brought",
    "diffdis": "diffdis",
    "diffdis_vae": "diffdis",
    "tokencut": "unsupervised",
    "maskcut": "unsupervised",
    "promerge": "unsupervised",
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
    method = spec.settings["method"]
    module = importlib.import_module(f"{__name__}.{MODULES[method]}")
    prepared: Prepared = getattr(module, method)(spec, dataset)
    return prepared
