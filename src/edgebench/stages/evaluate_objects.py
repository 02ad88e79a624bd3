"""Stage `evaluate` on objects: instances, panoptic segmentations and the edges between them, of a predict run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgebench.data.instances import Instances, decode, read_instances
from edgebench.errors import DataError
from edgebench.stages.inputs import instances_file, map_file, open_input, panoptic_file
from edgebench.stages.spec import RunSpec

if TYPE_CHECKING:
    from edgebench.data.adapters import Dataset
    from edgebench.stages.evaluate_panoptic import Segmented

Map = dict[str, Any]
Scored = tuple[dict[str, float], Map, int]
VOID = 255
"""Class of the band that VOC draws around its objects."""


def instances(spec: RunSpec, protocol: Map) -> Scored:
    """Score the instances of a run; `counts.npz` keeps what the scores are made of.

    Raises:
        DataError: a file is missing or damaged, sizes or classes differ, or no image is of the kind asked for.
    """
    from edgebench.metrics.instances import coco_evaluator
    from edgebench.progress import track
    from edgebench.stages.evaluate_instances import InstancePair, evaluate_pairs, write_matches

    coco_evaluator()  # before long files are read, not after
    dataset, folder = open_input(spec), spec.input("predictions")
    known = set(dataset.categories) if protocol["per_class"] else None
    pairs = []
    for image_id in track(dataset.ids, "Reading instances"):
        truth = dataset.instances(image_id)
        if not _chosen(dataset, image_id, truth, protocol):
            continue
        path = instances_file(folder, image_id)
        found = read_instances(path)
        if known is not None and (strange := {each.category for each in found.items} - known):
            raise DataError(
                f"{path}: has objects of the classes {sorted(strange)}, which are none of the data set's. Score them "
                f"without classes, by the protocol 'instances'."
            )
        pairs.append(InstancePair(image_id, found, truth, str(path)))
    if dataset.ids and not pairs:
        raise DataError(
            f"{spec.input('dataset')}: none of the {len(dataset.ids)} images is of the kind '{protocol['images']}' "
            f"that protocol '{protocol['name']}' scores. Drop the protocol, or raise the limit."
        )
    evaluation, matches = evaluate_pairs(pairs, protocol["per_class"])
    write_matches(spec.folder / "counts.npz", [pair.id for pair in pairs], matches)
    found_scores = {name: value for name, value in evaluation.scores.items() if value is not None}
    scores: Map = {name: {"value": value} for name, value in found_scores.items()}
    scores["instances"] = {
        "annotated": evaluation.n_instances,
        "crowds": evaluation.n_crowds,
        "predicted": evaluation.n_predictions,
        "note": f"by faster-coco-eval {coco_evaluator().__version__}",
    }
    if protocol["images"] != "all":
        share = 100 * len(pairs) / len(dataset.ids)
        scores["images"] = {
            "scored": len(pairs),
            "of": len(dataset.ids),
            "note": f"{len(pairs)} of {len(dataset.ids)} images ({share:.0f} %) are of this kind",
        }
    return _columns(protocol, found_scores), scores, len(pairs)


def panoptic(spec: RunSpec, protocol: Map) -> Scored:
    """Score the panoptic segmentations of a run; `counts.npz` keeps the counts of every image and class.

    Raises:
        DataError: a file is missing or damaged, or sizes or classes differ.
    """
    from edgebench.metrics.panoptic import PANOPTIC_METRICS
    from edgebench.stages.evaluate_panoptic import PanopticItem, evaluate_items, write_counts

    dataset, folder = open_input(spec), spec.input("predictions")
    items = [
        PanopticItem(
            image_id,
            partial(_read_segments, panoptic_file(folder, image_id)),
            partial(dataset.panoptic, image_id),
            str(panoptic_file(folder, image_id)),
            f"the annotation of {image_id}",
        )
        for image_id in dataset.ids
    ]
    evaluation = evaluate_items(items, dataset.categories, spec.threads)
    write_counts(spec.folder / "counts.npz", evaluation)
    scores = evaluation.scores()
    values: dict[str, float | None] = {}
    for name in PANOPTIC_METRICS:
        quality, _, classes = name.partition("_")
        values[name] = scores[classes or "all"][quality]
    return _columns(protocol, values), scores, len(evaluation.ids)


def instance_edges(spec: RunSpec, protocol: Map) -> Scored:
    """Score the edge maps of a run against the borders between segments; `counts.npz` keeps counts and clDice.

    Raises:
        DataError: a map or an annotation is missing, damaged or of another size.
    """
    from edgebench.data.edge_maps import read_edge_map
    from edgebench.stages.evaluate_edges import EdgeItem, EdgeProtocol
    from edgebench.stages.evaluate_instance_edges import evaluate_edges_of_segments, write_counts

    dataset, folder = open_input(spec), spec.input("predictions")
    items = [
        EdgeItem(
            image_id,
            partial(read_edge_map, map_file(folder, image_id)),
            partial(_edges, dataset, image_id, protocol["truth"], protocol["void"]),
            str(map_file(folder, image_id)),
            f"the annotation of {image_id}",
        )
        for image_id in dataset.ids
    ]
    evaluation = evaluate_edges_of_segments(
        items,
        EdgeProtocol.of_plan(protocol),
        spec.threads,
        void=protocol["void"],
        truth=protocol["truth"],
    )
    write_counts(spec.folder / "counts.npz", evaluation)
    scores = evaluation.scores()
    values = {name: each["f" if "f" in each else "value"] for name, each in scores.items()}
    return _columns(protocol, values), scores, len(evaluation.edges.ids)


def _columns(protocol: Map, values: Mapping[str, float | None]) -> dict[str, float]:
    """The values that there are, by column."""
    prefix = protocol["columns"]
    return {f"{prefix}_{name}".strip("_"): value for name, value in values.items() if value is not None}


def _chosen(dataset: Dataset, image_id: str, truth: Instances, protocol: Map) -> bool:
    """Whether an image is of the kind that a protocol scores."""
    if protocol["images"] == "all":
        return True
    return has_adjacent(dataset, image_id, truth, protocol["reach"]) == (protocol["images"] == "adjacent")


def has_adjacent(dataset: Dataset, image_id: str, truth: Instances, reach: int) -> bool:
    """Whether two objects of one class are within `reach` pixels of each other, void between them looked through."""
    from edgebench.methods.trace.adjacency import has_touching_instances

    single = [each for each in truth.items if not each.crowd]
    categories = [each.category for each in single]
    if len(set(categories)) == len(categories):
        return False
    masks = np.stack([decode(each.mask) for each in single])
    try:  # 255 stands for void where it is no class
        void = None if VOID in dataset.categories else dataset.semantic(image_id) == VOID
    except DataError:  # the layout has instances alone
        void = None
    return has_touching_instances(masks, categories, reach, void)


def _read_segments(path: Path) -> Segmented:
    from edgebench.data.panoptic import read_segmentation

    ids, segments = read_segmentation(path)
    return ids, segments


def _edges(dataset: Dataset, image_id: str, truth: str, void: bool) -> list[NDArray[np.bool_]]:
    """The borders of an image's segments, as the one annotator that the matching knows."""
    from edgebench.metrics.instance_edges import segment_edges
    from edgebench.stages.evaluate_instance_edges import segments_of

    ids = dataset.panoptic(image_id)[0] if truth == "panoptic" else segments_of(dataset.instances(image_id))
    return [segment_edges(ids, void)]
