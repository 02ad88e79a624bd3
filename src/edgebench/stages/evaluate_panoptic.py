"""Evaluating panoptic segmentations: from two JSON files and their PNG folders to panoptic quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from edgebench.data.adapters.listing import some_names
from edgebench.data.panoptic import Category, Segment, SegmentedImage, read_panoptic, read_segments
from edgebench.errors import ConfigError, DataError
from edgebench.files import write_json
from edgebench.metrics.panoptic import Counts, add_counts, count_segments, panoptic_quality
from edgebench.plan.runs import EVALUATE_VERSION
from edgebench.progress import track
from edgebench.stages.processes import in_processes


class PanopticPair(NamedTuple):
    """One image, as it is predicted and as it is."""

    prediction: SegmentedImage
    truth: SegmentedImage


@dataclass(frozen=True)
class PanopticEvaluation:
    """Counts of a set.

    Attributes:
        ids: The images.
        counts: Of each class over all images.
        categories: The classes, by id.
        without_truth: Ids of predictions that were passed over for want of ground truth.
    """

    ids: list[str]
    counts: dict[int, Counts]
    categories: Mapping[int, Category]
    without_truth: list[str]

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
    pairs = [PanopticPair(ours.images[key], truth) for key, truth in theirs.images.items()]
    results = in_processes(_evaluate, pairs, jobs) if jobs > 1 else map(_evaluate, pairs)
    counts = add_counts(track(results, "Evaluating (panoptic)", total=len(pairs)))
    return PanopticEvaluation(
        list(theirs.images), counts, theirs.categories, sorted(ours.images.keys() - theirs.images.keys())
    )


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


def _evaluate(pair: PanopticPair) -> dict[int, Counts]:
    prediction, truth = read_segments(pair.prediction), read_segments(pair.truth)
    if prediction.shape != truth.shape:
        raise DataError(
            f"{pair.prediction.png}: {prediction.shape[0]} x {prediction.shape[1]} pixels (height x width), but "
            f"{pair.truth.png} has {truth.shape[0]} x {truth.shape[1]}. Save the prediction of image "
            f"{pair.truth.id} at the size of its ground truth."
        )
    crowds = {key for key, segment in pair.truth.segments.items() if segment.crowd}
    return count_segments(prediction, truth, _classes(pair.prediction.segments), _classes(pair.truth.segments), crowds)


def _classes(segments: Mapping[int, Segment]) -> dict[int, int]:
    return {key: segment.category for key, segment in segments.items()}
