"""A predict run records how many rounds its reveals took, also when it was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from edgebench.files import write_json
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import NetworkConfig
from edgebench.methods.memo.weights import weight_metadata
from edgebench.plan.methods.memo import MemoPredict
from edgebench.stages.predict import predict
from edgebench.stages.spec import RunSpec


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = MemoNetwork(NetworkConfig(4, (8, 16), 1, 4))
    with torch.no_grad():
        network.unet.conv_out.weight.mul_(5)
    for name in ("weights", "images"):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "run.json", {})
    save_file(network.state_dict(), tmp_path / "weights/weights.safetensors", metadata=weight_metadata(network.config))
    for k in range(3):
        picture = np.random.default_rng(k).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / f"images/{k}.png")
    return with_settings(tmp_path, steps="full")


def with_settings(folder: Path, **settings: Any) -> RunSpec:
    given: dict[str, Any] = {"stage": "predict", "method": "memo", "weights": "w", "dataset": "d", "batch": 1}
    resolved = MemoPredict.model_validate(given | {"frames": 1} | settings)
    return RunSpec(
        {
            "folder": str(folder / "run"),
            "label": "memo",
            "seed": 0,
            "settings": resolved.model_dump(mode="json"),
            "dataset": {"layout": "folder"},
            "inputs": {"dataset": str(folder / "images"), "weights": str(folder / "weights")},
        }
    )


def test_rounds_are_the_mean_over_images(spec: RunSpec, tmp_path: Path) -> None:
    result = predict(spec)
    with np.load(spec.folder / "frames/0.npz") as file:
        first = int(file["order"].max()) + 1
    lines = [line.split("\t") for line in (spec.folder / "work/rounds.tsv").read_text().splitlines()]
    assert [name for name, _ in lines] == ["0", "1", "2"]
    assert float(lines[0][1]) == first
    assert result["rounds"] == pytest.approx(np.mean([float(count) for _, count in lines]))
    assert result["rounds"] > 5  # the 20 % cap alone asks for as many


def test_an_interrupted_run_keeps_its_rounds(spec: RunSpec) -> None:
    whole = predict(spec)["rounds"]
    (spec.folder / "maps/2.png").unlink()
    again = predict(spec)
    assert again["rounds"] == whole
    assert again["seconds_per_image"] > 0


def test_limited_steps_are_never_exceeded(spec: RunSpec, tmp_path: Path) -> None:
    assert predict(with_settings(tmp_path, steps=3))["rounds"] == 3
