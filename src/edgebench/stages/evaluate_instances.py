"""Evaluating instances: from COCO's JSON, or from the files of a run, to scores and their file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgebench.data.coco import read_instance_results, read_instance_truth
from edgebench.data.instances import Instances
from edgebench.errors import DataError
from edgebench.files import atomic_path, write_json
from edgebench.metrics.instances import coco_evaluator, instance_scores
from edgebench.plan.runs import EVALUATE_VERSION

if TYPE_CHECKING:
    from edgebench.metrics.instance_matches import Matches


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


class InstancePair(NamedTuple):
    """One image, as it is predicted and as it is.

    Attributes:
        id: The image.
        prediction: What was found in it.
        truth: What is in it, with crowds and areas as annotated.
        name: What errors call the prediction; usually its file.
    """

    id: str
    prediction: Instances
    truth: Instances
    name: str = "the prediction"


def evaluate_pairs(pairs: Sequence[InstancePair], per_class: bool = False) -> tuple[InstanceEvaluation, Matches]:
    """Evaluate images whose instances are at hand.

    Predictions carry no boxes, so their masks decide on what is small, medium and large.

    Args:
        pairs: The images; their order decides between equal scores.
        per_class: Match within categories and average over them; else all are one.

    Returns:
        The scores, and what they are made of, image by image in the order given.

    Raises:
        DataError: there is no image, or a prediction has another size than its image.
        EdgebenchError: faster-coco-eval is missing.
    """
    from edgebench.metrics.instance_matches import match_instances

    if not pairs:
        raise DataError("There is no image to evaluate.")
    for pair in pairs:
        if pair.prediction.size != pair.truth.size:
            ours, theirs = (" x ".join(map(str, each.size)) for each in (pair.prediction, pair.truth))
            raise DataError(
                f"{pair.name}: {ours} pixels (height x width), but the annotations of image {pair.id} are of {theirs}. "
                f"Save the masks at the size of the image."
            )
    sizes = {index: pair.truth.size for index, pair in enumerate(pairs)}
    truths = [entry for index, pair in enumerate(pairs) for entry in _entries(index, pair.truth)]
    found = [entry for index, pair in enumerate(pairs) for entry in _entries(index, pair.prediction)]
    crowds = sum(each["iscrowd"] for each in truths)
    evaluation = InstanceEvaluation(
        scores=instance_scores(sizes, truths, found, per_class),
        class_agnostic=not per_class,
        sizes_by="mask",
        n_images=len(pairs),
        n_instances=len(truths) - crowds,
        n_crowds=crowds,
        n_predictions=len(found),
        n_images_without_predictions=sum(not pair.prediction.items for pair in pairs),
    )
    return evaluation, match_instances(list(sizes), sizes, truths, found, per_class)


def write_matches(path: str | Path, ids: Sequence[str], matches: Matches) -> None:
    """Write what scores are made of as a compressed .npz: ids (n,), and the arrays of `Matches`."""
    import numpy as np

    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, ids=np.array(ids), **matches.arrays())


def _entries(image: int, instances: Instances) -> list[dict[str, Any]]:
    """The instances of an image as COCO writes them; without `area` where nobody counted it."""
    return [
        {
            "image_id": image,
            "category_id": each.category,
            "segmentation": each.mask,
            "score": each.score,
            "iscrowd": int(each.crowd),
            **({} if each.area is None else {"area": each.area}),
        }
        for each in instances.items
    ]


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
