"""Speed and exactness of masks without training at 60 x 60 patches (480 pixels of ViT-B/8), on one thread.

`python benchmarks/bench_unsupervised.py` cuts fields of features, and patches of photographs if a folder is named, by
Lanczos and by the dense solver side by side: seconds of processor time, how far the vectors lie apart, and patches
that fall on another side. Then come the times of a CRF, and how far it is from the exact mean field of a small image.
`pytest benchmarks/bench_unsupervised.py` times the parts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgebench.data.images import read_image
from edgebench.methods.unsupervised.crf import Crf, CrfSettings
from edgebench.methods.unsupervised.finish import squared
from edgebench.methods.unsupervised.graph import alike, second_eigenvector, unit_features
from edgebench.methods.unsupervised.maskcut import maskcut
from edgebench.methods.unsupervised.promerge import promerge
from edgebench.methods.unsupervised.statistics import PatchStatistics
from edgebench.methods.unsupervised.tokencut import tokencut

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.unit.methods import unsupervised_plain as plain  # noqa: E402

SIDE, DIMENSION = 60, 768
PHOTOS = 4


def field(regions: int, noise: float, seed: int = 0) -> NDArray[np.float32]:
    """Features (60, 60, 768) of regions of random kinds, with something in common as those of DINO have."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, SIDE, (regions, 2))
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = ((y[..., None] - centres[:, 0]) ** 2 + (x[..., None] - centres[:, 1]) ** 2).argmin(-1)
    kinds = rng.standard_normal((regions, DIMENSION)) + 0.4 * rng.standard_normal(DIMENSION)
    return (kinds[labels] + noise * rng.standard_normal((SIDE, SIDE, DIMENSION))).astype(np.float32)


def fields(photos: str | None) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Features by what they are of."""
    for regions, noise in ((3, 1.0), (8, 0.5), (8, 1.5), (20, 0.5), (20, 1.0)):
        yield f"{regions} regions, noise {noise:g}", field(regions, noise)
    yield "none alike: any is right", field(1, 100.0)
    for path in sorted(Path(photos).glob("*.jpg"))[:PHOTOS] if photos else []:
        yield path.stem, PatchStatistics()([read_image(path)])[0]


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """The answer and the seconds of processor time."""
    start = time.process_time()
    answer = function()
    return answer, time.process_time() - start


def solvers(photos: str | None) -> None:
    """Print both solvers side by side."""
    print(f"Second eigenvector of {SIDE * SIDE} patches, seconds of processor time")
    print(f"{'features':28} alike  Lanczos    dense  times  vectors apart  patches elsewhere  other mask")
    for name, features in fields(photos):
        close = alike(unit_features(features), 0.2)
        cut, fast = timed(lambda close=close: second_eigenvector(close))  # type: ignore[misc]
        exact, slow = timed(lambda close=close: second_eigenvector(close, "dense"))  # type: ignore[misc]
        vector = cut.vector * np.sign(cut.vector @ exact.vector)
        apart = np.abs(vector - exact.vector).max() / np.abs(exact.vector).max()
        sides = np.count_nonzero((vector > vector.mean()) != (exact.vector > exact.vector.mean()))
        masks = [tokencut(features, solver=each).masks[0] for each in ("lanczos", "dense")]
        fell = "  (fell back)" if cut.fell_back else ""
        print(
            f"{name:28} {close.mean():5.2f} {fast:8.3f} {slow:8.2f} {slow / fast:5.0f}x {apart:14.1e} {sides:18d} "
            f"{np.count_nonzero(masks[0] != masks[1]):11d}{fell}"
        )


def methods() -> None:
    """Print the time of each method on given features."""
    features = field(8, 1.0)
    for name, method in (("TokenCut", tokencut), ("MaskCut", maskcut), ("ProMerge", promerge)):
        found, seconds = timed(lambda method=method: method(features))  # type: ignore[misc]
        print(f"{name:10} {seconds:6.2f} s, {len(found.masks)} masks")


def crf() -> None:
    """Print the CRF's time, and its distance from the mean field of all pairs."""
    image, masks = noisy_picture(480)
    built, build = timed(lambda: Crf(image))
    _, refine = timed(lambda: built.refine(masks))
    print(f"CRF at 480 pixels: {build:.2f} s once, {refine / len(masks):.2f} s per mask (10 iterations)")
    small, masks = noisy_picture(56)
    exact = plain.crf(small, masks[0], CrfSettings())
    found = Crf(small).probabilities(masks[:1])[0]
    other = np.count_nonzero((found > 0.5) != (exact > 0.5))
    print(f"CRF at 56 pixels, from all pairs: mean {np.abs(found - exact).mean():.1e}, {other} of {found.size} labels")


def noisy_picture(side: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A disc on a slope, uint8 (side, side, 3), and three coarse masks of it, bool (3, side, side)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    disc = (y - 0.5) ** 2 + (x - 0.45) ** 2 < 0.1
    colours = np.where(disc[..., None], [180.0, 90.0, 60.0], [70.0, 110.0, 150.0]) + 40 * x[..., None]
    image = np.clip(colours + rng.normal(0, 6, (side, side, 3)), 0, 255).astype(np.uint8)
    masks = [np.roll(disc[::8, ::8], shift).repeat(8, 0).repeat(8, 1)[:side, :side] for shift in (0, 1, -1)]
    return squared(image, side), np.stack(masks)


def main() -> None:
    """Print all; an argument names a folder of photographs (.jpg)."""
    tokencut(field(2, 0.5)[:16, :16])  # compile
    Crf(noisy_picture(16)[0]).refine(noisy_picture(16)[1])
    solvers(sys.argv[1] if len(sys.argv) > 1 else None)
    methods()
    crf()


@pytest.fixture(scope="module")
def close():
    return alike(unit_features(field(8, 1.0)), 0.2)


def test_lanczos(benchmark, close):
    assert not benchmark(second_eigenvector, close).fell_back


def test_dense(benchmark, close):
    assert benchmark.pedantic(second_eigenvector, (close, "dense"), rounds=1).value < 1


@pytest.mark.parametrize("method", [tokencut, maskcut, promerge])
def test_method(benchmark, method):
    assert benchmark.pedantic(method, (field(8, 1.0),), rounds=2).masks.shape[1:] == (SIDE, SIDE)


def test_crf(benchmark):
    image, masks = noisy_picture(480)
    built = Crf(image)
    assert benchmark.pedantic(built.refine, (masks,), rounds=2).any()


if __name__ == "__main__":
    main()
