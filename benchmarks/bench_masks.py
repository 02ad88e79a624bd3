"""Speed of the mask evaluator.

`python benchmarks/bench_masks.py [SHARED]` prints the seconds of edgebench beside those of the plain versions
of the same metrics (one threshold at a time; SciPy's distance transform and convolution), then the time of a
whole evaluation, read from files, in two processes. `pytest benchmarks/bench_masks.py` times the parts. Both
enlarge real masks of the reference folder `../shared` to 1024 x 1024 when it is there, and draw some otherwise.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from edgebench.metrics.masks import (
    STANDARD,
    boundary_iou,
    correction_effort,
    e_curve,
    f_curve,
    mask_skeleton,
    prepare,
    s_measure,
    score_mask,
    tally_mask,
    weighted_f,
)
from edgebench.stages.evaluate_masks import evaluate_folders

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.unit.metrics.masks import plain  # noqa: E402

SHARED = Path(os.environ.get("EDGEBENCH_SHARED", ROOT.parent / "shared"))
SIDE = 1024
WHOLE = 2000


class Pair(NamedTuple):
    id: str
    prediction: NDArray[np.uint8]
    truth: NDArray[np.uint8]


def pairs(shared: Path, count: int) -> list[Pair]:
    """Masks of ECSSD and DAVIS in turn, enlarged, with predictions of the kinds that networks make."""
    files: list[Path | None] = [None] * count
    if shared.is_dir():
        first = sorted((shared / "data/ECSSD/ground_truth_mask").glob("*.png"))
        second = sorted((shared / "data/DAVIS/Annotations").rglob("*.png"))
        files[:] = [file for two in zip(first, second, strict=False) for file in two][:count]
    return [pair(file, index) for index, file in enumerate(files)]


def pair(file: Path | None, index: int, side: int = SIDE) -> Pair:
    """A mask, and a prediction of it: soft at the borders, off by some pixels, wrong in places, or noisy."""
    rng = np.random.default_rng(index)
    if file is None:
        field = gaussian_filter(rng.random((side, side)), side / 25)
        truth = field > np.quantile(field, 0.75)
    else:
        truth = np.asarray(Image.open(file).convert("L").resize((side, side), Image.Resampling.BICUBIC)) > 127
    soft = gaussian_filter(truth.astype(float), side / 400)
    if index % 4 == 1:
        soft = np.roll(soft, (5, -4), (0, 1))
    if index % 4 == 2:
        spots = gaussian_filter(rng.random((side, side)), side / 60)
        soft = np.where(spots > np.quantile(spots, 0.95), 1 - soft, soft)
    if index % 4 == 3:
        soft = np.clip(soft + rng.normal(0, 0.15, soft.shape), 0, 1)
    return Pair(f"{index:04d}", np.rint(255 * soft).astype(np.uint8), truth.astype(np.uint8) * 255)


def one_pass(prediction: NDArray[np.float64], truth: NDArray[np.float64]) -> list[float]:
    """Max F, max E, S and MAE of edgebench."""
    ready = prepare(prediction, truth, STANDARD)
    tally = tally_mask(ready.values, ready.truth)
    f, e = f_curve(tally.histogram, STANDARD), e_curve(tally.histogram, STANDARD)
    wrong = tally.pixels[:, 0] @ tally.mean[:, 0] + tally.pixels[:, 1] @ (1 - tally.mean[:, 1])
    return [f.max(), e.max(), s_measure(tally, ready.truth, STANDARD), wrong / truth.size]


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Least processor time of several calls, which a busy machine disturbs less than the clock."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        spent.append(time.process_time() - start)
    return min(spent)


def compare(pair: Pair) -> None:
    """Print one line per metric, after checking that both versions agree.

    Raises:
        AssertionError: they disagree; then the times mean nothing.
    """
    prediction, truth = pair.prediction / 255, pair.truth / 255
    ready = prepare(prediction, truth, STANDARD)
    expected = plain.curves_and_means(ready.values, ready.truth)
    np.testing.assert_allclose(
        one_pass(prediction, truth), [expected[name] for name in ("max_f", "max_e", "s_measure", "mae")], atol=1e-9
    )
    np.testing.assert_allclose(
        weighted_f(ready.values, ready.truth, STANDARD), plain.weighted_f(ready.values, ready.truth), atol=1e-9
    )
    for name, ours, theirs in (
        (
            "F+E+S+MAE",
            seconds(lambda: one_pass(prediction, truth), 5),
            seconds(lambda: plain.curves_and_means(ready.values, ready.truth), 1),
        ),
        (
            "weighted F",
            seconds(lambda: weighted_f(ready.values, ready.truth, STANDARD), 5),
            seconds(lambda: plain.weighted_f(ready.values, ready.truth), 3),
        ),
    ):
        print(f"{pair.id:>6} {name:>12} {ours:10.4f} {theirs:9.3f} {theirs / ours:8.1f}x", flush=True)


def whole(chosen: list[Pair], jobs: int = 2) -> None:
    """Print the time of an evaluation from files with every metric, first and with kept skeletons."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("prediction", "truth"):
            (folder / part).mkdir()
            for each in chosen:
                Image.fromarray(getattr(each, part)).save(folder / part / f"{each.id}.png")
        for what in ("skeletons drawn", "skeletons kept"):
            start, before = time.perf_counter(), processor_seconds()
            evaluate_folders(folder / "prediction", folder / "truth", jobs=jobs, skeletons=folder / "skeletons")
            spent, used = time.perf_counter() - start, processor_seconds() - before
            print(
                f"{len(chosen)} images in {jobs} processes, {what}: {spent:.1f} s, {used:.1f} s of processor time, "
                f"start included; {WHOLE} images at this rate: {spent / len(chosen) * WHOLE / 60:.1f} min, on free "
                f"cores {used / jobs / len(chosen) * WHOLE / 60:.1f} min"
            )


def processor_seconds() -> float:
    """Of this process and of those it started that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main(shared: Path) -> None:
    """Print both tables."""
    chosen = pairs(shared, 60)
    warm = pair(None, 0, 64)
    score_mask(warm.prediction / 255, warm.truth / 255)
    print(f"Processor seconds per image of {SIDE} x {SIDE}, one core")
    print(f"{'image':>6} {'metric':>12} {'edgebench':>10} {'plain':>9} {'ratio':>9}")
    for each in (chosen[2], chosen[3]):
        compare(each)
    whole(chosen)
    used = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"Peak memory of a process: {used / 1024:.0f} MiB")


@pytest.fixture(scope="module")
def ready():
    each = pairs(SHARED, 4)[3]
    return prepare(each.prediction / 255, each.truth / 255, STANDARD)


def test_prepare(benchmark):
    each = pairs(SHARED, 1)[0]
    assert benchmark(prepare, each.prediction / 255, each.truth / 255, STANDARD).truth.any()


def test_tally(benchmark, ready):
    assert benchmark(tally_mask, ready.values, ready.truth).pixels.sum() == SIDE**2


def test_weighted_f(benchmark, ready):
    assert 0 < benchmark(weighted_f, ready.values, ready.truth, STANDARD) < 1


def test_boundary_iou(benchmark, ready):
    assert 0 < benchmark(boundary_iou, ready.outlined, ready.truth) < 1


def test_correction_effort(benchmark, ready):
    skeleton = mask_skeleton(ready.truth)
    assert benchmark(correction_effort, ready.cut, ready.truth, skeleton) > 0


def test_skeleton(benchmark, ready):
    assert benchmark(mask_skeleton, ready.truth).any()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED)
