"""ProMerge beside its plain version, and each of its rules on fields of features whose objects are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgebench.methods.unsupervised.graph import unit_features
from edgebench.methods.unsupervised.promerge import (
    MergeSettings,
    background_vote,
    merged,
    not_background,
    promerge,
    seed_masks,
)
from tests.unit.methods import unsupervised_plain as plain

SETTINGS = MergeSettings()
BLURRED = replace(SETTINGS, background_similarity=0.4)
"""Where the features of objects and of the background run into one another."""


def smooth_field(seed: int) -> np.ndarray:
    """Features (16, 16, 12) that vary slowly, so that masks overlap."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    labels = np.zeros((16, 16), dtype=np.int64)
    labels[2:8, 3:9], labels[7:13, 6:14], labels[11:15, 1:5] = 1, 2, 3
    kinds = np.linalg.qr(rng.standard_normal((12, 12)))[0][:4]
    return ndimage.gaussian_filter(kinds[labels], (0.5, 0.5, 0)) + 0.04 * rng.standard_normal((16, 16, 12))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "settings", [SETTINGS, BLURRED, replace(BLURRED, stride=2, tau=0.4, weak_overlap=0.02, similarity=-0.2)]
)
def test_equals_the_plain_version(seed: int, settings: MergeSettings) -> None:
    features = smooth_field(seed)
    expected = plain.promerge(features, settings)
    found = promerge(features, settings).masks
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_comparison_sees_masks() -> None:
    counts = [len(plain.promerge(smooth_field(seed), BLURRED)) for seed in range(6)]
    assert max(counts) > 1


@pytest.mark.parametrize("touching", [False, True])
def test_two_objects_and_not_the_background(touching: bool) -> None:
    labels = plain.two_objects(touching)
    np.testing.assert_array_equal(promerge(plain.field(labels)).masks, [labels == 1, labels == 2])


def test_what_touches_two_sides_votes_for_the_background() -> None:
    labels = np.zeros((16, 16), dtype=np.int64)
    labels[0:6, 2:10] = 1  # touches the top
    labels[8:16, 8:16] = 2  # touches two sides
    units = unit_features(plain.field(labels)).reshape(16, 16, -1)
    candidates, votes = seed_masks(units, SETTINGS)
    assert {mask.tobytes() for mask in candidates} == {(labels == 1).tobytes()}
    assert {mask.tobytes() for mask in votes} == {(labels == 0).tobytes(), (labels == 2).tobytes()}
    none = seed_masks(units, replace(SETTINGS, sides=4))[1]
    assert none == []


def test_parts_of_a_candidate_are_measured_by_the_seeds_own() -> None:
    labels = np.zeros((20, 20), dtype=np.int64)
    labels[4:8, 4:8] = 1  # 16 patches, with the seed (4, 4)
    labels[5:9, 14:16] = 1  # 8: half, kept; no seed in it
    labels[14:17, 5:7] = 1  # 6: too small; no seed in it
    units = unit_features(plain.field(labels)).reshape(20, 20, -1)
    candidates, _ = seed_masks(units, SETTINGS)
    assert sorted(int(mask.sum()) for mask in candidates) == [8, 16]


def test_background_is_what_most_votes_say() -> None:
    votes = [np.zeros((4, 5), dtype=bool) for _ in range(4)]
    for count, vote in enumerate(votes):
        vote[: count + 1] = True  # row 2 has two votes of four, which is not most
    background = background_vote(votes, SETTINGS)
    assert background is not None
    np.testing.assert_array_equal(background.any(1), [True, True, False, False])
    assert background_vote([], SETTINGS) is None
    assert background_vote(votes, replace(SETTINGS, smallest_background=0.51)) is None
    assert background_vote(votes, replace(SETTINGS, smallest_background=0.5)) is not None
    assert background_vote([np.zeros((4, 5), dtype=bool)], replace(SETTINGS, smallest_background=0)) is None


def test_an_image_without_background_has_no_masks() -> None:
    assert promerge(np.ones((16, 16, 3), dtype=np.float32)).masks.shape == (0, 16, 16)  # all background, no object
    rng = np.random.default_rng(0)
    assert promerge(rng.standard_normal((16, 16, 64))).masks.shape == (0, 16, 16)  # nothing is alike


def test_a_candidate_is_judged_by_what_it_adds() -> None:
    labels = np.zeros((10, 10), dtype=np.int64)
    labels[:, 5:] = 1
    units, background = unit_features(plain.field(labels, noise=0)), labels == 0
    small, large = np.zeros((2, 10, 10), dtype=bool)
    small[:4, 5:9] = True  # 16 patches, none on the background
    large[:4, 4:9] = True  # adds 4, all on the background
    kept = not_background([large, small], background, units, replace(SETTINGS, background_similarity=0.9))
    assert [mask.sum() for mask in kept] == [16]
    alone = not_background([large], background, units, replace(SETTINGS, background_similarity=0.9))
    assert [mask.sum() for mask in alone] == [20]  # alone only a fifth of it is on the background
    alike = not_background([large], background, units, SETTINGS)
    assert alike == []  # 0.2 of its mean feature is the background's


def test_clusters_join_by_overlap_or_by_less_overlap_and_likeness() -> None:
    labels = np.zeros((10, 20), dtype=np.int64)
    labels[:, 10:] = 1
    units = unit_features(plain.field(labels, noise=0))

    def count(start: int, stop: int, settings: MergeSettings = SETTINGS) -> int:
        """Clusters of columns 0 to 12 and of a smaller mask."""
        large, small = np.zeros((2, 10, 20), dtype=bool)
        large[:, :12], small[:, start:stop] = True, True
        masks = merged([small, large], units, settings)
        assert masks[0][:, :12].all()
        assert (masks[-1][:, start:stop]).all()
        return len(masks)

    assert count(6, 16) == 1  # six tenths of it shared
    assert count(7, 17, replace(SETTINGS, similarity=0.9)) == 2  # half is not more than half
    assert count(10, 20) == 1  # two tenths shared, and 1/6 of the larger one's mean is of its kind
    assert count(10, 20, replace(SETTINGS, similarity=0.2)) == 2
    assert count(11, 20, replace(SETTINGS, weak_overlap=0.2)) == 2  # a ninth shared: alike, but too little


def test_a_cluster_grows_with_what_joins_it() -> None:
    units = unit_features(plain.field(np.zeros((1, 30), dtype=np.int64), noise=0))
    first, second, third = np.zeros((3, 1, 30), dtype=bool)
    first[:, :12], second[:, 5:15], third[:, 12:18] = True, True, True
    chain = replace(SETTINGS, weak_overlap=0.49)
    assert [int(mask.sum()) for mask in merged([third, second, first], units, chain)] == [18]
    assert [int(mask.sum()) for mask in merged([third, first], units, chain)] == [12, 6]


def test_is_deterministic() -> None:
    features = smooth_field(1)
    np.testing.assert_array_equal(promerge(features).masks, promerge(features.copy()).masks)
