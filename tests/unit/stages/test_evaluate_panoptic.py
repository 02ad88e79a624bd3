from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from edgebench.errors import ConfigError, DataError
from edgebench.metrics.panoptic import panoptic_quality
from edgebench.stages.evaluate_panoptic import evaluate_panoptic, write_scores
from tests.unit.metrics import plain_panoptic
from tests.unit.panoptic_files import Drawn, disturbed, random_drawn, write_panoptic

COUNT = 5
Files = tuple[Path, Path, Path, Path]


@pytest.fixture
def truths():
    return {100 + k: random_drawn(k, cells=20) for k in range(COUNT)}


@pytest.fixture
def predictions(truths):
    return {key: disturbed(truth) for key, truth in truths.items()}


@pytest.fixture
def files(tmp_path, truths, predictions):
    return *write_panoptic(tmp_path, "ours", predictions), *write_panoptic(tmp_path, "truth", truths)


def test_counts_are_those_of_all_images(files, truths, predictions):
    evaluation = evaluate_panoptic(*files)
    assert evaluation.ids == [str(key) for key in truths]
    expected: dict[int, np.ndarray] = {}
    for key, truth in truths.items():
        ours = predictions[key]
        counts = plain_panoptic.count_segments(ours.ids, truth.ids, ours.classes, truth.classes, truth.crowds)
        for category, count in counts.items():
            expected[category] = expected.get(category, 0) + np.array(count)
    assert {key: astuple(each) for key, each in evaluation.counts.items()} == {
        key: pytest.approx(each) for key, each in expected.items()
    }
    scores = evaluation.scores()
    quality = panoptic_quality(evaluation.counts, {1, 18})
    assert {name: scores[name] for name in ("all", "things", "stuff")} == {
        name: quality[name] for name in ("all", "things", "stuff")
    }
    assert scores["all"]["n"] == 3
    assert scores["per_class"]["187"]["name"] == "sky"
    assert scores["per_class"]["187"]["pq"] == quality["per_class"][187]["pq"]
    assert scores["per_class"]["187"]["fn"] == evaluation.counts[187].fn


def test_more_processes_give_the_same_file(files: Files, tmp_path: Path):
    for jobs in (1, 2, 3):
        write_scores(tmp_path / f"{jobs}.json", evaluate_panoptic(*files, jobs))
    written = (tmp_path / "1.json").read_bytes()
    assert written == (tmp_path / "2.json").read_bytes() == (tmp_path / "3.json").read_bytes()
    content = json.loads(written)
    assert list(content) == ["all", "things", "stuff", "per_class", "n_images", "without_truth", "version"]
    assert list(content["all"]) == ["pq", "sq", "rq", "n"]
    assert content["n_images"] == COUNT


def test_an_image_without_a_prediction_is_named_and_one_without_truth_passed_over(tmp_path, truths, predictions):
    some = dict(list(predictions.items())[1:])
    ours = write_panoptic(tmp_path, "ours", some)
    theirs = write_panoptic(tmp_path, "truth", truths)
    with pytest.raises(DataError, match=r"ours\.json: no prediction for 1 of 5 images \(100\) of .*truth\.json"):
        evaluate_panoptic(*ours, *theirs)
    fewer = write_panoptic(tmp_path, "fewer", dict(list(truths.items())[2:]))
    evaluation = evaluate_panoptic(*ours, *fewer)
    assert evaluation.without_truth == ["101"]
    assert evaluation.ids == ["102", "103", "104"]


def test_an_image_number_may_be_written_as_text(tmp_path, truths, predictions):
    ours = write_panoptic(tmp_path, "ours", {str(key): each for key, each in predictions.items()})
    assert evaluate_panoptic(*ours, *write_panoptic(tmp_path, "truth", truths)).scores()["all"]["pq"] > 0.1


@pytest.mark.parametrize("jobs", [1, 2])
def test_another_size_is_named(tmp_path, truths, predictions, jobs):
    first = predictions[100]
    narrow = first.ids[:, :70]
    present = set(np.unique(narrow).tolist())
    predictions[100] = Drawn(narrow, {key: value for key, value in first.classes.items() if key in present})
    files = *write_panoptic(tmp_path, "ours", predictions), *write_panoptic(tmp_path, "truth", truths)
    with pytest.raises(DataError, match=r"ours/100\.png: 60 x 70 pixels .*truth/100\.png has 60 x 80") as error:
        evaluate_panoptic(*files, jobs)
    assert "image 100" in str(error.value)


def test_categories_are_those_of_the_ground_truth(files):
    ours = json.loads(files[0].read_text())
    ours["categories"].append({"id": 5, "name": "bus", "isthing": 1})
    ours["annotations"][0]["segments_info"][0]["category_id"] = 5
    files[0].write_text(json.dumps(ours))
    with pytest.raises(DataError, match=r"ours\.json: image 100: segment \d+: unknown category_id 5"):
        evaluate_panoptic(*files)


def test_no_processes(files: Files):
    with pytest.raises(ConfigError, match="jobs"):
        evaluate_panoptic(*files, 0)
