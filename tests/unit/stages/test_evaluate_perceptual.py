"""FID and LPIPS of a predict run, with networks of random weights in files of the published names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgebench.data.adapters.bsds_mat import write_bsds_annotation
from edgebench.errors import DataError
from edgebench.files import write_json
from edgebench.metrics.perceptual_networks import ALEX_CHANNELS, AlexFeatures, InceptionFeatures
from edgebench.stages.evaluate import evaluate
from edgebench.stages.spec import RunSpec

SHAPE = (40, 48)
IDS = ["a", "b"]


def lines(seed: int) -> np.ndarray:
    drawing = np.zeros(SHAPE, bool)
    drawing[np.random.default_rng(seed).integers(5, 35, 3)] = True
    return drawing


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint folders `inception` and `lpips` as a fetch leaves them."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    for name in ("inception", "lpips"):
        (folder / name).mkdir()
        write_json(folder / name / "run.json", {})
    classifier = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save(InceptionFeatures().state_dict() | classifier, folder / "inception/pt_inception-2015-12-05-6726825d.pth")
    torch.save(
        AlexFeatures().state_dict() | {"classifier.1.bias": torch.zeros(9)}, folder / "lpips/alexnet-owt-7be5be79.pth"
    )
    linear = {f"lin{k}.model.1.weight": torch.rand(1, channels, 1, 1) for k, channels in enumerate(ALEX_CHANNELS)}
    torch.save(linear, folder / "lpips/alex.pth")
    return folder


@pytest.fixture
def spec(weights: Path, tmp_path: Path) -> RunSpec:
    """A predict run whose maps are the first annotators' drawings, at three quarters of full strength."""
    for k, image_id in enumerate(IDS):
        for part in ("images/test", "groundTruth/test", "maps"):
            (tmp_path / part).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SHAPE[::-1]).save(tmp_path / f"images/test/{image_id}.png")
        drawings = [lines(k), lines(10 + k)]
        write_bsds_annotation(tmp_path / f"groundTruth/test/{image_id}.mat", [np.ones(SHAPE, int)] * 2, drawings)
        Image.fromarray((drawings[0] * 191).astype(np.uint8)).save(tmp_path / f"maps/{image_id}.png")
    write_json(tmp_path / "run.json", {})
    (tmp_path / "scored").mkdir()
    content = {
        "folder": str(tmp_path / "scored"),
        "settings": {"split": "test", "limit": None},
        "dataset": {"layout": "bsds"},
        "inputs": {"dataset": str(tmp_path), "predictions": str(tmp_path)}
        | {name: str(weights / name) for name in ("inception", "lpips")},
        "protocol": {
            "method": "perceptual",
            "columns": "",
            "map": "probability",
            "networks": {"inception": "inception_fid", "lpips": "lpips_alex"},
        },
    }
    return RunSpec(content)


def changed(spec: RunSpec, **protocol: Any) -> RunSpec:
    return RunSpec({**spec.content, "protocol": {**spec.content["protocol"], **protocol}})


def test_scores_are_written_with_a_note_on_few_images(spec: RunSpec) -> None:
    result = evaluate(spec)
    assert result["n_images"] == 2
    scores = json.loads((spec.folder / "scores.json").read_text())
    assert set(scores["columns"]) == {"fid", "lpips"}
    assert (scores["scores"]["fid"]["maps"], scores["scores"]["fid"]["drawings"]) == (2, 4)
    assert "fewer than its 2048 features" in scores["scores"]["fid"]["note"]
    with np.load(spec.folder / "per_image.npz") as file:
        assert file["ids"].tolist() == IDS
        assert float(file["lpips"].mean()) == pytest.approx(scores["columns"]["lpips"])


def test_a_map_cut_at_one_half_equals_its_drawing(spec: RunSpec, tmp_path: Path) -> None:
    for k, image_id in enumerate(IDS):  # both annotators drew the same
        write_bsds_annotation(tmp_path / f"groundTruth/test/{image_id}.mat", [np.ones(SHAPE, int)] * 2, [lines(k)] * 2)
    columns = evaluate(changed(spec, columns="binary", map="binary"))["columns"]
    assert columns["binary_lpips"] == pytest.approx(0, abs=1e-9)
    # Two maps against each drawing twice: the same pictures, of which only the unbiased covariance differs.
    soft = evaluate(spec)["columns"]
    assert soft["lpips"] > 1e-4
    assert soft["fid"] > columns["binary_fid"] >= 0


def test_missing_weights_name_file_definition_and_command(spec: RunSpec, tmp_path: Path) -> None:
    inputs = {**spec.content["inputs"], "lpips": str(tmp_path / "nowhere")}
    with pytest.raises(
        DataError,
        match=r"nowhere/alexnet-owt-7be5be79\.pth: .*config/checkpoints/lpips_alex\.yaml.*`edgebench fetch lpips_alex`",
    ):
        evaluate(RunSpec({**spec.content, "inputs": inputs}))


def test_wrong_weights_are_named(spec: RunSpec, weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in (weights / "lpips").iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    wrong = RunSpec({**spec.content, "inputs": {**spec.content["inputs"], "lpips": str(other)}})
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, other / "alexnet-owt-7be5be79.pth")
    with pytest.raises(DataError, match=r"9 tensors are missing or of another shape, the first is 'features\.0\.bias'"):
        evaluate(wrong)
    (other / "alexnet-owt-7be5be79.pth").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"7be5be79\.pth: not a readable weight file"):
        evaluate(wrong)


def test_a_map_of_another_size_is_named(spec: RunSpec, tmp_path: Path) -> None:
    Image.new("L", (30, 30)).save(tmp_path / "maps/a.png")
    with pytest.raises(DataError, match=r"maps/a\.png: 30 x 30 pixels .* 40 x 48"):
        evaluate(spec)
