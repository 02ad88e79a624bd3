"""TRACE's runs one after the other: backbone, pseudo edges, distillation, edges in one pass."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from edgebench.data.scenes import STYLES, draw_scene
from edgebench.errors import ConfigError, DataError
from edgebench.files import read_json, write_json
from edgebench.methods.trace.diffusion import FamilyName
from edgebench.methods.trace.student import is_lora
from edgebench.methods.trace.weights import origin_of, trained_size
from edgebench.plan.methods import settings_class
from edgebench.stages.run import carry_out
from tests.unit.methods.diffusion_folders import save_folder
from tests.unit.methods.trace_encoders import random_network, save

torch.set_num_threads(1)
SIZES = {"a": (40, 60), "b": (64, 33), "c": (24, 24), "d": (30, 30)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for kind in ("im", "gt"):
        (tmp_path / "data" / "DIS-TR" / kind).mkdir(parents=True)
    for seed, (name, size) in enumerate(SIZES.items()):
        image = draw_scene(np.random.default_rng(seed), STYLES["M"]).image[: size[0], : size[1]]
        Image.fromarray(image).save(tmp_path / "data" / "DIS-TR" / "im" / f"{name}.png")
        Image.fromarray(np.zeros(image.shape[:2], np.uint8)).save(tmp_path / "data" / "DIS-TR" / "gt" / f"{name}.png")
    write_json(tmp_path / "data" / "run.json", {})
    return tmp_path


def carried_out(folder: Path, name: str, stage: str, method: str, inputs: dict[str, str], **settings: Any) -> Path:
    """A run of the folder, by the names of the runs that it needs."""
    steps = {"steps": 2, "learning_rate": 1e-3} if stage == "train" else {}
    chosen = {"stage": stage, "method": method, "dataset": "dis5k", "split": "train", "device": "cpu", **steps}
    model = settings_class(stage, method, "a test")
    resolved = model.model_validate({**chosen, **inputs, **settings})
    content = {
        "folder": str(folder / name),
        "label": name,
        "stage": stage,
        "role": name,
        "seed": 0,
        "id": "0",
        "version": 1,
        "scale": "demo",
        "settings": resolved.model_dump(mode="json", exclude=set(inputs)),
        "inputs": {"dataset": str(folder / "data"), **{role: str(folder / other) for role, other in inputs.items()}},
        "dataset": {"name": "dis5k", "layout": "dis5k"},
        "resources": {},
        "runtime": {"checkpoint_minutes": 10, "time_limit_minutes": None, "tensorboard": False, "loader_workers": 0},
    }
    write_json(folder / f"{name}.json", content)
    return carry_out(folder / f"{name}.json")


def backbone(folder: Path) -> Path:
    return carried_out(folder, "backbone", "train", "trace_backbone", {}, size=32)


def pseudo(folder: Path, role: str, other: str, **settings: Any) -> Path:
    return carried_out(folder, "pseudo", "predict", "trace_attention", {role: other}, taus=[0, 99, 499], **settings)


def distil(folder: Path, role: str, other: str, name: str = "distil", **settings: Any) -> Path:
    known = {"batch": 2, "decoder_width": 8, "window": 3, **settings}
    return carried_out(folder, name, "train", "trace", {role: other, "labels": "pseudo"}, **known)


def edges(folder: Path, **inputs: str) -> Path:
    return carried_out(folder, "edges", "predict", "trace", {"weights": "distil", **inputs})


def check_maps(run: Path) -> None:
    for name, size in SIZES.items():
        written = np.asarray(Image.open(run / "maps" / f"{name}.png"))
        assert written.shape == tuple(min(64, side) for side in size)
        assert written.dtype == np.uint8


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder_input": "relative", "decoder_join": "each", "lora_rank": None, "recon": "off", "flip": "dihedral"},
        {"lora_rank": 4, "recon": "nominal", "gradient_checkpointing": True, "ema_decay": 0.9},
        {"decoder_input": "hidden", "lora_rank": 4, "recon": "literal", "blocks": [1], "precision": "bf16"},
    ],
    ids=lambda settings: settings["recon"],
)
def test_a_small_network_lies_whole_in_one_file(folder: Path, settings: dict[str, Any]) -> None:
    backbone(folder)
    pseudo(folder, "pretrained", "backbone")
    run = distil(folder, "pretrained", "backbone", **settings)
    record = read_json(run / "run.json")
    assert (record["steps"], record["n_images"]) == (2, 4)
    assert (record["trained_parameters"] == record["parameters"]) == (settings["lora_rank"] is None)
    assert (origin_of(run / "weights.safetensors"), trained_size(run / "weights.safetensors")) == ({}, 32)
    for other in ("backbone", "pseudo"):
        shutil.rmtree(folder / other)
    check_maps(edges(folder))


@pytest.mark.parametrize("family", get_args(FamilyName))
def test_released_diffusion_models(folder: Path, family: FamilyName) -> None:
    write_json(save_folder(folder / "model", family) / "run.json", {"checkpoint": family})
    pseudo(folder, "backbone", "model", size=64)
    run = distil(folder, "backbone", "model", size=64, lora_rank=2, recon_sigma=0.2)
    stored = load_file(run / "weights.safetensors")
    assert all(name.startswith("decoder.") or is_lora(name) for name in stored)
    assert origin_of(run / "weights.safetensors") == {"checkpoint": family, "reads": "attention", "layers": "vision"}
    check_maps(edges(folder, backbone="model"))
    with pytest.raises(ConfigError, match=rf"belong to the checkpoint '{family}', but edges.backbone is null"):
        edges(folder)


@pytest.mark.parametrize(
    ("kind", "reads", "decoder_input"),
    [("dinov2", "attention", "keys16"), ("dinov3", "features", "hidden"), ("qwen", "features", "relative")],
)
def test_encoders_without_time(folder: Path, kind: str, reads: str, decoder_input: str) -> None:
    write_json(save(random_network(kind), kind, folder / "model") / "run.json", {"checkpoint": kind})
    pseudo(folder, "backbone", "model", reads=reads, size=32)
    settings: dict[str, Any] = {"reads": reads, "size": 32, "decoder_input": decoder_input, "lora_rank": 2}
    with pytest.raises(ConfigError, match=r"recon 'nominal' needs a diffusion model"):
        distil(folder, "backbone", "model", "impossible", **settings)
    distil(folder, "backbone", "model", recon="off", **settings)
    check_maps(edges(folder, backbone="model"))
    if kind == "qwen":  # which keeps its tokens in another order than that of the picture
        distil(folder, "backbone", "model", "other", recon="off", **settings | {"decoder_input": "hidden"})


def test_weights_of_a_small_network_take_no_checkpoint(folder: Path) -> None:
    backbone(folder)
    pseudo(folder, "pretrained", "backbone")
    distil(folder, "pretrained", "backbone", lora_rank=2)
    write_json(folder / "model" / "run.json", {"checkpoint": "sd15"})
    with pytest.raises(ConfigError, match=r"a small network, .* but edges.backbone is sd15. Set it to null"):
        edges(folder, backbone="model")


class TestLabels:
    def test_missing(self, folder: Path) -> None:
        backbone(folder)
        pseudo(folder, "pretrained", "backbone", limit=3)
        with pytest.raises(DataError, match=r"d.npz: the pseudo edges of image d are missing, one of 1 of 4"):
            distil(folder, "pretrained", "backbone")
        distil(folder, "pretrained", "backbone", limit=3)

    def test_damaged_or_foreign(self, folder: Path) -> None:
        backbone(folder)
        run = pseudo(folder, "pretrained", "backbone")
        file = run / "labels" / "b.npz"
        with np.load(file) as held:
            contents = dict(held)
        for wrong, message in (
            ({"labels": np.full((8, 8), 3, np.int8)}, "no pseudo edges of 1, 0 and -1"),
            ({"labels": np.zeros((8, 8))}, "no pseudo edges of 1, 0 and -1"),
            ({"labels": np.zeros((8, 7), np.int8)}, "8x7 instead of 8x8"),
        ):
            np.savez(file, **contents | wrong)
            with pytest.raises(DataError, match=rf"b.npz: .*{message}"):
                distil(folder, "pretrained", "backbone")
        file.write_bytes(b"PK\x03\x04 half a file")
        with pytest.raises(DataError, match=r"b.npz: no readable pseudo labels"):
            distil(folder, "pretrained", "backbone")


class TestSettings:
    def planned(self, **settings: Any) -> Any:
        chosen = {"stage": "train", "method": "trace", "dataset": "dis5k", "labels": "pseudo", "steps": 3, **settings}
        return settings_class("train", "trace", "a test").model_validate(chosen)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, "name a 'backbone'"),
            ({"backbone": "sd15", "lora_rank": None}, "lora_rank null"),
            ({"pretrained": "p", "window": 4}, "window 4 has no middle"),
            ({"pretrained": "p", "blocks": []}, "blocks names none"),
            ({"pretrained": "p", "start": "p"}, "takes no start"),
        ],
    )
    def test_impossible_ones_are_named(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.planned(**settings)

    def test_what_means_nothing_makes_no_other_run(self) -> None:
        assert {"pretrained", "window", "recon_sigma"} == self.planned(
            backbone="sd15", pretrained="p", recon="off"
        ).idle()
        assert {"size", "reads", "layers"} == self.planned(pretrained="p", decoder_input="relative").idle()

    def test_the_papers_are_the_defaults(self) -> None:
        made = self.planned(backbone="sd15")
        assert (made.lora_rank, made.recon, made.schedule, made.batch) == (64, "nominal", "cosine", 4)
        assert made.learning_rate == 1e-4
        assert made.learning_rate * made.decoder_rate == pytest.approx(1e-3)
        assert made.weight_decay == 0.01
