from __future__ import annotations

import numpy as np
import pytest

from edgebench.methods.baselines.canny import CannyFit, canny_edges, tune_canny
from edgebench.methods.baselines.sobel import sobel_edges
from edgebench.metrics.edges import count_image, edge_scores


def square(seed=0, texture=0):
    """A brighter square on a darker ground, with stripes of the given amplitude all over; and its outline."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:64, :72]
    inside = (abs(rows - 32) < 16) & (abs(columns - 36) < 18)
    grey = 80 + 90 * inside + texture * np.sin(columns * 2 * np.pi / 5 + seed) + rng.normal(0, 2, inside.shape)
    image = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    outline = inside & ~(
        np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
    )
    return image, outline


def test_sobel_is_high_on_the_outline_and_keeps_contrast():
    image, outline = square()
    edges = sobel_edges(image)
    assert edges.dtype == np.float64
    assert edges.shape == outline.shape
    assert 0 <= edges.min() <= edges.max() <= 1
    assert edges[outline].mean() > 10 * edges[5:10].mean()
    assert sobel_edges(image // 2)[outline].mean() == pytest.approx(edges[outline].mean() / 2, rel=0.1)
    step = np.zeros((9, 9, 3), np.uint8)
    step[:, 5:] = 255
    assert sobel_edges(step)[4, 4] == pytest.approx(np.sqrt(0.5))


def test_canny_draws_the_outline():
    image, outline = square()
    edges = canny_edges(image, 1.0, 0.1, 0.2)
    assert set(np.unique(edges)) == {0.0, 1.0}
    counts = count_image(edges, [outline], 1, max_distance=0.03, thin=False)
    assert edge_scores(counts.thresholds, counts.cntR, counts.sumR, counts.cntP, counts.sumP)["ods"]["f"] > 0.95
    assert not canny_edges(image, 1.0, 5, 6).any()
    with pytest.raises(ValueError, match="must not be above"):
        canny_edges(image, 1.0, 0.3, 0.2)


@pytest.mark.parametrize("detector", [sobel_edges, lambda image: canny_edges(image, 2.0, 0.1, 0.2)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (2, 2), (3, 3)])
def test_tiny_images(detector, shape):
    edges = detector(np.full((*shape, 3), 90, np.uint8))
    assert edges.shape == shape
    assert edges.max() < 1e-12


def test_fitted_canny_smooths_texture_away_and_reports_its_own_score():
    images, outlines = zip(*(square(seed, texture=35) for seed in range(2)), strict=True)
    fit = tune_canny(images, [[outline] for outline in outlines], max_distance=0.03)
    assert isinstance(fit, CannyFit)
    assert fit.low <= fit.high
    totals = np.zeros(4)
    plain = np.zeros(4)
    for image, outline in zip(images, outlines, strict=True):
        for sums, parameters in ((totals, fit[:3]), (plain, (1.0, 0.1, 0.2))):
            counts = count_image(canny_edges(image, *parameters), [outline], 1, max_distance=0.03, thin=False)
            sums += [counts.cntR[0], counts.sumR[0], counts.cntP[0], counts.sumP[0]]

    def f(cntR, sumR, cntP, sumP):
        return 2 * (cntR / sumR) * (cntP / sumP) / (cntR / sumR + cntP / sumP)

    assert fit.score == pytest.approx(f(*totals))
    assert fit.score > f(*plain) + 0.1
    assert fit.sigma >= 2


def test_fit_needs_images_and_as_many_annotations():
    with pytest.raises(ValueError, match="no image"):
        tune_canny([], [])
    image, outline = square()
    with pytest.raises(ValueError, match="zip"):
        tune_canny([image, image], [[outline]])
