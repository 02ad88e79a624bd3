"""Speed of what scores instances and the edges between them.

`python benchmarks/bench_objects.py [SHARED]` prints processor times on one core: of drawing the ground truth of
instance edges, beside the plain version (pixel by pixel), and of AP and AR of images drawn again a thousand times,
beside COCO's evaluator on as many copies of each image. `pytest benchmarks/bench_objects.py` times the parts. Maps and
masks are drawn; the sample of COCO in the reference folder `../shared` is added when it is there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebench.data.instances import encode
from edgebench.data.panoptic import read_ids
from edgebench.metrics.instance_edges import segment_edges
from edgebench.metrics.instance_matches import RANGES, Matches, match_instances, resampled_scores
from edgebench.metrics.instances import instance_scores
from edgebench.report.bootstrap import draw_weights

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.unit.metrics import plain_instance_edges  # noqa: E402
from tests.unit.panoptic_files import random_drawn  # noqa: E402

SHARED = Path(os.environ.get("EDGEBENCH_SHARED", ROOT.parent / "shared"))
SHAPE = (480, 640)
LIMIT = 15.0
RESAMPLES = 1000
Entries = list[dict[str, Any]]


def seconds(function: Callable[[], object], repeats: int = 1) -> float:
    """Least processor time of several calls."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        spent.append(time.process_time() - start)
    return min(spent)


def maps(shared: Path) -> dict[str, np.ndarray]:
    """Maps of segments: irregular cells, and the sample of COCO."""
    found = {f"{cells} cells": np.asarray(random_drawn(cells, SHAPE, cells).ids) for cells in (10, 30, 100)}
    folder = shared / "data/coco_panoptic_sample/sample_data/panoptic_examples"
    return found | {f"COCO {path.stem}": read_ids(path) for path in sorted(folder.glob("*.png"))}


def edges(shared: Path) -> None:
    """Print the table of instance edges, after checking that both versions agree."""
    print("Ground truth of instance edges, milliseconds of processor time per image")
    print(f"{'image':>20} {'size':>11} {'pixels':>7} {'ours':>8} {'plain':>8} {'ratio':>6}")
    slowest = 0.0
    for name, ids in maps(shared).items():
        found = segment_edges(ids)
        np.testing.assert_array_equal(found, plain_instance_edges.segment_edges(ids))
        ours = 1000 * seconds(partial(segment_edges, ids), 10)
        plain = 1000 * seconds(partial(plain_instance_edges.segment_edges, ids))
        size = f"{ids.shape[1]} x {ids.shape[0]}"
        print(f"{name:>20} {size:>11} {found.sum():7d} {ours:8.2f} {plain:8.0f} {plain / ours:5.0f}x", flush=True)
        slowest = max(slowest, ours)
    print(f"Slowest: {slowest:.1f} ms, {'within' if slowest <= LIMIT else 'ABOVE'} the aim of {LIMIT:g} ms\n")


def boxes(n: int, detections: int, seed: int = 0) -> tuple[dict[int, tuple[int, int]], Entries, Entries]:
    """Images of 128 x 128 pixels with rectangles, some of which are found, among false ones."""
    generator = np.random.default_rng(seed)

    def entry(image: int, top: int, left: int, height: int, width: int) -> dict[str, Any]:
        mask = np.zeros((128, 128), bool)
        mask[max(top, 0) : top + height, max(left, 0) : left + width] = True
        return {"image_id": image, "category_id": 1, "iscrowd": 0, "segmentation": encode(mask)}

    truths, found = [], []
    for image in range(n):
        for number in range(7):
            place = [*generator.integers(0, 80, 2), *generator.integers(8, 100, 2)]
            truths.append(entry(image, *place))
            if number < 5:
                shifted = [*(place[:2] + generator.integers(-4, 5, 2)), *place[2:]]
                found.append(entry(image, *shifted) | {"score": generator.random()})
        for _ in range(detections - 5):
            place = [*generator.integers(0, 100, 2), *generator.integers(4, 28, 2)]
            found.append(entry(image, *place) | {"score": generator.random()})
    return dict.fromkeys(range(n), (128, 128)), truths, found


