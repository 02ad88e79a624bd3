"""TokenCut and MaskCut beside their definitions, and on fields of features whose objects are known."""

from __future__ import annotations

import numpy as np
import pytest

from edgebench.methods.unsupervised import graph
from edgebench.methods.unsupervised.graph import WEAK, alike, second_eigenvector, unit_features
from edgebench.methods.unsupervised.maskcut import maskcut
from edgebench.methods.unsupervised.tokencut import connected, tokencut
from tests.unit.methods import unsupervised_plain as plain


def random_close(n: int, density: float, seed: int) -> np.ndarray:
    upper = np.random.default_rng(seed).random((n, n)) < density
    return np.triu(upper) | np.triu(upper).T | np.eye(n, dtype=bool)


def same_up_to_sign(one: np.ndarray, other: np.ndarray) -> float:
    other = other / np.linalg.norm(other)
    return float(np.abs(one - np.sign(one @ other) * other).max())


@pytest.mark.parametrize("n", [64, 65, 71, 200])
def test_product_of_bits_is_the_dense_product(n: int) -> None:
    close = random_close(n, 0.3, n)
    vector = np.random.default_rng(1).standard_normal(n)
    bits = np.packbits(close, axis=1, bitorder="little")
    np.testing.assert_allclose(graph._product(bits, vector), close.astype(float) @ vector, atol=1e-12)


@pytest.mark.parametrize("solver", ["lanczos", "dense"])
def test_eigenvector_is_that_of_the_definition(solver: graph.Solver) -> None:
    labels = np.arange(144).reshape(12, 12) // 50
    features = plain.field(labels, noise=0.25)
    expected = plain.cut(features, 0.2, WEAK)
    cut = second_eigenvector(alike(unit_features(features), 0.2), solver)
    assert same_up_to_sign(cut.vector, expected) < 1e-9
    assert not cut.fell_back


@pytest.mark.parametrize("density", [0.02, 0.3, 0.9])
def test_both_solvers_split_alike(density: float) -> None:
    close = random_close(300, density, 5)
    lanczos, dense = second_eigenvector(close), second_eigenvector(close, "dense")
    assert same_up_to_sign(lanczos.vector, dense.vector) < 1e-8
    assert lanczos.value == pytest.approx(dense.value, abs=1e-10)
    same = (lanczos.vector > lanczos.vector.mean()) == (dense.vector > dense.vector.mean())
    assert same.all() or not same.any()


def test_lanczos_starts_from_a_fixed_vector() -> None:
    close = random_close(200, 0.1, 3)
    np.testing.assert_array_equal(second_eigenvector(close).vector, second_eigenvector(close).vector)


def test_falls_back_to_the_dense_solver_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    close = random_close(300, 0.05, 2)
    expected = second_eigenvector(close, "dense")
    monkeypatch.setattr(graph, "LANCZOS_RESTARTS", 1)
    monkeypatch.setattr(graph, "LANCZOS_VECTORS", 3)
    cut = second_eigenvector(close)
    assert cut.fell_back
    np.testing.assert_array_equal(cut.vector, expected.vector)
    found = tokencut(plain.field(plain.two_objects(), noise=0.3))
    assert found.fell_back == 1


def test_a_zero_feature_is_like_nothing() -> None:
    features = plain.field(plain.two_objects())
    features[:2] = 0
    close = alike(unit_features(features), 0.2)
    assert not close[:48].any()
    assert not close[:, :48].any()
    assert close.diagonal()[48:].all()
    assert np.isfinite(second_eigenvector(close).vector).all()


