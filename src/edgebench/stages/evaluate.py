"""Stage `evaluate`: the maps of a predict run and ground truth in, scores and per-image counts out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.errors import DataError
from edgebench.files import atomic_path, write_json
from edgebench.plan.runs import EVALUATE_VERSION
from edgebench.stages.inputs import SKELETONS, edge_file, map_file, open_input
from edgebench.stages.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np

    from edgebench.data.adapters import Dataset


def evaluate(spec: RunSpec) -> dict[str, Any]:
    """Score a predict run under the protocol of the plan file.

    Writes `scores.json` (`columns`, `scores`, `protocol`, `n_images`, `version`) and, per image,
    `counts.npz` (boundaries, masks, objects) or `per_image.npz` (crispness, LPIPS, outlines).

    Raises:
        DataError: a map or an annotation is missing, damaged or of another size.
    """
    protocol = spec.content["protocol"]
    score = {
        "edges": _edges,
        "crispness": _crispness,
        "perceptual": _perceptual,
        "masks": _masks,
        "outlines": _outlines,
        **dict.fromkeys(("instances", "panoptic", "instance_edges"), _objects),
    }
    columns, scores, count = score[protocol["method"]](spec, protocol)
    version = EVALUATE_VERSION[protocol["method"]]
    write_json(
        spec.folder / "scores.json",
        {"columns": columns, "scores": scores, "protocol": protocol, "n_images": count, "version": version},
    )
    return {"n_images": count, "columns": columns, "metric_version": version}


def _edges(spec: RunSpec, protocol: dict[str, Any]) -> tuple[dict[str, float], dict[str, Any], int]:
    from edgebench.data.edge_maps import read_edge_map
    from edgebench.stages.evaluate_edges import EdgeItem, EdgeProtocol, evaluate_items, write_counts

    dataset = open_input(spec)
    predictions = spec.input("predictions")
    items = [
        EdgeItem(
            image_id,
            partial(read_edge_map, map_file(predictions, image_id)),
            partial(dataset.boundaries, image_id),
            str(map_file(predictions, image_id)),
            f"the annotations of {image_id}",
        )
        for image_id in dataset.ids
    ]
    evaluation = evaluate_items(items, EdgeProtocol.of_plan(protocol), jobs=spec.threads)
    write_counts(spec.folder / "counts.npz", evaluation)
    scores = evaluation.scores()
    prefix = protocol["columns"]
    columns = {
        f"{prefix}_ods": scores["ods"]["f"],
        f"{prefix}_ois": scores["ois"]["f"],
        f"{prefix}_ap": scores["ap"]["value"],
    }
    return columns, scores, len(evaluation.ids)


def _crispness(spec: RunSpec, protocol: dict[str, Any]) -> tuple[dict[str, float], dict[str, Any], int]:
    import numpy as np

    from edgebench.data.edge_maps import read_edge_map
    from edgebench.metrics.edges.crispness import average_crispness
    from edgebench.progress import track

    dataset = open_input(spec)
    folder: Path = spec.input("predictions")
    if not dataset.ids:
        raise DataError(f"{folder}: there is no image to evaluate.")
    values = np.array(
        [average_crispness(read_edge_map(map_file(folder, each))) for each in track(dataset.ids, "Crispness")]
    )
    name = protocol["columns"]
    with atomic_path(spec.folder / "per_image.npz") as path:
        columns: dict[str, Any] = {"ids": np.array(dataset.ids), name: values}
        np.savez_compressed(path, **columns)
    mean = float(values.mean())
    return {name: mean}, {name: {"value": mean}}, len(dataset.ids)


def _perceptual(spec: RunSpec, protocol: dict[str, Any]) -> tuple[dict[str, float], dict[str, Any], int]:
    from edgebench.stages.evaluate_perceptual import evaluate_perceptual

    return evaluate_perceptual(spec, protocol)


def _masks(spec: RunSpec, protocol: dict[str, Any]) -> tuple[dict[str, float], dict[str, Any], int]:
    from edgebench.data.masks import read_mask
    from edgebench.metrics.masks import PROTOCOLS, opencv
    from edgebench.stages.evaluate_masks import MaskItem, evaluate_items, write_counts

    dataset = open_input(spec)
    predictions, skeletons = spec.input("predictions"), spec.input("skeletons") / SKELETONS
    items = [
        MaskItem(
            image_id,
            partial(read_mask, map_file(predictions, image_id)),
            partial(_truth, dataset, image_id),
            str(map_file(predictions, image_id)),
            f"the mask of {image_id}",
        )
        for image_id in dataset.ids
    ]
    evaluation = evaluate_items(items, PROTOCOLS[protocol["rule"]], spec.threads, skeletons)
    write_counts(spec.folder / "counts.npz", evaluation)
    found = {name: value for name, value in evaluation.scores().items() if value is not None}
    scores: dict[str, Any] = {name: {"value": value} for name, value in found.items()}
    scores["hce"]["note"] = f"HCE with OpenCV {opencv().__version__}"
    prefix = protocol["columns"]
    return {f"{prefix}_{name}".strip("_"): value for name, value in found.items()}, scores, len(evaluation.ids)


def _objects(spec: RunSpec, protocol: dict[str, Any]) -> tuple[dict[str, float], dict[str, Any], int]:
    from edgebench.stages import evaluate_objects

    scored: tuple[dict[str, float], dict[str, Any], int] = getattr(evaluate_objects, protocol["method"])(spec, protocol)
    return scored


def _truth(dataset: Dataset, image_id: str) -> np.ndarray:
    """The mask of an image as `read_mask` gives it."""
    return dataset.mask(image_id) / 255


def _outlines(spec: RunSpec, protocol: dict[str, Any]) -> tuple[dict[str, float], dict[str, Any], int]:
    """MAE of the predicted edges, and IoU of those cut at one half, with the outlines that networks are trained on.

    Both are averaged over the images; an image without edges on either side has no IoU.
    """
    import numpy as np

    from edgebench.data.edge_maps import read_edge_map
    from edgebench.methods.diffdis.contours import contour
    from edgebench.metrics.masks import plain_iou
    from edgebench.progress import track

    dataset = open_input(spec)
    folder = spec.input("predictions")
    values = []
    for image_id in track(dataset.ids, "Outlines"):
        path = edge_file(folder, image_id)
        edge, truth = read_edge_map(path), contour(dataset.mask(image_id)) > 0
        if edge.shape != truth.shape:
            raise DataError(
                f"{path}: {edge.shape[0]} x {edge.shape[1]} pixels (height x width), but the mask of {image_id} has "
                f"{truth.shape[0]} x {truth.shape[1]}. Delete {folder} and run snakemake again."
            )
        iou = plain_iou(edge > 0.5, truth)
        values.append((np.abs(edge - truth).mean(), np.nan if iou is None else iou))
    named = dict(zip(("mae", "iou"), np.array(values).T, strict=True))
    per_image: dict[str, Any] = {f"{protocol['columns']}_{name}": each for name, each in named.items()}
    with atomic_path(spec.folder / "per_image.npz") as path:
        np.savez_compressed(path, ids=np.array(dataset.ids), **per_image)
    columns = {name: float(np.nanmean(each)) for name, each in per_image.items() if not np.isnan(each).all()}
    return columns, {name: {"value": value} for name, value in columns.items()}, len(dataset.ids)