def drawn_matches(n: int, detections: int, truths: int = 7, seed: int = 0) -> Matches:
    """Matches without masks behind them: of the truths seven tenths are found at IoU 0.5, and ever fewer beyond."""
    generator = np.random.default_rng(seed)
    total = n * detections

    def within(areas: np.ndarray) -> np.ndarray:
        return (areas[:, None] >= RANGES[:, 0]) & (areas[:, None] <= RANGES[:, 1])

    inside, counted = (within(np.exp(generator.normal(8, 1.5, count))) for count in (total, n * truths))
    chance = generator.random(total)
    bits = np.zeros(total, np.uint16)
    for t, share in enumerate(truths / detections * np.linspace(0.7, 0.05, 10)):
        bits |= (chance < share).astype(np.uint16) << np.uint16(t)
    return Matches(
        n,
        image=np.repeat(np.arange(n), detections).astype(np.int32),
        category=np.zeros(total, np.int32),
        score=-np.sort(-generator.random((n, detections))).ravel(),
        rank=np.tile(np.arange(detections), n).astype(np.int32),
        inside=inside,
        hit=np.where(inside, bits[:, None], 0).astype(np.uint16),
        ignored=np.where(inside, 0, bits[:, None]).astype(np.uint16),
        truth_image=np.repeat(np.arange(n), truths).astype(np.int32),
        truth_category=np.zeros(n * truths, np.int32),
        counted=counted,
    )


def precision() -> None:
    """Print what a thousand resamples of AP and AR cost, after checking that both ways agree on one of them."""
    print(f"AP and AR of {RESAMPLES} resamples, seconds of processor time")
    n, detections = 200, 20
    sizes, truths, found = boxes(n, detections)
    matches = match_instances(list(sizes), sizes, truths, found)
    weights = draw_weights([str(each) for each in range(n)], RESAMPLES)
    ours = resampled_scores(matches, weights[:1])
    copies = np.repeat(np.arange(n), weights[0].astype(int))
    true_again, found_again = (
        [each | {"image_id": number} for number, image in enumerate(copies) for each in entries[image]]
        for entries in (by_image(truths, n), by_image(found, n))
    )
    for name, value in instance_scores(sizes, true_again, found_again).items():
        np.testing.assert_allclose(ours[name][0], np.nan if value is None else value, rtol=0, atol=1e-9)
    each = seconds(partial(instance_scores, sizes, true_again, found_again), 3)
    print(f"{n:>6} images x {detections:>3}: COCO's evaluator {RESAMPLES * each:8.1f} ({1000 * each:.0f} ms each)")
    ours_spent = seconds(partial(resampled_scores, matches, weights), 3)
    print(f"{n:>6} images x {detections:>3}: ours             {ours_spent:8.2f}")
    n = 5000
    for detections in (20, 100):
        large, drawn = drawn_matches(n, detections), draw_weights([str(each) for each in range(n)], RESAMPLES)
        print(
            f"{n:>6} images x {detections:>3}: ours             {seconds(partial(resampled_scores, large, drawn)):8.2f}"
        )


def by_image(entries: Entries, n: int) -> list[Entries]:
    """Entries in one list per image."""
    groups: list[Entries] = [[] for _ in range(n)]
    for each in entries:
        groups[each["image_id"]].append(each)
    return groups


def main(shared: Path) -> None:
    """Print both tables."""
    edges(shared)
    precision()


def test_edges(benchmark):
    assert benchmark(segment_edges, np.asarray(random_drawn(30, SHAPE, 30).ids)).any()


def test_resamples(benchmark):
    pytest.importorskip("faster_coco_eval")
    matches = drawn_matches(1000, 20)
    weights = draw_weights([str(each) for each in range(1000)], 100)
    assert benchmark(resampled_scores, matches, weights)["ap"].shape == (100,)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED)
