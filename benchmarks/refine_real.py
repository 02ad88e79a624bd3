"""Average precision before and after refinement on real pictures: COCO_Tiny and nuclei (DSB2018).

`python benchmarks/refine_real.py [SHARED] [IMAGES]` prints, for the first images of each (16 where no number is
given), class-agnostic AP, AP50 and AR100 of base masks and of what refinement makes of them with edges of three kinds:
Canny's at its default, smoothed by 4 pixels, and the true outlines, which no method has. Base masks are the segments
of a classical segmenter, and the true masks of each class joined to one: what a perfect segmenter of classes sees.
Takes about half an hour. Needs the reference folder `../shared`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from edgebench.data.adapters import Dataset, open_dataset
from edgebench.data.instances import Instance, encode
from edgebench.methods.baselines.canny import canny_edges
from edgebench.methods.sam.proposals import object_masks
from edgebench.methods.trace.adjacency import has_touching_instances
from edgebench.methods.trace.refine import RefineSettings, refine_masks
from edgebench.metrics.instances import instance_scores
from edgebench.progress import track

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("EDGEBENCH_SHARED", ROOT.parent / "shared"))
IMAGES = 16
Masks = NDArray[np.bool_]

# Folder, layout, split, and what the segmenter is told: nuclei are small.
SETS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "COCO_Tiny": ("coco", "val2017", {}),
    "DSB2018": ("dsb2018", "stage1_train", {"scales": (20.0, 100.0), "smallest": 0.0005}),
}
HOW = {
    "refined": RefineSettings(),
    "refined, cells of 2 pixels": RefineSettings(stride=2),
    "refined, swallowed pixels dropped": RefineSettings(swallowed="drop"),
    "cut only": RefineSettings(order="components_only", swallowed="drop"),
}


def objects(data: Dataset, image_id: str) -> list[Instance]:
    """The true instances without crowds."""
    return [each for each in data.instances(image_id).items if not each.crowd]


def masks_of(data: Dataset, image_id: str) -> Masks:
    """Their masks."""
    found = data.instances(image_id)
    return found._replace(items=objects(data, image_id)).masks()


def by_class(data: Dataset, image_id: str) -> Masks:
    """The true masks of each class as one."""
    masks, kinds = masks_of(data, image_id), [each.category for each in objects(data, image_id)]
    joined = [masks[[kind == each for each in kinds]].any(0) for kind in sorted(set(kinds))]
    return np.stack(joined) if joined else masks


def true_edges(data: Dataset, image_id: str) -> NDArray[np.float64]:
    """Outlines of all instances, a pixel on each side."""
    edges = np.zeros(data.size(image_id), dtype=bool)
    for mask in masks_of(data, image_id):
        edges |= ndimage.binary_dilation(mask) ^ ndimage.binary_erosion(mask, border_value=1)
    return edges.astype(np.float64)


def edges_of(data: Dataset) -> dict[str, Callable[[str], NDArray[np.float64]]]:
    """From an image's id to its edges, by their name."""
    return {
        "Canny": lambda each: canny_edges(data.image(each), 1.0, 0.1, 0.2),
        "Canny, sigma 4": lambda each: canny_edges(data.image(each), 4.0, 0.075, 0.15),
        "true outlines": lambda each: true_edges(data, each),
    }


def shown(name: str, data: Dataset, ids: list[str], found: dict[str, tuple[Masks, NDArray[np.float64]]]) -> None:
    """Print the scores of the masks of each image."""
    sizes = {number: data.size(each) for number, each in enumerate(ids)}
    truths, results = [], []
    for number, image_id in enumerate(ids):
        for truth in data.instances(image_id).items:
            truths.append({"image_id": number, "segmentation": truth.mask, "iscrowd": int(truth.crowd)})
        for mask, score in zip(*found[image_id], strict=True):
            results.append({"image_id": number, "segmentation": encode(mask), "score": float(score)})
    scores = instance_scores(sizes, truths, results)
    numbers = "".join(f"{100 * (scores[key] or 0):8.2f}" for key in ("ap", "ap50", "ar100"))
    print(f"{name:58}{numbers}{len(results):8}", flush=True)


def rows(data: Dataset, ids: list[str], options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and masks with scores of each row."""
    base: dict[str, Callable[[str], Masks]] = {
        "true masks by class": lambda each: by_class(data, each),
        "segments": lambda each: object_masks(data.image(each), **options),
    }
    for name, masks in base.items():
        before = {each: masks(each) for each in ids}
        yield name, {each: (before[each], np.ones(len(before[each]))) for each in ids}
        for kind, edges in edges_of(data).items():
            barriers = {each: edges(each) for each in ids}
            for how, settings in HOW.items():
                after = {}
                for each in track(ids, f"{name}, {kind}, {how}"):
                    refined = refine_masks(before[each], barriers[each], settings)
                    after[each] = refined.masks, refined.scores
                yield f"  {kind}, {how}", after


def main(shared: Path, images: int) -> None:
    """Print the table of each data set."""
    for name, (layout, split, options) in SETS.items():
        data = open_dataset(layout, shared / "data" / name, split)
        touching = [
            has_touching_instances(masks_of(data, each), [one.category for one in objects(data, each)])
            for each in data.ids
        ]
        ids = data.ids[:images]
        print(f"{name}/{split}: touching instances of a class in {sum(touching)} of {len(touching)} images")
        print(f"{f'first {len(ids)} images':58}{'AP':>8}{'AP50':>8}{'AR100':>8}{'masks':>8}")
        for row, found in rows(data, ids, options):
            shown(row, data, ids, found)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED,
        int(sys.argv[2]) if len(sys.argv) > 2 else IMAGES,
    )
