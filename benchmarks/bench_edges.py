"""Speed of the edge evaluator.

`python benchmarks/bench_edges.py [SHARED]` prints, per image, the seconds of edgebench beside those of a
plain SciPy version of the same problem and of the benchmark's C++ matcher (recorded once, on another day).
`pytest benchmarks/bench_edges.py` times the parts. Both use the reference folder `../shared` when it is
there, and a drawn image otherwise.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from edgebench.data.edge_maps import read_boundaries, read_edge_map
from edgebench.metrics.edges import (
    Matcher,
    average_crispness,
    count_image,
    dollar_nms,
    thin,
    threshold_grid,
    triangle_filter,
)

SHARED = Path(os.environ.get("EDGEBENCH_SHARED", Path(__file__).resolve().parents[2] / "shared"))
MAX_DISTANCE = 0.0075


class Image(NamedTuple):
    id: str
    prediction: NDArray[np.float64]
    annotators: list[NDArray[np.bool_]]


class Row(NamedTuple):
    """Seconds for one image; NaN where there is no record."""

    id: str
    edgebench: float
    scipy: float
    recorded: float


def drawn_image(height: int = 321, width: int = 481, annotators: int = 5) -> Image:
    """Level lines of a smooth field; each annotator sees them a little displaced."""
    rng = np.random.default_rng(0)
    field = triangle_filter(rng.normal(size=(height, width)), 12)
    steep = np.hypot(*np.gradient(triangle_filter(np.round(field / field.std()), 1)))
    prediction = np.clip(steep / steep.max() * rng.uniform(0.7, 1, steep.shape), 0, 1)
    masks = [np.roll(thin(steep > 0.2), rng.integers(-2, 3, 2), axis=(0, 1)) for _ in range(annotators)]
    return Image("drawn", prediction, masks)


def public_images(shared: Path) -> list[Image]:
    """The gPb-owt-ucm maps of the reference folder."""
    bsds = shared / "data" / "bsds500"
    return [
        Image(
            path.stem,
            read_edge_map(path),
            read_boundaries(bsds / "groundTruth" / "test" / f"{path.stem}.mat"),
        )
        for path in sorted((bsds / "ucm2").glob("*.mat"))
    ]


def scipy_counts(image: Image, thresholds: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The counts cntR and cntP by what SciPy offers: k-d trees for the pairs, LAPJVsp for the assignment.

    Each annotated pixel gets a column of its own that stands for "no partner", dearer than all real pairs
    together could save.
    """
    from scipy.sparse import csr_matrix, hstack, identity
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching
    from scipy.spatial import cKDTree
    from skimage.morphology import thin as skimage_thin

    radius = MAX_DISTANCE * float(np.hypot(*image.prediction.shape))
    truth_trees = [cKDTree(np.argwhere(mask)) for mask in image.annotators if mask.any()]
    grid = threshold_grid(thresholds)
    cntR, cntP = np.zeros(grid.size, np.int64), np.zeros(grid.size, np.int64)
    for index, threshold in enumerate(grid):
        pixels = np.argwhere(skimage_thin(image.prediction >= threshold))
        if not len(pixels):
            continue
        explained = np.zeros(len(pixels), bool)
        tree = cKDTree(pixels)
        for truth_tree in truth_trees:
            near = truth_tree.sparse_distance_matrix(tree, radius, output_type="coo_matrix")
            if near.nnz == 0:
                continue
            # One is added to every cost, because SciPy takes an explicit zero for a missing edge.
            cost = np.rint(100 * near.data) + 1
            rows, row = np.unique(near.row, return_inverse=True)
            pairs = csr_matrix((cost, (row, near.col)), shape=(len(rows), len(pixels)))
            alone = identity(len(rows), format="csr") * np.ceil(100 * 100 * radius)
            _, partner = min_weight_full_bipartite_matching(hstack([pairs, alone]).tocsr())
            real = partner < len(pixels)
            cntR[index] += real.sum()
            explained[partner[real]] = True
        cntP[index] = explained.sum()
    return cntR, cntP


