"""What the methods are compared with, for the predict stage."""

from __future__ import annotations

from typing import Any

from edgebench.data.adapters import Dataset, open_dataset
from edgebench.stages.inputs import true_edges
from edgebench.stages.predictors import Prepared
from edgebench.stages.spec import RunSpec


def sobel(spec: RunSpec, dataset: Dataset) -> Prepared:
    """The Sobel gradient."""
    from edgebench.methods.baselines.sobel import sobel_edges

    return Prepared(lambda images, ids: [sobel_edges(image) for image in images])


def canny(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Canny's edges, fitted to annotated images if the settings say so."""
    from edgebench.methods.baselines.canny import canny_edges, tune_canny

    settings = spec.settings
    chosen = {name: settings[name] for name in ("sigma", "low", "high")}
    note: dict[str, Any] = {}
    if settings["tune_on"]:
        definition = spec.content["dataset"]
        training = open_dataset(definition["layout"], spec.input("dataset"), settings["tune_on"])
        ids = training.ids[: settings["tune_limit"]]
        sigma, low, high, score = tune_canny(
            [training.image(each) for each in ids],
            [true_edges(training, each) for each in ids],
            definition["edge_tolerance"],
        )
        chosen = {"sigma": sigma, "low": low, "high": high}
        note = {"tuned": chosen, "tuned_f": score, "tuned_images": len(ids)}
    return Prepared(lambda images, ids: [canny_edges(image, **chosen) for image in images], note)


def otsu(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Otsu's threshold."""
    from edgebench.methods.baselines.otsu import otsu_mask

    return Prepared(lambda images, ids: [otsu_mask(image) for image in images])


def foreground(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Every pixel is foreground."""
    from edgebench.methods.baselines.foreground import all_foreground

    return Prepared(lambda images, ids: [all_foreground(*dataset.size(each)) for each in ids], sees=False)
