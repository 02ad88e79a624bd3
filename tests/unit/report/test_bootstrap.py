from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from edgebench.metrics.masks import DIFFDIS, METRICS, STANDARD, MaskProtocol, score_mask, set_scores
from edgebench.report.bootstrap import Counts, draw_weights, interval, resample_edges, resample_masks

Arrays = dict[str, np.ndarray]
ORDER = ("cntR", "sumR", "cntP", "sumP")


def counts_like_a_detector(n: int, T: int, seed: int) -> Arrays:
    generator = np.random.default_rng(seed)
    sumR = np.repeat(generator.integers(1, 400, (n, 1)), T, axis=1)
    sumP = -np.sort(-generator.integers(0, 500, (n, T)), axis=1)
    cntP = generator.binomial(sumP, np.linspace(0.3, 0.9, T))
    return {"cntR": np.minimum(cntP, sumR), "sumR": sumR, "cntP": cntP, "sumP": sumP}


def as_counts(arrays: Arrays) -> Counts:
    cntR, sumR, cntP, sumP = (arrays[name].astype(float) for name in ORDER)
    return cntR, sumR, cntP, sumP


def thresholds(T: int) -> np.ndarray:
    return np.arange(1, T + 1) / (T + 1)


def slow_ods(P: np.ndarray, R: np.ndarray) -> float:
    best = 0.0
    for k in range(len(P) - 1):
        p, r = (np.linspace(each[k], each[k + 1], 100) for each in (P, R))
        best = max(best, np.max(np.divide(2 * p * r, p + r, out=np.zeros(100), where=p + r > 0)))
    return best


def test_ods_of_every_resample_is_that_of_its_images() -> None:
    arrays = counts_like_a_detector(12, 20, seed=3)
    weights = draw_weights([str(k) for k in range(12)], resamples=40)
    found = resample_edges(thresholds(20), as_counts(arrays), weights)["ods"]
    for b, weight in enumerate(weights):
        cntR, sumR, cntP, sumP = (weight @ arrays[name] for name in ORDER)
        P = np.divide(cntP, sumP, out=np.zeros(20), where=sumP > 0)
        assert found[b] == pytest.approx(slow_ods(P, cntR / sumR), abs=1e-12)


def test_without_edges_all_is_zero() -> None:
    nothing = np.zeros((2, 5))
    found = resample_edges(thresholds(5), (nothing, nothing, nothing, nothing), np.ones((3, 2)))
    assert all(np.array_equal(values, np.zeros(3)) for values in found.values())


def test_ois_takes_each_image_at_its_own_threshold() -> None:
    # Image 0 is best at threshold 0, image 1 at threshold 1; together 18 of 20 on both sides.
    cntR = np.array([[9, 1], [1, 9]], float)
    ten = np.full((2, 2), 10.0)
    found = resample_edges(thresholds(2), (cntR, ten, cntR, ten), np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert found["ois"].tolist() == pytest.approx([0.9, 0.9])
    assert found["ods"].tolist() == pytest.approx([0.5, 0.9])


def test_ap_is_the_benchmarks_sum_over_101_points() -> None:
    # Precision 0.5 for recalls 0.2 to 0.8: 61 of the 101 points lie on the curve.
    found, hundred, marked = np.array([[80.0, 20.0]]), np.full((1, 2), 100.0), np.array([[160.0, 40.0]])
    resampled = resample_edges(thresholds(2), (found, hundred, found, marked), np.ones((1, 1)))
    assert resampled["ap"][0] == pytest.approx(0.5 * 61 / 100)


def test_the_same_images_are_drawn_alike_and_others_not() -> None:
    ids = ["a", "b", "c", "d"]
    weights = draw_weights(ids, resamples=50)
    assert np.array_equal(weights, draw_weights(list(ids), resamples=50))
    assert not np.array_equal(weights, draw_weights(["a", "b", "c", "e"], resamples=50))
    assert not np.array_equal(weights, draw_weights(ids, resamples=50, seed=1))
    assert set(weights.sum(axis=1)) == {4}


def test_interval_of_a_mean_is_the_textbooks() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    weights = draw_weights([str(k) for k in range(400)], resamples=4000)
    low, high = interval(weights @ values / 400)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_speed_of_a_whole_test_set() -> None:
    counts = as_counts(counts_like_a_detector(200, 99, seed=1))
    weights = draw_weights([str(k) for k in range(200)])
    start = time.process_time()
    resample_edges(thresholds(99), counts, weights)
    assert time.process_time() - start < 2


def scored_masks(n: int, protocol: MaskProtocol) -> tuple[list[dict[str, float | None]], np.ndarray]:
    """Scores and histograms of n small masks, of which every third is blank."""
    generator = np.random.default_rng(n)
    per_image, histograms = [], []
    for index in range(n):
        truth = np.zeros((12, 16)) if index % 3 == 2 else (generator.random((12, 16)) > 0.6).astype(float)
        soft = np.clip(0.6 * truth + 0.4 * generator.random((12, 16)), 0, 1)
        scores = score_mask(np.floor(255 * soft) / 255 if index != 2 else truth, truth, protocol)
        per_image.append(scores.values)
        histograms.append(scores.histogram)
    return per_image, np.stack(histograms)


@pytest.mark.parametrize("protocol", [STANDARD, DIFFDIS], ids=lambda each: each.name)
def test_mask_scores_of_every_resample_are_those_of_its_images(protocol: MaskProtocol) -> None:
    pytest.importorskip("cv2")
    per_image, histograms = scored_masks(7, protocol)
    assert any(value is None for each in per_image for value in each.values())
    values = {name: np.array([each[name] for each in per_image], float) for name in METRICS}
    weights = draw_weights([str(k) for k in range(7)], resamples=40)
    found = resample_masks(values, histograms, protocol, weights)
    assert tuple(sorted(found)) == tuple(sorted(METRICS))
    for b, weight in enumerate(weights):
        drawn = np.repeat(np.arange(7), weight.astype(int))
        expected = set_scores([per_image[k] for k in drawn], histograms[drawn], protocol)
        for name, value in expected.items():
            assert found[name][b] == pytest.approx(value, abs=1e-12), name


def test_a_resample_that_defines_no_score_is_passed_over() -> None:
    values = {"biou": np.array([np.nan, 0.25])}
    weights = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    found = resample_masks(values, np.ones((2, 2, 256), int), STANDARD, weights)["biou"]
    assert np.isnan(found[0])
    assert interval(found) == (0.25, 0.25)


def test_speed_and_memory_of_two_thousand_masks() -> None:
    histograms = np.random.default_rng(0).integers(0, 4000, (2000, 2, 256), dtype=np.int32)
    values = {name: np.random.default_rng(1).random(2000) for name in METRICS}
    weights = draw_weights([str(k) for k in range(2000)])
    tracemalloc.start()
    start = time.process_time()
    resample_masks(values, histograms, DIFFDIS, weights)
    spent, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 5
    assert peak < 200e6
