"""TokenCut, MaskCut and ProMerge as runs, on the features of a small random DINO or on statistics of patches."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTModel

from edgebench.data.instances import read_instances
from edgebench.errors import ConfigError, DataError
from edgebench.files import read_json, write_json
from edgebench.methods.unsupervised.features import DinoKeys, load_dino
from edgebench.methods.unsupervised.finish import squared
from edgebench.methods.unsupervised.statistics import PatchStatistics
from edgebench.plan.methods.unsupervised import SETTINGS
from edgebench.stages.predict import predict
from edgebench.stages.run import carry_out
from edgebench.stages.spec import read_spec

torch.set_num_threads(1)
SIZES = {"a": (64, 64), "b": (60, 90), "c": (96, 50)}
METHODS = ("tokencut", "maskcut", "promerge")


def small_vit() -> ViTModel:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=32, image_size=32, patch_size=8
    )
    model: Any = ViTModel(config)
    return model.eval()


def picture(size: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two discs of different colours on a third, uint8 (H, W, 3), and labels (H, W)."""
    height, width = size
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    labels = np.zeros(size, dtype=np.int64)
    labels[(y - 0.3 * height) ** 2 + (x - 0.3 * width) ** 2 < (0.2 * min(size)) ** 2] = 1
    labels[(y - 0.7 * height) ** 2 + (x - 0.65 * width) ** 2 < (0.22 * min(size)) ** 2] = 2
    colours = np.array([[60, 110, 60], [210, 60, 50], [60, 70, 220]])[labels] + rng.normal(0, 5, (*size, 3))
    return np.clip(colours, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, and a small random DINO as it would have been fetched."""
    folder = tmp_path_factory.mktemp("unsupervised")
    (folder / "photos").mkdir()
    for seed, (name, size) in enumerate(SIZES.items()):
        Image.fromarray(picture(size, seed)[0]).save(folder / "photos" / f"{name}.png")
    small_vit().save_pretrained(folder / "dino")
    for each in ("photos", "dino"):
        write_json(folder / each / "run.json", {})
    return folder


def planned(folder: Path, out: Path, method: str, **settings: Any) -> Path:
    """The plan file of a run."""
    chosen = SETTINGS["predict", method].model_validate(
        {"stage": "predict", "method": method, "dataset": "photos", "device": "cpu", **settings}
    )
    inputs = {"dataset": str(folder / "photos")}
    if chosen.model_dump()["dino"]:
        inputs["dino"] = str(folder / "dino")
    plan = out.parent / f"{out.name}.json"
    write_json(
        plan,
        {
            "id": "0123456789",
            "stage": "predict",
            "role": "masks",
            "label": out.name,
            "folder": str(out),
            "version": 1,
            "scale": "demo",
            "seed": None,
            "settings": chosen.model_dump(mode="json", exclude={"dino"}),  # an input, as the plan has it
            "inputs": inputs,
            "dataset": {"name": "photos", "layout": "folder"},
            "protocol": None,
            "resources": {},
        },
    )
    return plan


def run(folder: Path, out: Path, method: str, **settings: Any) -> Path:
    """The folder of a run that was carried out without a record."""
    predict(read_spec(planned(folder, out, method, **settings)))
    return out


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "instances").iterdir())}


@pytest.mark.parametrize("method", METHODS)
def test_random_network_end_to_end(folder: Path, tmp_path: Path, method: str) -> None:
    out = carry_out(planned(folder, tmp_path / "one", method, size=96, batch=2, dino="dino_vitb8"))
    for name, size in SIZES.items():
        instances = read_instances(out / "instances" / f"{name}.json")
        assert instances.size == size
        assert all(each.score == 1 for each in instances.items)
    record = read_json(out / "run.json")
    assert record["n_images"] == 3
    assert record["features"] == "keys of DINO"
    assert record["dense_fallbacks"] == 0
    assert set(read_json(out / "timing.json")) == set(SIZES)
    # The same whatever shares a batch.
    assert files(run(folder, tmp_path / "other", method, size=96, batch=1, dino="dino_vitb8")) == files(out)


@pytest.mark.parametrize("method", ["maskcut", "promerge"])
def test_statistics_find_the_discs(folder: Path, tmp_path: Path, method: str) -> None:
    out = carry_out(planned(folder, tmp_path / "out", method, dino=None, size=96, patch=4))
    for seed, (name, size) in enumerate(SIZES.items()):
        labels = picture(size, seed)[1]
        masks = read_instances(out / "instances" / f"{name}.json").masks()
        for label in (1, 2):
            overlaps = [(mask & (labels == label)).sum() / (mask | (labels == label)).sum() for mask in masks]
            assert max(overlaps) > 0.9, (name, label)
    result = read_json(out / "run.json")
    assert result["features"] == "statistics of colour and texture"
    assert result["crf"]["iterations"] == 10
    assert result["masks_per_image"] >= 2
    assert result["images_without_masks"] == 0


def test_interrupted_run_ends_alike(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    spec = read_spec(planned(folder, out, "promerge", dino=None, size=64, patch=4))
    record = predict(spec)
    whole = files(out)
    (out / "instances" / "b.json").unlink()
    assert predict(spec)["masks_per_image"] == record["masks_per_image"]
    assert files(out) == whole


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("tokencut", {"crf": True}),
        ("maskcut", {"rounds": 1}),
        ("maskcut", {"crf": False}),
        ("maskcut", {"tau": 0.9}),
        ("maskcut", {"smallest": 0.9}),
        ("promerge", {"stride": 8}),
        ("promerge", {"vote": 0.99}),
        ("promerge", {"least_kept": 1}),
        ("promerge", {"patch": 8}),
    ],
)
def test_settings_reach_the_method(folder: Path, tmp_path: Path, method: str, changes: dict[str, Any]) -> None:
    plain = {"dino": None, "size": 64, "patch": 4}
    one = run(folder, tmp_path / "one", method, **plain)
    other = run(folder, tmp_path / "other", method, **{**plain, **changes})
    assert files(one) != files(other)


def test_keys_are_those_of_the_last_attention() -> None:
    model = small_vit()
    images = [picture(size, seed)[0] for seed, size in enumerate(SIZES.values())]
    found = DinoKeys(model, size=48)(images)
    assert [each.shape for each in found] == [(6, 6, 24)] * 3
    # By hand: the input of the last layer, normed and projected.
    pixels = torch.tensor(squared(images[1], 48)).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        hidden = model.embeddings((pixels - mean) / std, interpolate_pos_encoding=True)
        layers: Any = model.layers
        hidden = layers[0](hidden)
        keys = layers[1].attention.k_proj(layers[1].layernorm_before(hidden))[0, 1:]
    np.testing.assert_allclose(found[1].reshape(36, 24), keys.numpy(), atol=1e-5)
    half = DinoKeys(model, size=48, precision="bf16")(images)[1]
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, found[1], atol=0.05)
    assert np.abs(half - found[1]).max() > 0
    with pytest.raises(ConfigError, match="multiple of 8"):
        DinoKeys(model, size=50)


def test_published_files_are_read_in_either_form(folder: Path, tmp_path: Path) -> None:
    expected = small_vit().state_dict()
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(folder / "dino" / "config.json", old)
    names = {
        "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
        "layers.": "encoder.layer.",
    }
    state = {}
    for name, value in expected.items():
        for new, before in names.items():
            name = name.replace(new, before)
        state[name] = value
    assert "encoder.layer.1.attention.attention.key.weight" in state
    torch.save(state, old / "pytorch_model.bin")
    for each in (folder / "dino", old):
        loaded = load_dino(each).state_dict()
        assert loaded.keys() == {name for name in expected if not name.startswith("pooler")}
        for name, value in loaded.items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_other_weights_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no DINO weights \(there is no config.json\)"):
        load_dino(tmp_path)
    shutil.copy(folder / "dino" / "config.json", tmp_path)
    with pytest.raises(DataError, match="edgebench fetch"):
        load_dino(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataError, match="holds no DINO weights"):
        load_dino(tmp_path)
    torch.save({"embeddings.cls_token": torch.zeros(1, 1, 24)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(DataError, match="weights of another model"):
        load_dino(tmp_path)
    write_json(tmp_path / "config.json", {"model_type": "bert"})
    with pytest.raises(DataError, match="'bert'"):
        load_dino(tmp_path)


def test_pickles_run_nothing(folder: Path, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harm",)

    shutil.copy(folder / "dino" / "config.json", tmp_path)
    torch.save({"embeddings.cls_token": Harm()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="holds no DINO weights"):
        load_dino(tmp_path)
    assert not (tmp_path / "harm").exists()


def test_statistics_of_patches() -> None:
    image, labels = picture((64, 64), 0)
    features = PatchStatistics(64, 8)([image, image[::-1]])
    assert features[0].shape == (8, 8, 512)
    np.testing.assert_allclose(np.linalg.norm(features[0], axis=2), 1, atol=1e-5)
    np.testing.assert_array_equal(PatchStatistics(64, 8)([image])[0], features[0])
    # Of one disc alike, of different discs not.
    grid = labels[4::8, 4::8]
    cosines = features[0].reshape(64, -1) @ features[0].reshape(64, -1).T
    same = [cosines[np.ix_(*(np.flatnonzero(grid.ravel() == kind),) * 2)].mean() for kind in (1, 2)]
    apart = cosines[np.ix_(np.flatnonzero(grid.ravel() == 1), np.flatnonzero(grid.ravel() == 2))].mean()
    assert min(same) > 0.4
    assert apart < 0.2
    assert np.isfinite(PatchStatistics(64, 8)([np.zeros((20, 20, 3), dtype=np.uint8)])[0]).all()
    with pytest.raises(ConfigError, match="multiple of 7"):
        PatchStatistics(64, 7)


@pytest.mark.parametrize("method", METHODS)
def test_idle_settings_make_no_other_run(method: str) -> None:
    plain = {"stage": "predict", "method": method, "dataset": "photos"}
    settings = SETTINGS["predict", method]
    with_dino = settings.model_validate(plain)
    assert "patch" in with_dino.idle()
    without = settings.model_validate({**plain, "dino": None, "crf": False})
    assert without.idle() == {"precision", "device", "batch", "least_kept"}
    assert without.words() == ["patches8"]
    with pytest.raises(ValueError, match="multiple of patch"):
        settings.model_validate({**plain, "dino": None, "patch": 7})
