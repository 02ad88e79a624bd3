"""`edgebench predict trace`: in one pass, by the first stage alone, and with the picture of how instances emerge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from typer.testing import CliRunner, Result

from edgebench.cli.predict import app
from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.methods.trace.decoder import DecoderConfig, find_levels
from edgebench.methods.trace.extract import ExtractSettings, edge_map, extract
from edgebench.methods.trace.opening import open_backbone
from edgebench.methods.trace.small import load_small, weight_metadata, weight_tensors
from edgebench.methods.trace.student import EdgePredictor, Student
from edgebench.methods.trace.weights import load_student, student_metadata, student_tensors
from edgebench.plan.workbench import Workbench
from edgebench.stages.weights import find_small_backbone, find_weights
from tests.unit.methods.diffusion_folders import save_folder
from tests.unit.methods.test_trace_small import TINY
from tests.unit.methods.test_trace_small import backbone as small_backbone

torch.set_num_threads(1)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(data.chelsea()[100:150, 100:170]).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    made = small_backbone(TINY)
    tensors = weight_tensors(made.network.state_dict(), made.codec)
    save_file(
        {name: each.clone() for name, each in tensors.items()}, tmp_path / "small.safetensors", weight_metadata(TINY)
    )
    return tmp_path / "small.safetensors"


def distilled(path: Path, made: Any, rank: int | None = 2, checkpoint: str | None = None) -> Path:
    config = DecoderConfig(width=8)
    torch.manual_seed(1)
    student = Student(made, config, find_levels(made, config), rank)
    tensors = {name: each.contiguous().clone() for name, each in student_tensors(student.state_dict(), student).items()}
    save_file(tensors, path, student_metadata(student, {"checkpoint": checkpoint} if checkpoint else None))
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(message: str, *arguments: object) -> None:
    """Check that nothing is begun, and why."""
    result = invoke(*arguments)
    assert isinstance(result.exception, EdgebenchError), result.output
    assert message in str(result.exception)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_in_one_pass(photo: Path, tmp_path: Path) -> None:
    weights = distilled(tmp_path / "weights.safetensors", small_backbone(TINY))
    result = invoke("trace", photo, "-o", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 0, result.output
    expected = EdgePredictor(load_student(weights)).predict([pixels(photo)], ["cat"])[0]
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "prediction" / "cat.png"), np.floor(255 * expected))
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "binarized" / "cat.png"), 255 * (expected > 0.5))
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert record["settings"] == {"stage1": False, "device": "cpu", "precision": "fp32"}
    assert record["weights"]["file"] == str(weights.resolve())
    again = invoke("trace", photo, "-o", tmp_path / "out", "--weights", weights)
    assert "1 there already" in again.output
    refused("made differently", "trace", photo, "-o", tmp_path / "out", "--weights", weights, "--precision", "bf16")


def test_the_first_stage_needs_no_distillation(photo: Path, small: Path, tmp_path: Path) -> None:
    result = invoke(
        "trace", photo, "-o", tmp_path / "out", "--stage1", "--backbone", small, "--blocks", "1", "--seed", 4
    )
    assert result.exit_code == 0, result.output
    found = extract(load_small(small), pixels(photo), "cat", 4, ExtractSettings(blocks=(1,)))
    expected = np.floor(255 * edge_map(found.scores, 50, 70))
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "prediction" / "cat.png"), expected)
    assert set(np.unique(pixels(tmp_path / "out" / "binarized" / "cat.png"))) == {0, 255}
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert record["images"]["cat"]["kept"] == found.kept
    assert record["settings"]["blocks"] == [1]
    last = invoke("trace", photo, "-o", tmp_path / "last", "--stage1", "--backbone", small, "--blocks", "-1, 0")
    assert last.exit_code == 0, last.output
    assert json.loads((tmp_path / "last" / "predict.json").read_text())["settings"]["blocks"] == [-1, 0]
    single = invoke("trace", photo, "-o", tmp_path / "one", "--weights", small, "--tau", 99)  # a backbone's own weights
    assert single.exit_code == 0, single.output
    assert json.loads((tmp_path / "one" / "predict.json").read_text())["images"]["cat"]["kept"] == 99


def test_how_instances_emerge(photo: Path, small: Path, tmp_path: Path) -> None:
    weights = distilled(tmp_path / "weights.safetensors", small_backbone(TINY), None)
    for name, arguments in (
        ("stage1", ("--stage1", "--backbone", small)),
        ("pass", ("--weights", weights, "--backbone", small)),
    ):
        result = invoke("trace", photo, "-o", tmp_path / name, "--show-emergence", *arguments)
        assert result.exit_code == 0, result.output
        assert "emergence of instances" in result.output
        assert pixels(tmp_path / name / "emergence" / "cat.png").shape[0] > 300
    plain = invoke("trace", photo, "-o", tmp_path / "plain", "--stage1", "--backbone", small)
    assert plain.exit_code == 0
    written = (tmp_path / each / "prediction" / "cat.png" for each in ("stage1", "plain"))
    assert len({path.read_bytes() for path in written}) == 1
    given = ("trace", photo, "-o", tmp_path / "none", "--show-emergence")
    refused("as it was before distillation", *given, "--weights", weights)
    refused("nothing emerges", *given, "--stage1", "--backbone", small, "--tau", 9)


def test_a_released_model(photo: Path, tmp_path: Path) -> None:
    model = save_folder(tmp_path / "model", "sd35")
    weights = distilled(tmp_path / "weights.safetensors", open_backbone(model), 2, "sd35_large")
    result = invoke("trace", photo, "-o", tmp_path / "out", "--weights", weights, "--backbone", model)
    assert result.exit_code == 0, result.output
    assert pixels(tmp_path / "out" / "prediction" / "cat.png").shape == (50, 70)
    first = invoke(
        "trace", photo, "-o", tmp_path / "first", "--stage1", "--backbone", model, "--size", 32, "--tau", 499
    )
    assert first.exit_code == 0, first.output
    refused(
        "were trained at",
        "trace",
        photo,
        "-o",
        tmp_path / "no",
        "--weights",
        weights,
        "--backbone",
        model,
        "--size",
        32,
    )


def test_what_cannot_be_done_is_said(photo: Path, small: Path, tmp_path: Path, root: Path) -> None:
    given = ("trace", photo, "-o", tmp_path / "out", "--root", root)
    refused("Name --weights of a distillation, or take --stage1", *given)
    refused("has no trained decoder. Add --stage1", *given, "--backbone", small)
    refused("need a pre-trained network", *given, "--stage1")
    refused("neither a weight file", *given, "--weights", "demmo")
    refused("edgebench fetch sd15", *given, "--stage1", "--backbone", "sd15")
    refused("is no self-attention block", *given, "--stage1", "--backbone", small, "--blocks", "7")
    refused("size 48: this network takes squares", *given, "--stage1", "--backbone", small, "--size", "48")
    weights = distilled(tmp_path / "weights.safetensors", small_backbone(TINY))
    refused("blocks and tau: of the first stage alone", *given, "--weights", weights, "--tau", "9", "--blocks", "1")
    assert not (tmp_path / "out").exists()


def test_what_a_scale_trains_is_found_or_told(root: Path, tmp_path: Path) -> None:
    """A scale has a table whose row stands for TRACE; nothing is trained yet here."""
    (tmp_path / "config").symlink_to(root / "config")
    bench = Workbench(tmp_path)
    with pytest.raises(DataError, match="demo: the weights are not here yet"):
        find_weights(bench, "demo", "trace")
    with pytest.raises(DataError, match="demo: its small network is not here yet"):
        find_small_backbone(bench, "demo")
    with pytest.raises(ConfigError, match="paper: TRACE stands on a released network"):
        find_small_backbone(bench, "paper")
