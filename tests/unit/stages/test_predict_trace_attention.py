"""TRACE's first stage through the predict stage, on folders of all five families and on a small backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from edgebench.errors import ConfigError, EdgebenchError
from edgebench.files import read_json, write_json
from edgebench.methods.codec import PatchCodec
from edgebench.methods.trace import extract as module
from edgebench.methods.trace.diffusion import FamilyName
from edgebench.methods.trace.diffusion_loading import load_backbone
from edgebench.methods.trace.extract import ExtractSettings, edge_map, extract
from edgebench.methods.trace.label_files import read_labels
from edgebench.methods.trace.small import SmallBackbone, SmallConfig, SmallTransformer, weight_metadata, weight_tensors
from edgebench.plan.methods import settings_class
from edgebench.stages.predict import predict
from edgebench.stages.run import carry_out
from edgebench.stages.spec import RunSpec
from tests.unit.methods.diffusion_folders import save_folder
from tests.unit.methods.trace_encoders import random_network, save

torch.set_num_threads(1)
SIZES = {"a": (40, 60), "b": (64, 33), "c": (20, 20)}
FEW = {"taus": [0, 99, 499, 999]}


def scene(height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(y - height / 2, x - width / 2) < min(height, width) / 3
    return (np.where(inside[..., None], 180, 60) + rng.integers(-40, 40, (height, width, 3))).astype(np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in get_args(FamilyName):
        write_json(save_folder(folder / family, family) / "run.json", {})
    torch.manual_seed(0)
    config = SmallConfig(size=32, layers=2, heads=2, head_width=8)
    small = SmallBackbone(SmallTransformer(config), PatchCodec.fit([scene(40, 40, 9)], config.factor, config.channels))
    (folder / "small").mkdir()
    save_file(
        weight_tensors(small.network.state_dict(), small.codec),
        folder / "small" / "weights.safetensors",
        metadata=weight_metadata(config),
    )
    write_json(folder / "small" / "run.json", {})
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for kind in ("im", "gt"):
        (tmp_path / "data" / "DIS-TR" / kind).mkdir(parents=True)
    for seed, (name, size) in enumerate(SIZES.items()):
        Image.fromarray(scene(*size, seed)).save(tmp_path / "data" / "DIS-TR" / "im" / f"{name}.jpg")
        Image.fromarray(np.zeros(size, np.uint8)).save(tmp_path / "data" / "DIS-TR" / "gt" / f"{name}.png")
    write_json(tmp_path / "data" / "run.json", {})
    return tmp_path


def spec(inputs: Path, model: Path, out: str = "out", /, seed: int = 0, **settings: Any) -> RunSpec:
    role = "pretrained" if model.name == "small" else "backbone"
    chosen = {
        "stage": "predict",
        "method": "trace_attention",
        "dataset": "dis5k",
        role: "some",
        "device": "cpu",
        **FEW,
        **settings,
    }
    resolved = settings_class("predict", "trace_attention", "a test").model_validate(chosen)
    return RunSpec(
        {
            "folder": str(inputs / out),
            "label": out,
            "stage": "predict",
            "seed": seed,
            "settings": resolved.model_dump(mode="json", exclude={"backbone", "pretrained"}),
            "inputs": {"dataset": str(inputs / "data"), role: str(model)},
            "dataset": {"name": "dis5k", "layout": "dis5k"},
            "resources": {},
        }
    )


def carried_out(planned: RunSpec, inputs: Path) -> dict[str, Any]:
    write_json(inputs / "plan.json", {**planned.content, "id": "0", "role": "predict", "version": 1, "scale": "demo"})
    return read_json(carry_out(inputs / "plan.json") / "run.json")


def files(folder: Path) -> dict[str, bytes]:
    found = [*folder.glob("maps/*"), *folder.glob("labels/*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(found)}


@pytest.mark.parametrize("family", get_args(FamilyName))
def test_every_family(inputs: Path, models: Path, family: FamilyName) -> None:
    record = carried_out(spec(inputs, models / family, size=64, guard_below=0.9), inputs)
    expected_files = [file for name in SIZES for file in (f"maps/{name}.png", f"labels/{name}.npz")]
    assert set(files(inputs / "out")) == set(expected_files)
    backbone = load_backbone(models / family, 64)
    how = ExtractSettings(taus=(0, 99, 499, 999), guard_below=0.9)
    kept: dict[str, int] = {}
    for name, size in SIZES.items():
        image = np.array(Image.open(inputs / "data" / "DIS-TR" / "im" / f"{name}.jpg"))
        expected = extract(backbone, image, name, 0, how)
        told = read_labels(inputs / "out" / "labels" / f"{name}.npz")
        np.testing.assert_array_equal(told.scores, expected.scores.numpy())
        np.testing.assert_array_equal(told.labels, expected.labels.labels.numpy())
        written = np.asarray(Image.open(inputs / "out" / "maps" / f"{name}.png"))
        np.testing.assert_array_equal(written, np.floor(255 * edge_map(expected.scores, *size)))
        kept[str(told.kept)] = kept.get(str(told.kept), 0) + 1
    assert record["kept"] == kept
    assert record["guarded"] == 3
    assert record["edge"] + record["interior"] + record["unknown"] == pytest.approx(1)
    assert record["interior"] == pytest.approx(0.3, abs=0.01)
    assert record["backbone"]["family"] == family


def test_a_small_backbone_of_our_own(inputs: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = carried_out(spec(inputs, models / "small", tau=0, interior="lowest", blocks=[0]), inputs)
    assert record["kept"] == {"0": 3}
    assert record["interior"] >= 0.5
    assert (record["guarded"], record["n_images"]) == (0, 3)
    assert "guard" not in capsys.readouterr().err
    told = read_labels(inputs / "out" / "labels" / "a.npz")
    assert told.labels.shape == (8, 8)
    assert not len(told.curve)


def test_an_encoder_without_time(inputs: Path, models: Path) -> None:
    (models / "dinov2").mkdir()
    write_json(save(random_network("dinov2"), "dinov2", models / "dinov2") / "run.json", {})
    record = carried_out(spec(inputs, models / "dinov2", size=24, reads="features"), inputs)
    assert record["kept"] == {}
    assert record["backbone"]["reads"] == "features"
    told = read_labels(inputs / "out" / "labels" / "a.npz")
    assert (told.kept, told.labels.shape) == (None, (6, 6))


def test_the_guard_is_told(
    inputs: Path, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEBENCH_QUIET", raising=False)
    predict(spec(inputs, models / "small", guard_below=1.0))
    assert "out: in 3 of 3 images next to nothing is below mean - deviation; the lowest 30%" in capsys.readouterr().err


def test_an_interrupted_run_ends_with_the_same_files(
    inputs: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = carried_out(spec(inputs, models / "small", "whole", seed=3, noise="independent"), inputs)
    ours, calls = module.boundary_divergence, 0

    def stopping(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return ours(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(module, "boundary_divergence", stopping)
        with pytest.raises(KeyboardInterrupt):
            carried_out(spec(inputs, models / "small", "cut", seed=3, noise="independent"), inputs)
    assert set(files(inputs / "cut")) == {"maps/a.png", "labels/a.npz"}
    (inputs / "cut" / "maps" / "a.png").unlink()  # killed between the labels and the map, which comes last
    record = carried_out(spec(inputs, models / "small", "cut", seed=3, noise="independent"), inputs)
    assert files(inputs / "cut") == files(inputs / "whole")
    assert {key: record[key] for key in ("edge", "kept", "guarded")} == {
        key: whole[key] for key in ("edge", "kept", "guarded")
    }


def test_the_seed_decides_the_noise(inputs: Path, models: Path) -> None:
    for out, seed in (("one", 0), ("same", 0), ("other", 1)):
        predict(spec(inputs, models / "small", out, seed, tau=499))
    assert files(inputs / "one") == files(inputs / "same")
    assert files(inputs / "one") != files(inputs / "other")


def test_unknown_blocks_stop_before_any_image(inputs: Path, models: Path) -> None:
    with pytest.raises(ConfigError, match="by index, 0 to 1, or by name"):
        predict(spec(inputs, models / "small", blocks=["down*"]))


def test_a_checkpoint_that_is_not_there(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgebenchError, match="needed first"):
        predict(spec(inputs, tmp_path / "nothing"))
