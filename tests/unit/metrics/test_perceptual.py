"""The distances behind FID and LPIPS against closed forms, and the networks against their published names."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from edgebench.metrics.perceptual import frechet_distance, lpips_distance, rank_deficient
from edgebench.metrics.perceptual_networks import ALEX_CHANNELS, AlexFeatures, InceptionFeatures


def features(n: int, d: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)) @ generator.normal(size=(d, d)) + generator.normal(size=d)


def textbook(first: np.ndarray, second: np.ndarray) -> float:
    """The formula as it is printed, with SciPy's matrix root."""
    S1, S2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = np.real(sqrtm(S1 @ S2))
    return float(((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(S1 + S2 - 2 * root))


@pytest.mark.parametrize(("n", "m"), [(50, 80), (7, 200), (200, 7), (9, 9)])
def test_frechet_is_the_textbook_formula(n: int, m: int) -> None:
    first, second = features(n, 6, seed=0), features(m, 6, seed=1)
    assert frechet_distance(first, second) == pytest.approx(textbook(first, second), rel=1e-9)
    assert frechet_distance(second, first) == pytest.approx(frechet_distance(first, second), rel=1e-12)


def test_frechet_closed_forms() -> None:
    first = features(40, 5, seed=2)
    shift = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(first, first + shift) == pytest.approx((shift**2).sum())
    # Scaled about its mean: (s - 1)^2 times the total variance.
    scaled = first.mean(0) + 3 * (first - first.mean(0))
    assert frechet_distance(first, scaled) == pytest.approx(4 * first.var(axis=0, ddof=1).sum())
    # One dimension: (difference of means)^2 + (difference of standard deviations)^2.
    a, b = features(30, 1, seed=3), features(20, 1, seed=4)
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_frechet_of_fewer_images_than_features_is_finite_and_orders_by_similarity() -> None:
    generator = np.random.default_rng(5)
    first = generator.normal(size=(10, 300))
    near, far = first + 0.01 * generator.normal(size=first.shape), 5 * generator.normal(size=first.shape)
    assert 0 <= frechet_distance(first, near) < frechet_distance(first, far) < np.inf
    # Duplicated features make the covariance singular, not the result.
    assert frechet_distance(first[:, [0, 0, 1]], first[:, [0, 0, 1]]) == pytest.approx(0, abs=1e-9)
    assert rank_deficient(2048, 2048)
    assert not rank_deficient(2049, 2048)


@pytest.mark.parametrize(("first", "second"), [((1, 3), (5, 3)), ((5, 3), (5, 4)), ((5,), (5,))])
def test_frechet_needs_two_sets_of_equal_features(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"needed|needs at least two"):
        frechet_distance(np.zeros(first), np.zeros(second))


def test_lpips_by_hand() -> None:
    # One layer, two channels, two pixels: unit vectors (1, 0), (0.6, 0.8) against (0, 1), (0.6, 0.8).
    first = np.array([[[2.0, 3.0]], [[0.0, 4.0]]])
    second = np.array([[[0.0, 0.3]], [[5.0, 0.4]]])
    weights = np.array([0.5, 0.25])
    assert lpips_distance([first], [second], [weights]) == pytest.approx((0.5 * 1 + 0.25 * 1) / 2)
    assert lpips_distance([first, first], [second, second], [weights, 2 * weights]) == pytest.approx(3 * 0.375)
    assert lpips_distance([first], [first], [weights]) == 0
    assert lpips_distance([np.zeros((2, 1, 2))], [first], [weights]) == pytest.approx(
        (0.5 + 0.5 * 0.36 + 0.25 * 0.64) / 2
    )


def test_alexnet_has_torchvisions_names_and_the_sizes_of_the_paper() -> None:
    network = AlexFeatures().eval()
    assert {name: tuple(value.shape) for name, value in network.state_dict().items() if name.endswith("weight")} == {
        "features.0.weight": (64, 3, 11, 11),
        "features.3.weight": (192, 64, 5, 5),
        "features.6.weight": (384, 192, 3, 3),
        "features.8.weight": (256, 384, 3, 3),
        "features.10.weight": (256, 256, 3, 3),
    }
    found = network(torch.rand(2, 3, 224, 224))
    assert [tuple(each.shape) for each in found] == [
        (2, channels, side, side) for channels, side in zip(ALEX_CHANNELS, (55, 27, 13, 13, 13), strict=True)
    ]
    assert all(float(each.detach().min()) >= 0 for each in found)


@pytest.fixture(scope="module")
def inception() -> InceptionFeatures:
    torch.manual_seed(0)
    return InceptionFeatures().eval()


def test_inception_has_the_published_names_and_shapes(inception: InceptionFeatures) -> None:
    state = inception.state_dict()
    named = sorted((name, list(value.shape)) for name, value in state.items() if "num_batches" not in name)
    assert (len(named), sum(value.numel() for name, value in state.items() if "num_b" not in name)) == (470, 21820000)
    # Digest of names and shapes of torch-fidelity 0.4.0's module, which reads the published file, without its `fc`.
    listed = hashlib.sha256(json.dumps(named).encode()).hexdigest()
    assert listed == "53dfbd0c1bd592f43bd9a5c50b8fb183575be4d885e6f9835ec99912ac69d1f7"


def test_inception_gives_2048_features_of_pictures_of_any_size(inception: InceptionFeatures) -> None:
    with torch.inference_mode():
        small = inception(torch.full((1, 3, 20, 31), 0.25))
        large = inception(torch.full((1, 3, 64, 48), 0.25))
    assert small.shape == (1, 2048)
    assert torch.allclose(small, large, atol=1e-5)  # an even picture is the same at every size
