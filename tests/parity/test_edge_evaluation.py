"""Agreement with the BSDS500 benchmark: its matcher, exact matching, and its published results."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from skimage.morphology import thin as reference_thin

from edgebench.data.edge_maps import read_boundaries, read_edge_map
from edgebench.metrics.edges import average_crispness, count_image, dollar_nms, edge_scores, thin

COUNTS = ("cntR", "sumR", "cntP", "sumP")


@pytest.fixture(scope="module")
def fixtures(shared):
    return shared / "fixtures" / "edges"


@pytest.fixture(scope="module")
def bsds(shared):
    return shared / "data" / "bsds500"


def load(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def exact(fixtures):
    return load(fixtures / "public" / "public_gpb_thin_exact.npz")


@pytest.fixture(scope="module")
def benchmark_tool(fixtures):
    return load(fixtures / "public" / "public_gpb_thin_cpp.npz")


@pytest.fixture(scope="module")
def counted(bsds, exact):
    """Our counts of the 20 gPb-owt-ucm maps, in the order of the fixture."""
    return [
        count_image(
            read_edge_map(bsds / "ucm2" / f"{key}.mat"),
            read_boundaries(bsds / "groundTruth" / "test" / f"{key}.mat"),
        )
        for key in exact["ids"]
    ]


def test_unique_counts_are_equal_as_integers(counted, exact):
    for index, counts in enumerate(counted):
        n = counts.sumR_per_annotator.size
        np.testing.assert_array_equal(counts.thresholds, exact["thresholds"])
        for name in ("cntR", "sumR", "sumP"):
            np.testing.assert_array_equal(getattr(counts, name), exact[name][index])
        np.testing.assert_array_equal(counts.cntR_per_annotator, exact["cntR_per_annotator"][index, :, :n])
        np.testing.assert_array_equal(counts.sumR_per_annotator, exact["sumR_per_annotator"][index, :n])
        assert (exact["sumR_per_annotator"][index, n:] == -1).all()


def test_explained_map_pixels_agree_with_the_benchmarks_matcher(counted, benchmark_tool):
    relative = []
    for index, theirs in enumerate(benchmark_tool["cntP"]):
        difference = np.abs(counted[index].cntP - theirs)
        assert (difference <= np.maximum(3, 0.012 * theirs)).all()
        relative.append(difference[theirs > 200] / theirs[theirs > 200])
    assert np.concatenate(relative).mean() <= 0.003


def test_matched_annotations_are_never_fewer_than_the_benchmarks(counted, benchmark_tool):
    for index, theirs in enumerate(benchmark_tool["cntR"]):
        more = counted[index].cntR - theirs
        assert (more >= 0).all()
        assert (more <= np.maximum(5, 0.008 * theirs)).all()


def test_scores_agree_with_the_benchmarks_matcher(counted, benchmark_tool):
    theirs = edge_scores(benchmark_tool["thresholds"], *(benchmark_tool[name] for name in COUNTS))
    n = len(benchmark_tool["ids"])
    ours = edge_scores(
        benchmark_tool["thresholds"], *(np.stack([getattr(c, name) for c in counted[:n]]) for name in COUNTS)
    )
    for score, key in (("ods", "f"), ("ois", "f"), ("ap", "value")):
        assert ours[score][key] == pytest.approx(theirs[score][key], abs=5e-4)


def test_single_images_agree_with_the_published_file(counted, exact, bsds):
    with open(bsds / "ucm2" / "official_eval_bdry_img_subset.csv", newline="") as file:
        official = {row["image"]: row for row in csv.DictReader(file)}
    same_threshold, difference = 0, []
    for key, counts in zip(exact["ids"], counted, strict=True):
        ods = edge_scores(counts.thresholds, *(getattr(counts, name)[None] for name in COUNTS))["ods"]
        difference.append(ods["f"] - float(official[key]["f"]))
        same_threshold += abs(ods["threshold"] - float(official[key]["best_threshold"])) < 5e-4
    assert len(difference) == 20
    assert np.abs(difference).max() <= 0.0015
    assert abs(np.mean(difference)) <= 3e-4
    assert same_threshold >= 14  # elsewhere the maximum is flat


def test_official_precision_and_recall_are_fractions_of_our_totals(counted, exact, bsds):
    """Where the best threshold is on the grid, the published six digits times our totals must be integers."""
    with open(bsds / "ucm2" / "official_eval_bdry_img_subset.csv", newline="") as file:
        official = {row["image"]: row for row in csv.DictReader(file)}
    checked = 0
    for key, counts in zip(exact["ids"], counted, strict=True):
        row = official[key]
        at = np.flatnonzero(np.abs(counts.thresholds - float(row["best_threshold"])) < 1e-9)
        if not at.size:
            continue
        checked += 1
        for value, total in (
            (float(row["precision"]), counts.sumP[at[0]]),
            (float(row["recall"]), counts.sumR[at[0]]),
        ):
            # Six digits leave the numerator uncertain by half a millionth of the total.
            assert abs(value * total - round(value * total)) <= 0.6e-6 * total
    assert checked >= 14


def test_thinning_equals_the_reference_on_real_maps(fixtures, bsds):
    for path in sorted((fixtures / "inputs" / "sobel_raw").glob("*.png"))[:3]:
        prediction = read_edge_map(path)
        for threshold in (0.05, 0.15, 0.4):
            np.testing.assert_array_equal(thin(prediction >= threshold), reference_thin(prediction >= threshold))
    for key in ("2018", "306052"):
        prediction = read_edge_map(bsds / "ucm2" / f"{key}.mat")
        for threshold in (0.01, 0.1):
            np.testing.assert_array_equal(thin(prediction >= threshold), reference_thin(prediction >= threshold))


def test_suppression_equals_the_benchmarks_pixel_by_pixel(fixtures):
    paths = sorted((fixtures / "inputs" / "sobel_raw").glob("*.png"))
    assert len(paths) == 20
    for path in paths:
        expected = read_edge_map(fixtures / "inputs" / "sobel_nms" / path.name)
        np.testing.assert_array_equal(dollar_nms(read_edge_map(path)), expected)


def test_crispness_is_measured_on_the_raw_map(fixtures):
    """Over the first five Sobel maps the definition gives 0.2421; with smoothing first it would be 0.2165."""
    paths = sorted((fixtures / "inputs" / "sobel_raw").glob("*.png"))[:5]
    assert np.mean([average_crispness(read_edge_map(path)) for path in paths]) == pytest.approx(0.2421, abs=5e-5)
