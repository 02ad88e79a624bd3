"""`edgebench predict tokencut`, `maskcut` and `promerge`: what a person types, and what comes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from edgebench.cli.predict import app
from edgebench.data.instances import read_instances
from edgebench.errors import DataError
from tests.unit.stages.test_predict_unsupervised import picture, small_vit

torch.set_num_threads(1)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for seed, size in enumerate(((64, 64), (50, 80))):
        Image.fromarray(picture(size, seed)[0]).save(tmp_path / "photos" / f"p{seed}.png")
    Image.new("RGB", (40, 40), "grey").save(tmp_path / "photos" / "grey.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("method", ["tokencut", "maskcut", "promerge"])
def test_objects_without_a_network(photos: Path, tmp_path: Path, method: str) -> None:
    out = tmp_path / "out"
    arguments = [method, str(photos), "-o", str(out), "--dino", "none", "--size", "96", "--crf"]
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert "3 overlays made" in done.output
    for seed, size in enumerate(((64, 64), (50, 80))):
        instances = read_instances(out / "instances" / f"p{seed}.json")
        assert instances.size == size
        assert instances.items
        with Image.open(out / "overlay" / f"p{seed}.png") as shown:
            assert shown.size == size[::-1]
    record = json.loads((out / "predict.json").read_text())
    assert record["method"] == method
    assert record["weights"] is None
    assert record["settings"]["crf"]["iterations"] == 10
    assert record["images"]["p0"]["objects"] == len(read_instances(out / "instances" / "p0.json").items)
    assert "3 there already" in run(*arguments).output


def test_objects_with_a_network(photos: Path, tmp_path: Path) -> None:
    small_vit().save_pretrained(tmp_path / "dino")
    arguments = ["maskcut", str(photos), "-o", str(tmp_path / "out"), "--size", "96", "--device", "cpu"]
    done = run(*arguments, "--dino", str(tmp_path / "dino"), "--rounds", "2")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert record["weights"]["file"].endswith("model.safetensors")
    assert record["settings"]["rounds"] == 2


def test_a_network_that_is_not_here_is_named(photos: Path, tmp_path: Path, root: Path) -> None:
    done = run("promerge", str(photos), "-o", str(tmp_path / "out"), "--root", str(root))
    assert isinstance(done.exception, DataError)
    assert "edgebench fetch dino_vitb8" in str(done.exception)
