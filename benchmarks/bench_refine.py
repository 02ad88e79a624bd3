"""Speed of TRACE's refinement: 10 masks on a grid of 128 x 128 cells, 256 steps, one core.

`python benchmarks/bench_refine.py` prints seconds of processor time, each beside another way to do the same, which it
is first checked against: the walk, matrix and all, beside scipy's sparse matrix taken 256 times and, at 32 x 32, a
dense one squared 8 times; joining beside all pairs each time; and the whole refinement of an image. Times are the
least of several rounds in which everything runs in turn. `pytest benchmarks/bench_refine.py` times the parts.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import resource  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import ndimage  # noqa: E402

from edgebench.methods.trace.components import cut_by_edges  # noqa: E402
from edgebench.methods.trace.merging import merge_masks  # noqa: E402
from edgebench.methods.trace.propagation import propagate  # noqa: E402
from edgebench.methods.trace.refine import refine_masks  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.unit.methods import refine_plain as plain  # noqa: E402

GRID, DENSE, STEPS, MASKS = (128, 128), (32, 32), 256, 10
IMAGE = (512, 512)
ROUNDS = 5
LIMIT = 2.0
Values = NDArray[np.float64]


def drawn(shape: tuple[int, int], count: int) -> tuple[Values, NDArray[np.bool_]]:
    """Edges of all strengths around smooth regions, and masks that do not quite follow them."""
    rng = np.random.default_rng(0)
    blur = shape[0] / 64
    field = ndimage.gaussian_filter(rng.random(shape), 2 * blur)
    field = (field - field.min()) / np.ptp(field)
    edges = np.clip(1.2 - 12 * np.abs(field - 0.5), 0, 1)
    noise = (ndimage.gaussian_filter(rng.random(shape), 4 * blur) for _ in range(count))
    return edges, np.stack([each > np.quantile(each, 0.7) for each in noise])


def by_sparse_matrix(masks: NDArray[np.bool_], edges: Values) -> Values:
    """IRNet's way without its dense matrix: build, then multiply at every step."""
    matrix = plain.sparse_transitions(edges)
    values = np.ascontiguousarray((masks * (1 - edges)).reshape(len(masks), -1).T)
    for _ in range(STEPS):
        values = matrix @ values
    return values.T.reshape(masks.shape)


def by_dense_matrix(masks: NDArray[np.bool_], edges: Values) -> Values:
    """IRNet's way: a dense matrix, squared."""
    matrix = plain.sparse_transitions(edges).toarray()
    for _ in range(STEPS.bit_length() - 1):
        matrix = matrix @ matrix
    return (matrix @ (masks * (1 - edges)).reshape(len(masks), -1).T).T.reshape(masks.shape)


def least(functions: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Least processor time of each, in seconds, all of them in turn."""
    spent: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            function()
            spent[name].append(time.process_time() - start)
    return {name: min(each) for name, each in spent.items()}


def walks() -> float:
    """Print the walk beside the matrices; return its seconds at the size of the aim."""
    edges, masks = drawn(GRID, MASKS)
    found, expected = propagate(masks, edges), by_sparse_matrix(masks, edges)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(propagate(masks, edges, tolerance=1e-7), expected, rtol=0, atol=1e-5)
    few_edges, few = drawn(DENSE, MASKS)
    dense = by_dense_matrix(few, few_edges)
    np.testing.assert_allclose(propagate(few, few_edges), dense, rtol=0, atol=1e-12)
    apart = np.abs(found - expected).max(), np.abs(propagate(few, few_edges) - dense).max()
    print(f"largest difference from the sparse matrix {apart[0]:.1e}, from the dense one {apart[1]:.1e}")
    seconds = least(
        {
            "ours": lambda: propagate(masks, edges),
            "ours, as exact as refinement needs": lambda: propagate(masks, edges, tolerance=1e-7),
            "sparse matrix, 256 products": lambda: by_sparse_matrix(masks, edges),
        }
    )
    small = least(
        {"ours": lambda: propagate(few, few_edges), "dense, 8 squarings": lambda: by_dense_matrix(few, few_edges)}
    )
    for title, each in ((f"walk of {MASKS} masks on {GRID}", seconds), (f"on {DENSE}", small)):
        print(title)
        for name, value in each.items():
            print(f"  {name:36} {value:8.4f} s {value / each['ours']:7.2f}x")
    return seconds["ours"]


def joining() -> None:
    """Print joining beside all pairs each time."""
    rng = np.random.default_rng(0)
    _, base = drawn((240, 320), 12)
    masks = np.stack([base[index % 12] ^ (rng.random(base[0].shape) > 0.9) for index in range(36)])
    scores = rng.random(36)
    ours, expected = merge_masks(masks, scores), plain.merge(list(masks), list(scores))
    assert ours.members == [each[2] for each in expected]
    seconds = least(
        {"ours": lambda: merge_masks(masks, scores), "plain": lambda: plain.merge(list(masks), list(scores))}, 3
    )
    print(f"joining {len(masks)} masks of {masks.shape[1:]} to {len(expected)}")
    for name, value in seconds.items():
        print(f"  {name:36} {value:8.4f} s {value / seconds['ours']:7.2f}x")


def whole() -> None:
    """Print the parts of refining one image."""
    edges, masks = drawn(IMAGE, MASKS)
    refined = refine_masks(masks, edges)
    seconds = least(
        {
            "refine_masks": lambda: refine_masks(masks, edges),
            "of that, cutting": lambda: [cut_by_edges(each, edges) for each in masks],
        }
    )
    pieces = sum(len(cut_by_edges(each, edges)) for each in masks)
    print(f"image of {IMAGE}: {MASKS} masks, {pieces} pieces, {len(refined.masks)} masks after")
    for name, value in seconds.items():
        print(f"  {name:36} {value:8.4f} s")


def main() -> None:
    """Print everything, and whether the aim is met."""
    slowest = walks()
    joining()
    whole()
    verdict = "within" if slowest < LIMIT else "ABOVE"
    print(f"{slowest:.2f} s, {verdict} the aim of {LIMIT:g} s")
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


@pytest.fixture(scope="module")
def case() -> tuple[Values, NDArray[np.bool_]]:
    return drawn(GRID, MASKS)


def test_walk(benchmark, case):
    edges, masks = case
    assert benchmark(propagate, masks, edges).shape == masks.shape


def test_refine(benchmark, case):
    edges, masks = case
    assert benchmark(refine_masks, masks, edges).masks.ndim == 3


if __name__ == "__main__":
    main()
