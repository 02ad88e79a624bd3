from __future__ import annotations

import numpy as np
import pytest

from edgebench.metrics.edges import edge_scores, ods_f
from edgebench.metrics.edges.scores import average_precision, f_measure, recall_at_half_precision


def random_counts(n=6, T=9, seed=0):
    rng = np.random.default_rng(seed)
    sumR = np.repeat(rng.integers(500, 900, (n, 1)), T, axis=1)
    sumP = np.sort(rng.integers(0, 900, (n, T)), axis=1)[:, ::-1]
    cntP = (sumP * np.linspace(0.3, 0.95, T) * rng.uniform(0.8, 1, (n, 1))).astype(int)
    cntR = np.minimum(sumR, (cntP * 0.9).astype(int))
    return np.linspace(0.1, 0.9, T), cntR, sumR, cntP, sumP


def slow_ods(t, cntR, sumR, cntP, sumP):
    """The search written out as loops."""
    R = [r / s if s else 0 for r, s in zip(cntR.sum(0), sumR.sum(0), strict=True)]
    P = [p / s if s else 0 for p, s in zip(cntP.sum(0), sumP.sum(0), strict=True)]

    def f(r, p):
        return 2 * r * p / (r + p) if r + p else 0

    best = (f(R[0], P[0]), t[0], R[0], P[0])
    for i in range(1, len(t)):
        for d in np.linspace(0, 1, 100):
            r, p = R[i] * d + R[i - 1] * (1 - d), P[i] * d + P[i - 1] * (1 - d)
            if f(r, p) > best[0]:
                best = (f(r, p), t[i] * d + t[i - 1] * (1 - d), r, p)
    return best


@pytest.mark.parametrize("seed", range(5))
def test_ods_is_the_best_interpolated_f_of_summed_counts(seed):
    counts = random_counts(seed=seed)
    ods = edge_scores(*counts)["ods"]
    expected = slow_ods(*counts)
    assert [ods["f"], ods["threshold"], ods["recall"], ods["precision"]] == pytest.approx(expected, abs=1e-12)


def test_ods_f_over_leading_axes_is_one_by_one():
    t, *counts = random_counts(n=40)
    rng = np.random.default_rng(1)
    picks = rng.integers(0, 40, (300, 40))
    summed = [c[picks].sum(axis=1) for c in counts]
    together = ods_f(t, *summed)
    assert together.shape == (300,)
    for k in (0, 17, 299):
        assert together[k] == pytest.approx(edge_scores(t, *(c[picks[k]] for c in counts))["ods"]["f"], abs=1e-12)
    assert ods_f(t, *(s.reshape(3, 100, -1) for s in summed)).shape == (3, 100)


def test_ois_adds_the_counts_at_each_images_best_threshold_of_the_grid():
    t, cntR, sumR, cntP, sumP = random_counts()
    total = np.zeros(4)
    for image in range(len(cntR)):
        f = [
            f_measure(r / s, p / max(q, 1))
            for r, s, p, q in zip(cntR[image], sumR[image], cntP[image], sumP[image], strict=True)
        ]
        at = int(np.argmax(f))
        total += [cntR[image, at], sumR[image, at], cntP[image, at], sumP[image, at]]
    ois = edge_scores(t, cntR, sumR, cntP, sumP)["ois"]
    assert ois["f"] == pytest.approx(float(f_measure(total[0] / total[1], total[2] / total[3])))
    # Not the mean of the images' F.
    assert set(ois) == {"f", "recall", "precision"}


def test_ap_is_101_points_over_100():
    assert average_precision([0.0, 1.0], [1.0, 1.0]) == pytest.approx(1.01)
    assert average_precision([0.5, 0.25], [0.8, 0.8]) == pytest.approx(0.8 * 26 / 100)
    assert average_precision([0.4, 0.4], [0.8, 0.9]) == 0


def test_r50():
    assert recall_at_half_precision([0.9, 0.5, 0.1], [0.25, 0.75, 0.95]) == pytest.approx(0.7)
    assert recall_at_half_precision([0.9, 0.5], [0.6, 0.8]) == 0


def test_nothing_predicted_scores_zero_without_a_warning():
    zero = np.zeros((2, 9), int)
    with np.errstate(all="raise"):
        scores = edge_scores(np.linspace(0.1, 0.9, 9), zero, zero + 50, zero, zero)
        assert edge_scores(np.linspace(0.1, 0.9, 9), zero, zero, zero, zero)["ods"]["f"] == 0
    assert scores["ods"]["f"] == scores["ois"]["f"] == scores["ap"]["value"] == 0
    assert scores["ods"]["threshold"] == pytest.approx(0.1)


def test_a_single_threshold_is_not_interpolated():
    scores = edge_scores([0.5], [[4]], [[8]], [[3]], [[4]])
    assert scores["ods"] == {"f": pytest.approx(0.6), "threshold": 0.5, "recall": 0.5, "precision": 0.75}


def test_counts_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="counts must be"):
        edge_scores([0.1, 0.2], [[1]], [[1]], [[1]], [[1]])