def test_connected_is_flooding() -> None:
    mask = np.random.default_rng(0).random((15, 17)) < 0.55
    for seed in np.flatnonzero(mask)[::20]:
        expected = plain.part_of(mask, (int(seed) // 17, int(seed) % 17))
        np.testing.assert_array_equal(connected(mask, int(seed)), expected)


def test_tokencut_finds_the_object() -> None:
    labels = np.zeros((20, 22), dtype=np.int64)
    labels[3:12, 5:15] = 1
    labels[15:17, 18:20] = 1  # not connected to the larger part
    masks = tokencut(plain.field(labels)).masks
    expected = labels == 1
    expected[15:17] = False
    np.testing.assert_array_equal(masks, expected[None])


def test_tokencut_does_not_depend_on_scale_or_solver() -> None:
    features = plain.field(plain.two_objects(), noise=0.2)
    one = tokencut(features).masks
    np.testing.assert_array_equal(one, tokencut(17 * features).masks)
    np.testing.assert_array_equal(one, tokencut(features, solver="dense").masks)


def test_maskcut_finds_two_objects_and_not_the_background() -> None:
    labels = plain.two_objects()
    masks = maskcut(plain.field(labels)).masks
    assert {mask.tobytes() for mask in masks} == {(labels == 1).tobytes(), (labels == 2).tobytes()}


def test_maskcut_takes_touching_objects_for_one() -> None:
    labels = plain.two_objects(touching=True)
    np.testing.assert_array_equal(maskcut(plain.field(labels)).masks, [labels > 0])


def test_maskcut_reverses_a_side_with_three_corners(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = plain.two_objects()
    labels[labels == 2] = 0
    vector = np.where(labels == 1, 1.0, -9.0).ravel()  # the peak lies on the background
    for sign in (1, -1):
        monkeypatch.setattr(
            "edgebench.methods.unsupervised.maskcut.second_eigenvector",
            lambda *_, sign=sign: graph.Cut(sign * vector, 0.5),
        )
        np.testing.assert_array_equal(maskcut(plain.field(labels), rounds=1).masks[0], labels == 1)
    # Two corners are not enough: the peak decides.
    vector = np.where(np.arange(24)[:, None] < 12, -9.0, 1.0).repeat(24, 1).ravel()
    monkeypatch.setattr("edgebench.methods.unsupervised.maskcut.second_eigenvector", lambda *_: graph.Cut(vector, 0.5))
    mask = maskcut(plain.field(labels), rounds=1).masks[0]
    assert mask[:12].all()
    assert not mask[12:].any()


def test_maskcut_rejects_what_is_small_or_found_before(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros((20, 20), dtype=np.int64)
    labels[4:6, 4:6] = 1
    features = plain.field(labels)
    assert len(maskcut(features, smallest=0.009).masks) >= 1
    assert len(maskcut(features, smallest=0.01).masks) == 0
    # The same cut again and again: the second round is rejected, unless all is allowed.
    vector = np.where(plain.two_objects() == 1, 9.0, -1.0).ravel()
    monkeypatch.setattr(
        "edgebench.methods.unsupervised.maskcut.second_eigenvector", lambda *_: graph.Cut(vector, 0.5, True)
    )
    found = maskcut(plain.field(plain.two_objects()), rounds=4)
    assert len(found.masks) == 1
    assert found.fell_back == 2
    assert maskcut(plain.field(plain.two_objects()), rounds=4, largest_overlap=1).fell_back == 4


def test_later_masks_lose_what_earlier_ones_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = np.zeros((2, 20, 20), dtype=bool)
    first[4:14, 4:14] = True
    second[10:18, 4:14] = True
    cuts = iter([first, second])
    seen = []

    def answer(close: np.ndarray, solver: str) -> graph.Cut:
        seen.append(close.diagonal().reshape(20, 20).copy())
        return graph.Cut(np.where(next(cuts), 9.0, -1.0).ravel(), 0.5)

    monkeypatch.setattr("edgebench.methods.unsupervised.maskcut.second_eigenvector", answer)
    masks = maskcut(plain.field(np.zeros((20, 20), dtype=np.int64)), rounds=2).masks
    np.testing.assert_array_equal(masks, [first, second & ~first])
    np.testing.assert_array_equal(seen[1], ~first)  # features of the first mask are zero


def test_an_image_all_alike_has_no_mask_of_its_own() -> None:
    for method in (tokencut, maskcut):
        masks = method(np.ones((12, 12, 4), dtype=np.float32)).masks
        assert masks.dtype == bool
        assert masks.shape[1:] == (12, 12)
