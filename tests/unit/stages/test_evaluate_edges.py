from __future__ import annotations

import json
import os
from functools import partial

import numpy as np
import pytest
from PIL import Image

from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.metrics.edges import average_crispness, count_image, dollar_nms, edge_scores
from edgebench.stages.evaluate_edges import (
    EdgeItem,
    edge_protocol,
    evaluate_folders,
    evaluate_items,
    write_counts,
    write_scores,
)


def image_of(index):
    rng = np.random.default_rng(index)
    rows, columns = np.mgrid[:40, : 50 + index]
    ridge = np.exp(-((rows - 20 - 3 * np.sin(columns / (5 + index))) ** 2) / 6)
    return np.clip(ridge * 0.9 + 0.1 * rng.random(ridge.shape), 0, 1)


@pytest.fixture
def folders(tmp_path):
    """Three images with 2, 3 and 1 annotators."""
    maps, truth = tmp_path / "maps", tmp_path / "truth"
    maps.mkdir()
    for index, annotators in enumerate((2, 3, 1)):
        prediction = image_of(index)
        Image.fromarray(np.rint(prediction * 255).astype(np.uint8)).save(maps / f"i{index}.png")
        (truth / f"i{index}").mkdir(parents=True)
        for annotator in range(annotators):
            mask = np.roll(prediction > 0.85, annotator, axis=0)
            Image.fromarray(mask.astype(np.uint8) * 255).save(truth / f"i{index}" / f"{annotator}.png")
    return maps, truth


@pytest.mark.parametrize(
    ("protocol", "nms", "suppressed", "thin"),
    [
        ("seval", None, True, True),
        ("seval", "none", False, True),
        ("ceval", None, False, False),
        ("ceval", "dollar", True, False),
    ],
)
def test_counts_are_those_of_the_image_functions(folders, protocol, nms, suppressed, thin):
    evaluation = evaluate_folders(folders[0], folders[1], protocol, nms, max_distance=0.02, thresholds=9)
    assert evaluation.ids == ["i0", "i1", "i2"]
    for index in range(3):
        raw = np.rint(image_of(index) * 255) / 255
        masks = [np.roll(image_of(index) > 0.85, k, axis=0) for k in range((2, 3, 1)[index])]
        expected = count_image(dollar_nms(raw) if suppressed else raw, masks, 9, 0.02, thin)
        for name in ("cntR", "sumR", "cntP", "sumP"):
            np.testing.assert_array_equal(getattr(evaluation, name)[index], getattr(expected, name))
        n = len(masks)
        np.testing.assert_array_equal(evaluation.cntR_per_annotator[index, :, :n], expected.cntR_per_annotator)
        assert (evaluation.cntR_per_annotator[index, :, n:] == -1).all()
        assert (evaluation.sumR_per_annotator[index, n:] == -1).all()
        assert evaluation.ac[index] == average_crispness(raw)


def test_more_processes_give_the_same_files(folders, tmp_path):
    for jobs in (1, 2):
        evaluation = evaluate_folders(folders[0], folders[1], "seval", thresholds=9, jobs=jobs)
        write_scores(tmp_path / f"{jobs}.json", evaluation)
        write_counts(tmp_path / f"{jobs}.npz", evaluation)
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    with np.load(tmp_path / "1.npz") as one, np.load(tmp_path / "2.npz") as two:
        assert set(one) == set(two)
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


def test_files_hold_what_the_scores_need(folders, tmp_path):
    maps, truth = folders
    evaluation = evaluate_folders(maps, truth, "seval", thresholds=9)
    write_scores(tmp_path / "scores.json", evaluation)
    write_counts(tmp_path / "counts.npz", evaluation)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["n_images"] == 3
    assert scores["protocol"] == "seval"
    assert scores["nms"] == {"name": "dollar", "radius": 1, "border": 5, "multiplier": 1.01, "smoothing": 1}
    assert (scores["thin"], scores["max_distance"], scores["thresholds"]) == (True, 0.0075, 9)
    assert scores["version"] == 1
    assert scores["ac"]["value"] == pytest.approx(evaluation.ac.mean())
    with np.load(tmp_path / "counts.npz", allow_pickle=False) as counts:
        assert counts["ids"].tolist() == ["i0", "i1", "i2"]
        assert counts["cntR_per_annotator"].shape == (3, 9, 3)
        assert counts["sumR_per_annotator"].shape == (3, 3)
        again = edge_scores(counts["thresholds"], *(counts[k] for k in ("cntR", "sumR", "cntP", "sumP")))
    assert again["ods"] == scores["ods"]
    assert 0.3 < scores["ods"]["f"] < 1


def failing():
    raise DataError("i1.png: broken")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_reader_that_fails_is_heard(jobs):
    items = [EdgeItem(f"i{k}", partial(image_of, k), failing if k == 1 else list) for k in range(3)]
    with pytest.raises(DataError, match=r"i1\.png: broken"):
        evaluate_items(iter(items), edge_protocol("ceval", thresholds=3), jobs)


def test_a_process_that_dies_is_explained():
    items = [EdgeItem(f"i{k}", partial(os._exit, 1), list) for k in range(2)]
    with pytest.raises(EdgebenchError, match="fewer jobs"):
        evaluate_items(items, edge_protocol("ceval", thresholds=3), jobs=2)


def test_size_difference_names_both(folders):
    maps, truth = folders
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(maps / "i1.png")
    with pytest.raises(DataError, match=r"i1\.png: 7 x 9 .*truth/i1 has 40 x 51"):
        evaluate_folders(maps, truth, "ceval", thresholds=3)


def test_a_blank_map_scores_zero(folders):
    maps, truth = folders
    for index in range(3):
        Image.fromarray(np.zeros((40, 50 + index), np.uint8)).save(maps / f"i{index}.png")
    scores = evaluate_folders(maps, truth, "seval", thresholds=5).scores()
    assert scores["ods"]["f"] == scores["ois"]["f"] == scores["ap"]["value"] == scores["ac"]["value"] == 0


def test_bad_options_are_named():
    for options, says in (
        ({"name": "sval"}, "protocol: 'sval'"),
        ({"name": "seval", "nms": "canny"}, "nms: 'canny'"),
        ({"name": "seval", "max_distance": -1.0}, "max-distance: -1"),
        ({"name": "seval", "max_distance": 0.75}, "0 to 0.1"),
        ({"name": "seval", "thresholds": 0}, "thresholds"),
    ):
        with pytest.raises(ConfigError, match=says):
            edge_protocol(**options)
    with pytest.raises(ConfigError, match="jobs"):
        evaluate_items([], edge_protocol("seval"), jobs=0)
    with pytest.raises(DataError, match="no image"):
        evaluate_items([], edge_protocol("seval"))
