from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgebench.cli.app import app as main_app
from edgebench.cli.evaluate import app
from edgebench.errors import DataError, EdgebenchError
from tests.unit.panoptic_files import Drawn, disturbed, random_drawn, write_panoptic


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


def says(arguments, tmp_path, *options, protocol="standard"):
    """What the command says when it ends with a mistake; it leaves no scores."""
    output = tmp_path / "scores.json"
    result = CliRunner().invoke(app, [*arguments, "--protocol", protocol, "--output", str(output), *options])
    assert isinstance(result.exception, EdgebenchError)
    assert not output.exists()
    return str(result.exception)


def noise(shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:60]), "truncated"),
        (lambda file: file.write_bytes(b""), "not a readable PNG"),
        (lambda file: Image.fromarray(noise((30, 40, 3))).save(file), "a colour picture"),
        (lambda file: Image.fromarray(noise((30, 40, 4))).save(file), "transparent"),
        (lambda file: Image.fromarray(noise((30, 41))).save(file), "30 x 41 pixels (height x width)"),
        (lambda file: np.save(file.rename(file.with_suffix(".npy")), np.full((30, 40), np.nan)), "not finite"),
        (lambda file: file.rename(file.with_suffix("")).with_suffix(".png").mkdir(), "no predicted masks"),
        (lambda file: Image.fromarray(noise((30, 40))).save(file.with_suffix(".bmp")), "both stand for a"),
        (lambda file: file.rename(file.with_name("A.png")), "upper and lower case count as different"),
        (lambda file: file.unlink(), "no predicted masks"),
    ],
    ids=["cut", "empty", "colour", "transparent", "size", "nan", "folder", "twice", "case", "no file"],
)
def test_a_bad_prediction_is_named_and_nothing_written(mask_arguments, tmp_path, wrong, words):
    wrong(tmp_path / "ours" / "a.png")
    message = says(mask_arguments, tmp_path)
    assert words in message
    assert str(tmp_path / "ours") in message


def test_a_bad_mask_is_named_under_both_protocols(mask_arguments, tmp_path):
    Image.fromarray(noise((30, 40, 3))).save(tmp_path / "theirs" / "a.png")
    for protocol in ("standard", "diffdis"):
        assert f"{tmp_path / 'theirs' / 'a.png'}: a colour picture" in says(mask_arguments, tmp_path, protocol=protocol)


def test_16_bits_and_another_kind_of_file_change_nothing(mask_arguments, tmp_path):
    outputs = [tmp_path / "8.json", tmp_path / "16.json"]
    prediction = tmp_path / "ours" / "a.png"
    for output in outputs:
        result = CliRunner().invoke(app, [*mask_arguments, "--protocol", "standard", "--output", str(output)])
        assert result.exit_code == 0
        if prediction.exists():
            levels = np.asarray(Image.open(prediction))
            Image.fromarray(levels * np.uint16(257)).save(prediction.with_suffix(".tif"))
            prediction.unlink()
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.parametrize("protocol", ["standard", "diffdis"])
def test_blank_truth_has_scores_and_what_is_undefined_is_a_dash(mask_arguments, tmp_path, protocol):
    for folder in ("ours", "theirs"):
        Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / folder / "a.png")
    output = tmp_path / "scores.json"
    result = CliRunner().invoke(app, [*mask_arguments, "--protocol", protocol, "--output", str(output)])
    assert result.exit_code == 0
    scores = json.loads(output.read_text())["dataset"]
    assert scores["biou"] is None
    assert (scores["mae"], scores["hce"], scores["s_measure"]) == (0, 0, 1)
    assert any(line.split()[-2:] == ["-", "│"] for line in result.stdout.splitlines() if "biou" in line)


def test_what_cannot_be_written_is_found_before_the_work(mask_arguments, tmp_path, monkeypatch):
    monkeypatch.setattr("edgebench.stages.evaluate_masks.evaluate_folders", lambda *_: pytest.fail("worked in vain"))
    (tmp_path / "file").touch()
    for option, place, words in (
        ("--output", tmp_path, "is a folder or a device, not a file"),
        ("--output", tmp_path / "file" / "scores.json", "could not be written"),
        ("--counts", tmp_path, "is a folder or a device, not a file"),
    ):
        assert words in says(mask_arguments, tmp_path, option, str(place))


