"""The methods of the predict stage: what prepares each of them for a run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from edgebench.data.adapters import Dataset
    from edgebench.stages.spec import RunSpec


@dataclass(frozen=True)
class Prepared:
    """A method that is ready to predict.

    Attributes:
        maps: From the images and ids of one batch to one float map (H, W) in [0, 1] per image.
        note: What the run's record should say.
        sees: Whether it looks at the images; a method that does not is given none, and its time says nothing.
        group: From an image's (H, W) to what those that share a batch have in common; None where images are
            taken one at a time.
        summary: Called at the end for what the record should say besides.
    """

    maps: Callable[[list[np.ndarray], list[str]], list[np.ndarray]]
    note: dict[str, Any] = field(default_factory=dict)
    sees: bool = True
    group: Callable[[int, int], Hashable] | None = None
    summary: Callable[[], dict[str, Any]] = dict


MODULES = {
    "memo": "memo",
    "sobel": "baselines",
    "canny": "baselines",
    "otsu": "baselines",
    "foreground": "baselines",
    "brought": "brought",
    "diffdis": "diffdis",
    "diffdis_vae": "diffdis",
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
