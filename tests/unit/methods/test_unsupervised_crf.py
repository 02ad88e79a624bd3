"""The lattice beside exact Gaussian filtering, the CRF beside a mean field of all pairs, and what becomes of masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgebench.errors import ConfigError
from edgebench.methods.unsupervised.crf import Crf, CrfSettings
from edgebench.methods.unsupervised.finish import finish, resized, squared
from edgebench.methods.unsupervised.lattice import Lattice
from tests.unit.methods import unsupervised_plain as plain


def picture(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse on a slope of another colour, uint8 (H, W, 3), and its mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    inside = ((y - 0.5 * height) / (0.3 * height)) ** 2 + ((x - 0.45 * width) / (0.3 * width)) ** 2 < 1
    colours = np.where(inside[..., None], [180.0, 90.0, 60.0], [70.0, 110.0, 150.0]) + 40 * x[..., None] / width
    return np.clip(colours + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8), inside


def coarse(mask: np.ndarray, patch: int = 8) -> np.ndarray:
    """The mask as squares of a patch, as it comes from a grid."""
    height, width = (side // patch for side in mask.shape)
    small = mask[: height * patch, : width * patch].reshape(height, patch, width, patch).mean((1, 3)) > 0.5
    return resized(small, mask.shape)


@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
def test_lattice_filters_like_a_gaussian(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    points = rng.uniform(0, 5, (1500, dimension))
    values = np.column_stack([rng.uniform(0, 1, 1500), points[:, 0]])
    kernel = np.exp(-((points[:, None] - points) ** 2).sum(-1) / 2)
    exact = kernel @ values / kernel.sum(1, keepdims=True)
    lattice = Lattice(points)
    found = lattice.filter(values) / lattice.filter(np.ones((1500, 1)))
    # The mean of a normalised filtering over the points, in deviations of the exact one.
    assert (np.abs(found - exact).mean(0) < 0.25 * exact.std(0)).all()
    assert np.abs(found[:, 1] - exact[:, 1]).mean() < 0.1


def test_lattice_of_distant_points_mixes_nothing() -> None:
    points = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]])
    found = Lattice(points).filter(np.eye(3))
    assert (found[~np.eye(3, dtype=bool)] == 0).all()
    assert (np.diag(found) > 0).all()


def test_lattice_names_what_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="6 dimensions"):
        Lattice(np.zeros((2, 6)))
    with pytest.raises(ConfigError, match="200 deviations"):
        Lattice(np.array([[0.0], [200.0]]))


@pytest.mark.parametrize("settings", [CrfSettings(), CrfSettings(near=2, far=12, colour=13, iterations=4)])
@pytest.mark.parametrize("seed", range(3))
def test_crf_is_the_mean_field_of_all_pairs(settings: CrfSettings, seed: int) -> None:
    image, inside = picture(40, 44, seed)
    mask = coarse(inside)
    exact = plain.crf(image, mask, settings)
    found = Crf(image, settings).probabilities(mask[None])[0]
    assert np.abs(found - exact).mean() < 0.005
    assert ((found > 0.5) != (exact > 0.5)).mean() < 0.002
    # And both do something: the squares become the ellipse.
    assert (mask != inside).mean() > 0.03
    assert ((found > 0.5) != inside).mean() < 0.005


def test_near_kernel_alone_is_exact() -> None:
    image, inside = picture(24, 30, 0)
    settings = CrfSettings(far_weight=0)
    noisy = inside ^ (np.random.default_rng(0).random(inside.shape) < 0.1)
    exact = plain.crf(image, noisy, settings)
    np.testing.assert_allclose(Crf(image, settings).probabilities(noisy[None])[0], exact, atol=2e-3)


def test_masks_are_refined_each_alone() -> None:
    image, inside = picture(32, 40, 0)
    masks = np.stack([coarse(inside), ~coarse(inside), np.zeros_like(inside), *(coarse(inside),) * 4])
    crf = Crf(image)
    together = crf.probabilities(masks)
    for mask, each in zip(masks, together, strict=True):
        np.testing.assert_array_equal(crf.probabilities(mask[None])[0], each)
    np.testing.assert_allclose(together[1], 1 - together[0], atol=1e-5)
    assert crf.refine(masks[:0]).shape == (0, 32, 40)


def test_resized_takes_the_nearest() -> None:
    mask = np.array([[True, False], [False, True]])
    np.testing.assert_array_equal(resized(mask, (4, 6)), np.kron(mask, np.ones((2, 3), dtype=bool)))
    np.testing.assert_array_equal(resized(resized(mask, (40, 30)), (2, 2)), mask)


def test_finish_without_crf_enlarges_and_fills() -> None:
    image = np.zeros((60, 90, 3), dtype=np.uint8)
    mask = np.zeros((6, 6), dtype=bool)
    mask[1:5, 1:5] = True
    mask[2, 2] = False
    masks = finish(np.stack([mask, np.zeros_like(mask)]), image, 48, None)
    assert masks.shape == (1, 60, 90)  # the empty one is gone
    assert masks[0, 10:50, 15:75].all()
    assert masks.sum() == 40 * 60
    assert finish(np.zeros((0, 6, 6), dtype=bool), image, 48, None).shape == (0, 60, 90)


def test_finish_draws_the_outline_and_drops_what_changed_too_much() -> None:
    inside = picture(64, 64, 1)[1]
    grid = inside.reshape(8, 8, 8, 8).mean((1, 3)) > 0.5
    stray = np.zeros_like(grid)
    stray[0, 0] = True  # a square of the background's colours: the CRF takes it away or spreads it
    large = picture(128, 96, 1)[0]
    masks = finish(np.stack([grid, stray]), large, 64, CrfSettings())
    assert masks.shape == (1, 128, 96)
    assert (masks[0] != picture(128, 96, 1)[1]).mean() < 0.02
    everything = finish(np.stack([grid, stray]), large, 64, CrfSettings(), least_kept=0)
    assert len(everything) >= 1
    assert len(finish(np.stack([grid]), large, 64, CrfSettings(), least_kept=1)) == 0


def test_squared_covers_the_image() -> None:
    image = np.zeros((30, 50, 3), dtype=np.uint8)
    image[:, 25:] = 200
    small = squared(image, 10)
    assert small.shape == (10, 10, 3)
    assert small[:, :4].max() == 0
    assert small[:, 6:].min() == 200


def test_a_certainty_of_one_half_says_nothing() -> None:
    image, inside = picture(24, 24, 0)
    found = Crf(image, replace(CrfSettings(), certainty=0.5)).probabilities(inside[None])
    np.testing.assert_array_equal(found, np.full_like(found, 0.5))