def test_skeletons_need_a_folder(mask_arguments, tmp_path):
    (tmp_path / "file").touch()
    assert "is a file, where a folder" in says(mask_arguments, tmp_path, "--skeletons", str(tmp_path / "file"))


def test_scores_and_counts_need_two_names(mask_arguments, tmp_path):
    place = str(tmp_path / "one")
    assert "Give two names" in says(mask_arguments, tmp_path, "--output", place, "--counts", place)


@pytest.mark.parametrize("what", ["edges", "masks"])
def test_help_says_how_files_are_named(what):
    """Angle brackets would be taken for markup, and vanish."""
    assert "ID.png" in CliRunner().invoke(main_app, ["evaluate", what, "--help"], env={"COLUMNS": "200"}).output


def test_no_process_is_too_few(mask_arguments, tmp_path):
    assert "at least 1 is needed, not 0" in says(mask_arguments, tmp_path, "--jobs", "0")


def test_masks_scored_against_themselves_are_remarked(mask_arguments, tmp_path):
    same = [*mask_arguments[:-1], f"{tmp_path / 'ours'}/../ours"]
    result = CliRunner().invoke(app, [*same, "--protocol", "standard", "--output", str(tmp_path / "scores.json")])
    assert result.exit_code == 0
    assert "scored against themselves" in result.stderr
    result = CliRunner().invoke(
        app, [*mask_arguments, "--protocol", "standard", "--output", str(tmp_path / "scores.json")]
    )
    assert "themselves" not in result.stderr


@pytest.fixture
def panoptic_arguments(tmp_path):
    truth = random_drawn(3)
    names = (("ours", disturbed(truth)), ("truth", truth))
    ours, theirs = (write_panoptic(tmp_path, name, {1: drawn}) for name, drawn in names)
    options = ("--predictions", "--prediction-dir", "--ground-truth", "--ground-truth-dir")
    return ["panoptic", *(str(part) for pair in zip(options, (*ours, *theirs), strict=True) for part in pair)]


@pytest.mark.parametrize("jobs", [[], ["--jobs", "2"]], ids=["one", "two"])
def test_panoptic_scores_are_written_and_shown(panoptic_arguments, tmp_path, jobs):
    output = tmp_path / "out" / "scores.json"
    result = CliRunner().invoke(app, [*panoptic_arguments, *jobs, "--output", str(output)], catch_exceptions=False)
    assert result.exit_code == 0
    scores = json.loads(output.read_text())
    for word in ("1 image", "PQ", "things", "stuff", f"{scores['all']['pq']:.4f}", "scores.json"):
        assert word in result.stdout
    assert 0 < scores["all"]["pq"] < 1


def test_panoptic_without_things_shows_a_dash(tmp_path):
    sky = write_panoptic(tmp_path, "sky", {1: Drawn(np.ones((4, 4)), {1: 187})})
    output = tmp_path / "scores.json"
    options = ["--predictions", "--prediction-dir", "--ground-truth", "--ground-truth-dir"]
    paths = [str(part) for pair in zip(options, sky * 2, strict=True) for part in pair]
    result = CliRunner().invoke(app, ["panoptic", *paths, "--output", str(output)], catch_exceptions=False)
    assert "scored against itself" in result.stderr
    assert " - " in result.stdout
    scores = json.loads(output.read_text())
    assert scores["things"] == {"pq": None, "sq": None, "rq": None, "n": 0}
    assert scores["stuff"]["pq"] == 1


def test_panoptic_errors_leave_no_file_and_inputs_alone(panoptic_arguments, tmp_path):
    output = tmp_path / "scores.json"
    given = (tmp_path / "truth.json").read_bytes()
    result = CliRunner().invoke(app, [*panoptic_arguments, "--output", str(tmp_path / "truth.json")])
    assert "as input and as output" in str(result.exception)
    assert (tmp_path / "truth.json").read_bytes() == given
    (tmp_path / "ours" / "1.png").unlink()
    result = CliRunner().invoke(app, [*panoptic_arguments, "--output", str(output)])
    assert isinstance(result.exception, DataError)
    assert "1 of 1 PNG files" in str(result.exception)
    assert not output.exists()


def test_panoptic_help_teaches():
    text = CliRunner().invoke(app, ["panoptic", "--help"], env={"COLUMNS": "200"}).stdout
    for word in ("PQ", "Example", "R + 256 G + 65536 B", "Void and crowd", "isthing"):
        assert word in text
