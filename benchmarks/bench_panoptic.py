"""Speed of the panoptic evaluator.

`python benchmarks/bench_panoptic.py [SHARED]` prints the milliseconds of processor time per image on one core: of
matching alone, beside those of the plain version (one pair of segments at a time), and of all that is done for an
image, which is reading two PNG, checking them against their JSON files and matching. `pytest
benchmarks/bench_panoptic.py` times the parts. Images are drawn at 640 x 480; the sample of COCO in the reference
folder `../shared`, with its predictions, is added when it is there.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebench.data.panoptic import SegmentedImage, read_panoptic, read_segments
from edgebench.metrics.panoptic import count_segments

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.unit.metrics import plain_panoptic  # noqa: E402
from tests.unit.panoptic_files import disturbed, random_drawn, write_panoptic  # noqa: E402

SHARED = Path(os.environ.get("EDGEBENCH_SHARED", ROOT.parent / "shared"))
SHAPE = (480, 640)
LIMIT = 15.0

Pair = tuple[str, SegmentedImage, SegmentedImage]


def drawn(folder: Path, cells: int) -> Pair:
    """An image of irregular cells, and a prediction that is shifted, renamed and split."""
    truth = random_drawn(cells, SHAPE, cells)
    prediction = disturbed(truth)
    ours, theirs = (
        read_panoptic(*write_panoptic(folder / str(cells), name, {1: image})).images["1"]
        for name, image in (("ours", prediction), ("truth", truth))
    )
    return f"{cells} cells", ours, theirs


def sample(shared: Path) -> list[Pair]:
    """The sample of COCO with a prediction that is shifted and one whose segments are split."""
    metrics, data = shared / "fixtures/metrics/panoptic", shared / "data/coco_panoptic_sample/sample_data"
    if not metrics.is_dir() or not data.is_dir():
        return []
    truth = read_panoptic(data / "panoptic_examples.json", data / "panoptic_examples")
    found = []
    for name in ("C_shift", "D_split"):
        ours = read_panoptic(metrics / f"pred_{name}.json", metrics / f"pred_{name}", truth.categories)
        found += [(f"COCO {key} {name}", ours.images[key], truth.images[key]) for key in truth.images]
    return found


def arguments(ours: SegmentedImage, theirs: SegmentedImage) -> tuple[Any, ...]:
    """What `count_segments` is given."""
    classes = [{key: each.category for key, each in image.segments.items()} for image in (ours, theirs)]
    crowds = {key for key, each in theirs.segments.items() if each.crowd}
    return read_segments(ours), read_segments(theirs), *classes, crowds


def milliseconds(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least and median processor time of several calls."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        spent.append(1000 * (time.process_time() - start))
    return min(spent), float(np.median(spent))


def compare(pair: Pair) -> float:
    """Print one line, after checking that both versions agree; return the median of the whole.

    Raises:
        AssertionError: they disagree; then the times mean nothing.
    """
    name, ours, theirs = pair
    given = arguments(ours, theirs)
    counts, expected = count_segments(*given), plain_panoptic.count_segments(*given)
    assert counts.keys() == expected.keys()
    for category, count in counts.items():
        np.testing.assert_allclose(astuple(count), expected[category], rtol=0, atol=1e-9)
    match, _ = milliseconds(lambda: count_segments(*given), 20)
    plain, _ = milliseconds(lambda: plain_panoptic.count_segments(*given), 2)
    least, median = milliseconds(lambda: count_segments(*arguments(ours, theirs)), 20)
    height, width = given[1].shape
    print(
        f"{name:>28} {width:>5} x {height} {len(theirs.segments):>5} {len(ours.segments):>5} {match:9.2f} {plain:9.1f} "
        f"{plain / match:7.0f}x {least:9.2f} {median:8.2f}",
        flush=True,
    )
    return median


def main(shared: Path) -> None:
    """Print the table, and whether every image keeps to the limit."""
    print("Milliseconds of processor time per image, one core; whole = reading, checking and matching")
    print(
        f"{'image':>28} {'size':>11} {'true':>5} {'ours':>5} {'matching':>9} {'plain':>9} {'ratio':>8} {'whole':>9} "
        f"{'median':>8}"
    )
    with tempfile.TemporaryDirectory() as name:
        pairs = [drawn(Path(name), cells) for cells in (10, 30, 100)] + sample(shared)
        slowest = max(compare(pair) for pair in pairs)
    print(f"Slowest median: {slowest:.1f} ms, {'within' if slowest <= LIMIT else 'ABOVE'} the aim of {LIMIT:g} ms")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("panoptic"), 30)


def test_read(benchmark, pair):
    assert benchmark(read_segments, pair[1]).shape == SHAPE


def test_match(benchmark, pair):
    assert benchmark(count_segments, *arguments(*pair[1:]))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED)
