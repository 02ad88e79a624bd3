"""Evaluating instances: from COCO's JSON of results and ground truth to scores and their file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgebench.data.coco import read_instance_results, read_instance_truth
from edgebench.files import write_json
from edgebench.metrics.instances import coco_evaluator, instance_scores
from edgebench.plan.runs import EVALUATE_VERSION


@dataclass(frozen=True)
class InstanceEvaluation:
    """Scores of the instances of a set of images.

    Attributes:
        scores: Each of `INSTANCE_METRICS`, None where there is no ground truth (of that size).
        class_agnostic: Whether all categories were taken for one.
        sizes_by: `box` or `mask`: what made a prediction small, medium or large.
        n_images: Images of the ground truth, with or without instances.
        n_instances: Instances in them, without crowds.
        n_crowds: Regions that count neither way.
        n_predictions: Predicted masks.
        n_images_without_predictions: Images in which nothing was predicted.
    """

    scores: dict[str, float | None]
    class_agnostic: bool
    sizes_by: str
    n_images: int
    n_instances: int
    n_crowds: int
    n_predictions: int
    n_images_without_predictions: int


def evaluate_instances(predictions: Path, ground_truth: Path, class_agnostic: bool = True) -> InstanceEvaluation:
    """Evaluate COCO results against COCO ground truth.

    Args:
        predictions: JSON list of results, see `read_instance_results`.
        ground_truth: JSON object of ground truth, see `read_instance_truth`.
        class_agnostic: Take all categories for one.

    Raises:
        DataError: a file is missing or not of its form.
        EdgebenchError: faster-coco-eval is missing.
    """
    coco_evaluator()  # before long files are read, not after
    truth = read_instance_truth(ground_truth)
    found = read_instance_results(predictions, truth, per_class=not class_agnostic)
    crowds = sum(each["iscrowd"] for each in truth.annotations)
    return InstanceEvaluation(
        scores=instance_scores(truth.sizes, truth.annotations, found, per_class=not class_agnostic),
        class_agnostic=class_agnostic,
        sizes_by="box" if found and "bbox" in found[0] else "mask",
        n_images=len(truth.sizes),
        n_instances=len(truth.annotations) - crowds,
        n_crowds=crowds,
        n_predictions=len(found),
        n_images_without_predictions=len(truth.sizes.keys() - {each["image_id"] for each in found}),
    )


def write_scores(path: str | Path, evaluation: InstanceEvaluation) -> None:
    """Write the scores and how they were made as JSON (`dataset n_images n_instances class_agnostic ...`)."""
    write_json(
        path,
        {
            "dataset": evaluation.scores,
            "n_images": evaluation.n_images,
            "n_instances": evaluation.n_instances,
            "n_crowds": evaluation.n_crowds,
            "n_predictions": evaluation.n_predictions,
            "n_images_without_predictions": evaluation.n_images_without_predictions,
            "class_agnostic": evaluation.class_agnostic,
            "sizes_by": evaluation.sizes_by,
            "evaluator": f"faster-coco-eval {coco_evaluator().__version__}",
            "version": EVALUATE_VERSION["instances"],
        },
    )
