"""Evaluating panoptic segmentations: from two JSON files and their PNG folders to panoptic quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgebench.data.adapters.listing import some_names
from edgebench.data.panoptic import Category, Segment, SegmentedImage, read_panoptic, read_segments
from edgebench.errors import ConfigError, DataError
from edgebench.files import atomic_path, write_json
from edgebench.metrics.panoptic import Counts, add_counts, count_segments, panoptic_quality
from edgebench.plan.runs import EVALUATE_VERSION
from edgebench.progress import track
from edgebench.stages.processes import in_processes

Segmented = tuple[NDArray[np.uint32], Mapping[int, Segment]]
"""The segment of each pixel, (H, W) with 0 for none, and what the segments are."""


class PanopticItem(NamedTuple):
    """One image to evaluate. The two readers must be picklable when more than one process is used.

    Attributes:
        id: The image.
        read_prediction: Gives its segments as predicted.
        read_truth: Gives its segments as they are.
        prediction_name: What errors call the prediction; usually its file.
        truth_name: What errors call the ground truth.
    """

    id: str
    read_prediction: Callable[[], Segmented]
    read_truth: Callable[[], Segmented]
    prediction_name: str = "the prediction"
    truth_name: str = "the ground truth"


@dataclass(frozen=True)
class PanopticEvaluation:
    """Counts of a set.

    Attributes:
        ids: The images.
        counts: Of each class over all images.
        categories: The classes, by id.
        without_truth: Ids of predictions that were passed over for want of ground truth.
        per_image: Of each class, image by image.
    """

    ids: list[str]
    counts: dict[int, Counts]
    categories: Mapping[int, Category]
    without_truth: list[str] = field(default_factory=list)
    per_image: list[dict[int, Counts]] = field(default_factory=list)

    def scores(self) -> dict[str, Any]:
        """`all things stuff per_class`, see `panoptic_quality`; classes with their name and counts as well."""
        things = {key for key, category in self.categories.items() if category.thing}
        scores = panoptic_quality(self.counts, things)
        per_class = {
            str(key): {
                "name": self.categories[key].name,
                "thing": self.categories[key].thing,
                **quality,
                **asdict(self.counts[key]),
            }
            for key, quality in scores["per_class"].items()
        }
        return scores | {"per_class": per_class}


def evaluate_panoptic(
    predictions: Path, prediction_folder: Path, ground_truth: Path, truth_folder: Path, jobs: int = 1
) -> PanopticEvaluation:
    """Evaluate panoptic predictions against ground truth, both in COCO's format.

    Every image of the ground truth needs a prediction; predictions for other images are passed over and named.

    Args:
        predictions: JSON file of the predictions.
        prediction_folder: Where their PNG files lie.
        ground_truth: JSON file of the ground truth, whose categories count.
        truth_folder: Where its PNG files lie.
        jobs: Processes; the result does not depend on it.

    Raises:
        DataError: a file is missing, damaged or contradicts another, an image has no prediction, or sizes differ.
        ConfigError: `jobs` is below 1.
        EdgebenchError: a process died.
    """
    if jobs < 1:
        raise ConfigError(f"jobs: at least 1 is needed, not {jobs}.")
    theirs = read_panoptic(ground_truth, truth_folder)
    ours = read_panoptic(predictions, prediction_folder, theirs.categories)
    missing = theirs.images.keys() - ours.images.keys()
    if missing:
        raise DataError(
            f"{predictions}: no prediction for {len(missing)} of {len(theirs.images)} images ({some_names(missing)}) "
            f"of {ground_truth}. Add them; an image without any segment has an empty 'segments_info' and a black PNG."
        )
    items = [
        PanopticItem(
            key, partial(_read, ours.images[key]), partial(_read, truth), str(ours.images[key].png), str(truth.png)
        )
        for key, truth in theirs.images.items()
    ]
    evaluation = evaluate_items(items, theirs.categories, jobs)
    return replace(evaluation, without_truth=sorted(ours.images.keys() - theirs.images.keys()))


def evaluate_items(
    items: Sequence[PanopticItem], categories: Mapping[int, Category], jobs: int = 1
) -> PanopticEvaluation:
    """Evaluate images that are read one at a time, in the order given.

    Args:
        items: What to evaluate.
        categories: The classes by id.
        jobs: Processes; with 1 everything happens in this one.

    Raises:
        DataError: there is no item, sizes differ, a predicted class is none of the categories, or a reader raised it.
        EdgebenchError: a process died.
    """
    if not items:
        raise DataError("There is no image to evaluate.")
    evaluate = partial(_evaluate, known=frozenset(categories))
    results = in_processes(evaluate, items, jobs) if jobs > 1 else map(evaluate, items)
    per_image = list(track(results, "Evaluating (panoptic)", total=len(items)))
    return PanopticEvaluation([each.id for each in items], add_counts(per_image), categories, per_image=per_image)


def write_scores(path: str | Path, evaluation: PanopticEvaluation) -> None:
    """Write the scores as JSON (`all things stuff per_class n_images without_truth version`)."""
    write_json(
        path,
        {
            **evaluation.scores(),
            "n_images": len(evaluation.ids),
            "without_truth": evaluation.without_truth,
            "version": EVALUATE_VERSION["panoptic"],
        },
    )


def write_counts(path: str | Path, evaluation: PanopticEvaluation) -> None:
    """Write the counts of every image as a compressed .npz.

    Keys: ids (n,), categories (K,), things (K,) bool, iou tp fp fn (n, K).
    """
    place = {key: index for index, key in enumerate(evaluation.categories)}
    kinds = {each.name: float if each.name == "iou" else np.int64 for each in fields(Counts)}
    counts: dict[str, Any] = {name: np.zeros((len(evaluation.ids), len(place)), kind) for name, kind in kinds.items()}
    for row, image in enumerate(evaluation.per_image):
        for key, count in image.items():
            for name, value in asdict(count).items():
                counts[name][row, place[key]] = value
    things = np.array([each.thing for each in evaluation.categories.values()], bool)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file, ids=np.array(evaluation.ids), categories=np.array(list(place)), things=things, **counts
        )


def _read(image: SegmentedImage) -> Segmented:
    return read_segments(image), image.segments


def _evaluate(item: PanopticItem, known: frozenset[int]) -> dict[int, Counts]:
    (prediction, ours), (truth, theirs) = item.read_prediction(), item.read_truth()
    if prediction.shape != truth.shape:
        raise DataError(
            f"{item.prediction_name}: {prediction.shape[0]} x {prediction.shape[1]} pixels (height x width), but "
            f"{item.truth_name} has {truth.shape[0]} x {truth.shape[1]}. Save the prediction of image "
            f"{item.id} at the size of its ground truth."
        )
    if strange := {segment.category for segment in ours.values()} - known:
        raise DataError(
            f"{item.prediction_name}: has segments of the classes {some_names(map(str, strange))}, which are none of "
            f"the data set's."
        )
    crowds = {key for key, segment in theirs.items() if segment.crowd}
    return count_segments(prediction, truth, _classes(ours), _classes(theirs), crowds)


def _classes(segments: Mapping[int, Segment]) -> dict[int, int]:
    return {key: segment.category for key, segment in segments.items()}
