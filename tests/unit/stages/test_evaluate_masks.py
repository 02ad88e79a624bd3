from __future__ import annotations

import json
import os
from functools import partial

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.metrics.masks import DIFFDIS, METRICS, STANDARD, f_curve, score_mask
from edgebench.stages.evaluate_masks import (
    MaskItem,
    evaluate_folders,
    evaluate_items,
    mask_protocol,
    write_counts,
    write_scores,
)

pytest.importorskip("cv2")


def truth_of(index):
    field = gaussian_filter(np.random.default_rng(index).random((40, 50 + index)), 4)
    return (field > np.quantile(field, 0.7)).astype(float)


def prediction_of(index):
    soft = gaussian_filter(truth_of(index), 2) + 0.1 * np.random.default_rng(index).random((40, 50 + index))
    return np.rint(255 * np.clip(soft, 0, 1)) / 255


def save(path, values):
    Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    for index in range(3):
        save(ours / f"i{index}.png", prediction_of(index))
        save(theirs / f"i{index}.png", truth_of(index))
    return ours, theirs


@pytest.mark.parametrize("protocol", [STANDARD, DIFFDIS], ids=lambda each: each.name)
def test_scores_are_those_of_the_image_function(folders, protocol):
    evaluation = evaluate_folders(folders[0], folders[1], protocol.name)
    assert evaluation.ids == ["i0", "i1", "i2"]
    expected = [score_mask(prediction_of(index), truth_of(index), protocol) for index in range(3)]
    for index, one in enumerate(expected):
        assert evaluation.per_image[index] == one.values
        np.testing.assert_array_equal(evaluation.histograms[index], one.histogram)
    for name in ("adaptive_f", "weighted_f", "s_measure", "adaptive_e", "mae", "hce", "biou"):
        assert evaluation.scores()[name] == pytest.approx(np.mean([one.values[name] for one in expected]))


def test_more_processes_and_kept_skeletons_give_the_same_files(folders, tmp_path):
    for jobs in (1, 2):
        evaluation = evaluate_folders(
            folders[0], folders[1], jobs=jobs, skeletons=None if jobs == 1 else tmp_path / "skeletons"
        )
        write_scores(tmp_path / f"{jobs}.json", evaluation)
        write_counts(tmp_path / f"{jobs}.npz", evaluation)
    assert len(list((tmp_path / "skeletons").iterdir())) == 3
    again = evaluate_folders(folders[0], folders[1], skeletons=tmp_path / "skeletons")
    assert again.per_image == evaluation.per_image
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    with np.load(tmp_path / "1.npz") as one, np.load(tmp_path / "2.npz") as two:
        assert set(one) == set(two)
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


def test_files_hold_what_tables_and_figures_need(folders, tmp_path):
    evaluation = evaluate_folders(folders[0], folders[1])
    write_scores(tmp_path / "scores.json", evaluation)
    write_counts(tmp_path / "counts.npz", evaluation)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert tuple(scores["dataset"]) == METRICS
    assert list(scores["per_image"]) == ["i0", "i1", "i2"]
    assert tuple(scores["per_image"]["i1"]) == METRICS
    assert scores["protocol"]["name"] == "standard"
    assert (scores["n_images"], scores["version"]) == (3, 1)
    assert scores["opencv"].startswith("4.")
    assert 0.5 < scores["dataset"]["max_f"] < 1
    with np.load(tmp_path / "counts.npz", allow_pickle=False) as counts:
        assert counts["ids"].tolist() == ["i0", "i1", "i2"]
        curve = f_curve(counts["histograms"], STANDARD).mean(axis=0)
        assert counts["mae"].tolist() == [each["mae"] for each in scores["per_image"].values()]
    assert curve.max() == scores["dataset"]["max_f"]


def test_undefined_scores_are_null_and_nan(tmp_path):
    blank = MaskItem("a", partial(np.zeros, (20, 20)), partial(np.zeros, (20, 20)))
    evaluation = evaluate_items([blank], DIFFDIS)
    write_scores(tmp_path / "scores.json", evaluation)
    write_counts(tmp_path / "counts.npz", evaluation)
    scores = json.loads((tmp_path / "scores.json").read_text())
    for part in (scores["dataset"], scores["per_image"]["a"]):
        assert part["biou"] is None
        assert part["max_f"] is None
        assert part["s_measure"] == 1
    with np.load(tmp_path / "counts.npz") as counts:
        assert np.isnan(counts["biou"]).all()


def test_missing_files_are_passed_over_only_if_told_to(folders, tmp_path):
    ours, theirs = folders
    (ours / "i1.png").unlink()
    save(ours / "extra.png", truth_of(0))
    with pytest.raises(DataError, match=r"no prediction for 1 image .i1.*no mask for 1 image .extra"):
        evaluate_folders(ours, theirs)
    evaluation = evaluate_folders(ours, theirs, skip_missing=True)
    write_scores(tmp_path / "scores.json", evaluation)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert list(scores["per_image"]) == ["i0", "i2"]
    assert (scores["without_prediction"], scores["without_truth"]) == (["i1"], ["extra"])


def test_another_size_is_refused_or_resized_as_the_protocol_says(folders):
    ours, theirs = folders
    small = Image.open(ours / "i1.png").resize((25, 20))
    small.save(ours / "i1.png")
    with pytest.raises(DataError, match=r"i1\.png: 20 x 25 .*theirs/i1\.png has 40 x 51"):
        evaluate_folders(ours, theirs)
    resized = np.asarray(small.resize((51, 40))) / 255
    evaluation = evaluate_folders(ours, theirs, "diffdis")
    assert evaluation.per_image[1] == score_mask(resized, truth_of(1), DIFFDIS).values


def test_masks_of_zeros_and_ones_are_refused_where_nothing_would_count(folders):
    ours, theirs = folders
    save(theirs / "i1.png", truth_of(1) / 255)
    with pytest.raises(DataError, match=r"i1\.png: its brightest value is 1 of 255"):
        evaluate_folders(ours, theirs)
    # Half of the brightest level is the border there.
    expected = score_mask(prediction_of(1), truth_of(1), DIFFDIS).values
    assert evaluate_folders(ours, theirs, "diffdis").per_image[1] == expected


def failing():
    raise DataError("i1.png: broken")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_reader_that_fails_is_heard(jobs):
    items = [
        MaskItem(f"i{k}", partial(prediction_of, k), failing if k == 1 else partial(truth_of, k)) for k in range(3)
    ]
    with pytest.raises(DataError, match=r"i1\.png: broken"):
        evaluate_items(iter(items), STANDARD, jobs)


def test_a_process_that_dies_is_explained():
    items = [MaskItem(f"i{k}", partial(os._exit, 1), partial(truth_of, k)) for k in range(2)]
    with pytest.raises(EdgebenchError, match="fewer jobs"):
        evaluate_items(items, STANDARD, jobs=2)


def test_images_are_read_as_they_are_needed():
    """Constant memory: with one process, an image is read when the one before is done."""
    alive = []

    def read(index):
        alive.append(index)
        return truth_of(index)

    def items():
        for index in range(4):
            assert len(alive) == 2 * index
            yield MaskItem(f"i{index}", partial(read, index), partial(read, index))

    evaluation = evaluate_items(items(), STANDARD)
    assert evaluation.histograms.nbytes == 4 * 2048


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match="protocol: 'dis'"):
        mask_protocol("dis")
    with pytest.raises(ConfigError, match="jobs"):
        evaluate_items([], STANDARD, jobs=0)
    with pytest.raises(DataError, match="no image"):
        evaluate_items([], STANDARD)