def compare(images: Sequence[Image], recorded: dict[str, float], thresholds: int = 99) -> list[Row]:
    """Time edgebench and SciPy on each image, and check that they find the same number of pairs.

    Args:
        images: What to evaluate.
        recorded: Seconds of the C++ matcher per id.
        thresholds: Number of thresholds.

    Raises:
        AssertionError: the two disagree; then the times mean nothing.
    """
    warm = drawn_image(40, 50, 1)
    count_image(warm.prediction, warm.annotators, 3)
    rows = []
    for image in images:
        start = time.perf_counter()
        counts = count_image(image.prediction, image.annotators, thresholds, MAX_DISTANCE)
        ours = time.perf_counter() - start
        start = time.perf_counter()
        cntR, _ = scipy_counts(image, thresholds)
        plain = time.perf_counter() - start
        np.testing.assert_array_equal(cntR, counts.cntR)
        rows.append(Row(image.id, ours, plain, recorded.get(image.id, float("nan"))))
        print_row(rows[-1])
    return rows


def print_row(row: Row) -> None:
    recorded = f"{row.recorded:9.1f} {row.recorded / row.edgebench:8.0f}x" if row.recorded == row.recorded else ""
    print(
        f"{row.id:>10} {row.edgebench:10.3f} {row.scipy:9.2f} {row.scipy / row.edgebench:8.1f}x {recorded}",
        flush=True,
    )


def main(shared: Path) -> None:
    """Print the table for the public images, or for a drawn one without them."""
    recorded: dict[str, float] = {}
    images = [drawn_image()]
    if shared.is_dir():
        images = public_images(shared)
        with np.load(shared / "fixtures/edges/public/public_gpb_thin_cpp.npz", allow_pickle=False) as file:
            recorded = dict(zip(file["ids"].tolist(), file["seconds"].tolist(), strict=True))
    print("Seconds per image, 99 thresholds, all annotators, thinning included, one core")
    print(f"{'image':>10} {'edgebench':>10} {'SciPy':>9} {'ratio':>9} {'C++':>9} {'ratio':>9}")
    rows = compare(images, recorded)
    ours = np.array([row.edgebench for row in rows])
    plain = np.array([row.scipy for row in rows]) / ours
    tool = np.array([row.recorded for row in rows]) / ours
    tool = tool[np.isfinite(tool)]
    print(f"edgebench: {ours.sum():.2f} s for {len(ours)} images, median {np.median(ours):.3f} s")
    print(f"SciPy / edgebench: median {np.median(plain):.1f}x, least {plain.min():.1f}x")
    if tool.size:
        print(f"C++ / edgebench: median {np.median(tool):.0f}x, least {tool.min():.0f}x ({tool.size} images)")
    print(f"Peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


@pytest.fixture(scope="module")
def image() -> Image:
    return public_images(SHARED)[2] if SHARED.is_dir() else drawn_image()


def test_count_seval(benchmark, image):
    counts = benchmark(count_image, image.prediction, image.annotators)
    assert counts.cntR.max() > 0


def test_count_ceval(benchmark, image):
    thick = triangle_filter(image.prediction, 3)
    counts = benchmark(count_image, thick, image.annotators, thin=False)
    assert counts.cntR.max() > 0


def test_match_one_map_from_scratch(benchmark, image):
    edges = thin(image.prediction >= 0.1)
    masks = np.stack(image.annotators)
    radius = MAX_DISTANCE * float(np.hypot(*edges.shape))
    pairs, _ = benchmark(lambda: Matcher(masks, edges, radius).match(edges))
    assert pairs.min() > 0


def test_thin(benchmark, image):
    edges = triangle_filter(image.prediction, 3) >= 0.03
    assert 0 < benchmark(thin, edges).sum() < edges.sum()


def test_nms(benchmark, image):
    assert benchmark(dollar_nms, image.prediction).any()


def test_crispness(benchmark, image):
    assert benchmark(average_crispness, image.prediction) > 0


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED)
