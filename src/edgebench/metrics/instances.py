"""Average precision and recall of instance masks as COCO defines them, computed by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from edgebench.errors import EdgebenchError

INSTANCE_METRICS = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar1",
    "ar10",
    "ar100",
    "ar_small",
    "ar_medium",
    "ar_large",
)
"""Columns in COCO's order. Small is up to 32 x 32 pixels, large from 96 x 96 on; `ar_*` with 100 masks per image."""


def instance_scores(
    sizes: Mapping[int, tuple[int, int]],
    truths: Sequence[Mapping[str, Any]],
    predictions: Sequence[Mapping[str, Any]],
    per_class: bool = False,
) -> dict[str, float | None]:
    """Mask AP and AR of COCO (Lin et al., ECCV 2014), equal to pycocotools.

    AP is averaged over IoU 0.50, 0.55, ..., 0.95, of the 100 masks with the highest scores in each image. Equal
    scores keep the order given. A prediction is small, medium or large by its box where it has one, else by its
    mask; a truth by its `area`, else by its mask. Predictions inside crowds count neither way.

    Args:
        sizes: (height, width) of every image, by image id.
        truths: COCO annotations: `image_id segmentation iscrowd`, perhaps `area`, and `category_id` if `per_class`.
        predictions: COCO results: `image_id segmentation score`, perhaps `bbox`, and `category_id` if `per_class`.
            Neither is checked here.
        per_class: Match within categories and average over those that have ground truth; else all are one.

    Returns:
        Each of `INSTANCE_METRICS` in [0, 1]; None where there is no ground truth (of that size).

    Raises:
        EdgebenchError: faster-coco-eval is missing.
    """
    evaluator = coco_evaluator()
    # Ids of our own: the evaluator takes an annotation 0 for none, and cannot hold every whole number.
    place = {image: index for index, image in enumerate(sorted(sizes), start=1)}
    images = [{"id": place[image], "height": size[0], "width": size[1]} for image, size in sizes.items()]
    kinds = sorted({each["category_id"] for each in truths}) if per_class else []
    category = {kind: index for index, kind in enumerate(kinds, start=1)}
    categories = [{"id": index} for index in category.values()] if per_class else [{"id": 1}]
    if not categories:
        return dict.fromkeys(INSTANCE_METRICS)

    def index(entries: Sequence[Mapping[str, Any]]) -> Any:
        annotations = []
        for number, entry in enumerate(entries, start=1):
            image = entry["image_id"]
            mask = encode_segmentation(evaluator.mask, entry["segmentation"], sizes[image])
            annotations.append(
                {
                    "id": number,
                    "image_id": place[image],
                    "category_id": category[entry["category_id"]] if per_class else 1,
                    "segmentation": mask,
                    "area": area_of(evaluator.mask, entry, mask),
                    "iscrowd": entry.get("iscrowd", 0),
                    "score": entry.get("score", 1.0),
                }
            )
        return evaluator.COCO({"images": images, "annotations": annotations, "categories": categories})

    # A category without ground truth has no score of its own and takes part in none.
    counted = [each for each in predictions if each["category_id"] in category] if per_class else predictions
    run = evaluator.COCOeval_faster(index(truths), index(counted), "segm")
    run.run()
    return {
        name: float(value) if value >= 0 else None
        for name, value in zip(INSTANCE_METRICS, run.stats[: len(INSTANCE_METRICS)], strict=True)
    }


def coco_evaluator() -> ModuleType:
    """The package faster-coco-eval.

    Raises:
        EdgebenchError: it is missing.
    """
    try:
        import faster_coco_eval
    except ImportError as error:
        raise EdgebenchError(
            "Scores of instances need faster-coco-eval, which is missing. Type `pip install 'faster-coco-eval>=1.8'`."
        ) from error
    return faster_coco_eval


def area_of(mask: ModuleType, entry: Mapping[str, Any], runs: dict[str, Any]) -> float:
    """The area that decides whether an entry is small, medium or large: of its box, as given, or of its mask."""
    box = entry.get("bbox")
    area = entry.get("area") if box is None else box[2] * box[3]
    return float(mask.area(runs) if area is None else area)


def encode_segmentation(mask: ModuleType, segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Compressed run lengths of a segmentation in any of COCO's forms.

    Args:
        mask: The evaluator's module of masks.
        segmentation: Polygons, run lengths or compressed ones.
        size: (height, width) of its image.
    """
    if isinstance(segmentation, list):
        return mask.merge(mask.frPyObjects(segmentation, *size))
    if isinstance(segmentation["counts"], list):
        return mask.frPyObjects(segmentation, *size)
    return segmentation
