from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgebench.cli.evaluate import app
from edgebench.errors import DataError


@pytest.fixture
def arguments(tmp_path):
    for name, level in (("maps", 200), ("truth", 255)):
        (tmp_path / name).mkdir()
        drawn = np.zeros((30, 40), np.uint8)
        drawn[12, 8:32] = level
        Image.fromarray(drawn).save(tmp_path / name / "a.png")
    return ["edges", "--predictions", f"{tmp_path / 'maps'}", "--ground-truth", f"{tmp_path / 'truth'}"]


def test_scores_are_written_and_shown(arguments, tmp_path):
    output, counts = tmp_path / "out" / "scores.json", tmp_path / "counts.npz"
    options = ["--protocol", "ceval", "--output", str(output), "--counts", str(counts), "--thresholds", "9"]
    result = CliRunner().invoke(app, arguments + options, catch_exceptions=False)
    assert result.exit_code == 0
    for word in ("ODS", "OIS", "AP", "AC", "1.0000", "ceval, 1 image", "scores.json", "counts.npz"):
        assert word in result.stdout
    scores = json.loads(output.read_text())
    assert scores["ods"]["f"] == 1
    assert scores["nms"] == {"name": "none"}
    assert scores["thresholds"] == 9
    with np.load(counts) as stored:
        assert stored["ids"].tolist() == ["a"]


def test_seval_suppresses_unless_told_otherwise(arguments, tmp_path):
    for nms, expected in (([], "dollar"), (["--nms", "none"], "none")):
        output = tmp_path / f"{expected}.json"
        options = ["--protocol", "seval", "--output", str(output), *nms]
        assert CliRunner().invoke(app, arguments + options).exit_code == 0
        assert json.loads(output.read_text())["nms"]["name"] == expected


def test_errors_are_for_people(arguments, tmp_path):
    (tmp_path / "truth" / "b.png").write_bytes((tmp_path / "truth" / "a.png").read_bytes())
    output = tmp_path / "scores.json"
    result = CliRunner().invoke(app, [*arguments, "--protocol", "seval", "--output", str(output)])
    assert isinstance(result.exception, DataError)
    assert "no edge map for 1 image (b)" in str(result.exception)
    assert not output.exists()


def test_unknown_protocol_and_missing_option_exit_with_2(arguments):
    assert CliRunner().invoke(app, [*arguments, "--protocol", "x", "--output", "s.json"]).exit_code == 2
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_help_teaches():
    text = CliRunner().invoke(app, ["edges", "--help"], env={"COLUMNS": "200"}).stdout
    for word in ("ODS", "Example", "ucm2", "0.011 on NYUD", "thick lines cost precision"):
        assert word in text


@pytest.fixture
def mask_arguments(tmp_path):
    pytest.importorskip("cv2")
    for name, level in (("ours", 200), ("theirs", 255)):
        (tmp_path / name).mkdir()
        drawn = np.zeros((30, 40), np.uint8)
        drawn[8:22, 8:32] = level
        Image.fromarray(drawn).save(tmp_path / name / "a.png")
    return ["masks", "--predictions", f"{tmp_path / 'ours'}", "--ground-truth", f"{tmp_path / 'theirs'}"]


@pytest.mark.parametrize("protocol", ["standard", "diffdis"])
def test_mask_scores_are_written_and_shown(mask_arguments, tmp_path, protocol):
    output, counts = tmp_path / "out" / "scores.json", tmp_path / "counts.npz"
    options = ["--protocol", protocol, "--output", str(output), "--counts", str(counts)]
    options += ["--skeletons", str(tmp_path / "skeletons")]
    result = CliRunner().invoke(app, mask_arguments + options, catch_exceptions=False)
    assert result.exit_code == 0
    for word in ("weighted_f", "biou", "1.0000", f"{protocol}, 1 image", "scores.json", "counts.npz"):
        assert word in result.stdout
    scores = json.loads(output.read_text())
    assert scores["dataset"]["adaptive_f"] == 1
    assert scores["per_image"]["a"]["mae"] == 0
    assert len(list((tmp_path / "skeletons").iterdir())) == 1
    with np.load(counts) as stored:
        assert stored["ids"].tolist() == ["a"]


def test_a_missing_mask_stops_the_command_unless_told_to_go_on(mask_arguments, tmp_path):
    (tmp_path / "theirs" / "b.png").write_bytes((tmp_path / "theirs" / "a.png").read_bytes())
    output = tmp_path / "scores.json"
    options = [*mask_arguments, "--protocol", "standard", "--output", str(output)]
    result = CliRunner().invoke(app, options)
    assert isinstance(result.exception, DataError)
    assert "no prediction for 1 image (b)" in str(result.exception)
    assert not output.exists()
    result = CliRunner().invoke(app, [*options, "--skip-missing"])
    assert result.exit_code == 0
    assert "masks without a prediction (1): b" in result.stdout
    assert json.loads(output.read_text())["without_prediction"] == ["b"]


def test_mask_help_teaches():
    text = CliRunner().invoke(app, ["masks", "--help"], env={"COLUMNS": "200"}).stdout
    for word in ("HCE", "Example", "cut at one half", "--skip-missing", "smaller"):
        assert word in text
