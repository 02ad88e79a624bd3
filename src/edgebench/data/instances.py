"""Instances of one image: masks as COCO's run lengths, and the file that a run keeps of each image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgebench.errors import DataError
from edgebench.files import read_json, write_json


class Instance(NamedTuple):
    """One object.

    Attributes:
        mask: COCO's compressed run lengths, `{"size": [height, width], "counts": text}`.
        score: How sure its finder is; 1 where nobody said.
        category: Id of its class; 1 where classes do not matter.
        crowd: A region of many objects, which counts neither way.
        area: Pixels as its annotator counted them; None takes those of the mask.
    """

    mask: dict[str, Any]
    score: float = 1.0
    category: int = 1
    crowd: bool = False
    area: float | None = None


class Instances(NamedTuple):
    """The objects of one image.

    Attributes:
        size: (height, width) of the image in pixels.
        items: They themselves, in no particular order; they may overlap.
    """

    size: tuple[int, int]
    items: list[Instance]

    def masks(self) -> NDArray[np.bool_]:
        """Their masks, bool (n, H, W)."""
        if not self.items:
            return np.zeros((0, *self.size), dtype=bool)
        return np.stack([decode(each.mask) for each in self.items])


def from_masks(
    masks: NDArray[np.bool_] | Sequence[NDArray[np.bool_]],
    size: tuple[int, int],
    scores: Iterable[float] | None = None,
    categories: Iterable[int] | None = None,
) -> Instances:
    """Instances of masks, bool (n, H, W), of which empty ones are left out.

    Args:
        masks: Their masks.
        size: (H, W), for an image without any.
        scores: One per mask; 1 where None.
        categories: One per mask; 1 where None.
    """
    count = len(masks)
    each_score = [1.0] * count if scores is None else [float(score) for score in scores]
    each_category = [1] * count if categories is None else [int(category) for category in categories]
    return Instances(
        size,
        [
            Instance(encode(mask), score, category)
            for mask, score, category in zip(masks, each_score, each_category, strict=True)
            if mask.any()
        ],
    )


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask, bool (H, W)."""
    import faster_coco_eval

    runs = faster_coco_eval.mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}


def compress(segmentation: dict[str, Any] | list[list[float]], size: tuple[int, int]) -> dict[str, Any]:
    """COCO's compressed run lengths of any of its three forms: polygons, run lengths, compressed ones.

    Polygons are rounded to pixels as COCO's own code does it, and joined.

    Args:
        segmentation: As COCO writes it, checked.
        size: (H, W) of the image.
    """
    import faster_coco_eval

    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
        return {"size": list(size), "counts": segmentation["counts"]}
    runs = faster_coco_eval.mask.frPyObjects(segmentation, *size)
    if isinstance(runs, list):
        runs = faster_coco_eval.mask.merge(runs)
    return {"size": list(size), "counts": runs["counts"].decode("ascii")}


def decode(runs: dict[str, Any]) -> NDArray[np.bool_]:
    """The mask of compressed run lengths, bool (H, W)."""
    import faster_coco_eval

    return np.asarray(faster_coco_eval.mask.decode(runs), dtype=bool)


def write_instances(path: str | Path, instances: Instances) -> None:
    """Write the instances of an image as JSON, whole or not at all."""
    height, width = instances.size
    items = [{"segmentation": each.mask, "score": each.score, "category_id": each.category} for each in instances.items]
    write_json(path, {"height": height, "width": width, "instances": items})


def read_instances(path: str | Path) -> Instances:
    """Read what `write_instances` wrote.

    Raises:
        DataError: the file is missing or of another kind.
    """
    content = read_json(path)
    try:
        size = int(content["height"]), int(content["width"])
        items = [
            Instance(each["segmentation"], float(each["score"]), int(each["category_id"]))
            for each in content["instances"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not the instances of an image ({error!r}). Delete its run's folder.") from None
    return Instances(size, items)
