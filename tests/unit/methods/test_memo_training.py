"""A few steps of the real training loop with each way of training MEMO that a recipe can ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from edgebench.data.adapters import open_dataset
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.objective import Objective, ObjectiveSettings
from edgebench.methods.memo.presets import DinoConfig, NetworkConfig
from edgebench.methods.memo.weights import load_network
from edgebench.training.loop import train
from edgebench.training.settings import LoopSettings

torch.set_num_threads(1)
CONFIG = NetworkConfig(4, (8, 16), 1, 4, DinoConfig(24, 1, 2, registers=0, size=(28, 28)), embedding_std=0.1)

PRETRAINING = {"crop": 16}
BSDS = {"crop": None, "drop_first": True, "vertical_flip": False, "rotate": "none", "lora_rank": 2}
BIPED: dict[str, Any] = {"crop": 24, "rotate": "batch", "crest_labels": True, "lora_rank": 2}
WAYS: dict[str, dict[str, Any]] = {
    "pre-training": PRETRAINING,
    "BSDS": BSDS,
    "BIPED": BIPED,
    "paper's loss": {**PRETRAINING, "loss": "paper"},
    "focal mask": {**PRETRAINING, "mask": "focal"},
    "logit-normal ratio": {**PRETRAINING, "mask_ratio": "logit_normal"},
    "truncated-linear ratio": {**PRETRAINING, "mask_ratio": "truncated_linear"},
    "one pass": {**PRETRAINING, "mask_ratio": "full"},
    "small images": {**PRETRAINING, "crop_rule": "uniform", "full_mask_share": 0.3, "warm_start_steps": 1},
    "trainable encoder": {**PRETRAINING, "dino": "trainable"},
    "all weights": {**BSDS, "lora_rank": None, "annotators": "random"},
}


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEBENCH_QUIET", "1")
        yield


@pytest.fixture(scope="module")
def biped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs of 48 x 32 with annotations in grey, in the layout of the BIPEDv2 archive."""
    folder = tmp_path_factory.mktemp("biped")
    rng = np.random.default_rng(0)
    for number in range(2):
        for kind, suffix in (("imgs", "jpg"), ("edge_maps", "png")):
            path = folder / "edges" / kind / "train/rgbr/real" / f"RGB_{number:03d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn = np.zeros((32, 48), np.uint8)
            drawn[:, 20:23] = [90, 230, 90]
            pixels = drawn if kind == "edge_maps" else rng.integers(50, 255, (32, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    return folder


class Drawn:
    """Two annotators who mark a bright square's left and upper side."""

    def __init__(self) -> None:
        self.ids = ["lying", "upright"]

    def image(self, image_id: str) -> np.ndarray:
        picture = np.full((33, 49, 3) if image_id == "lying" else (49, 33, 3), 60, np.uint8)
        picture[8:24, 10:26] = 220
        return picture

    def boundaries(self, image_id: str) -> list[np.ndarray]:
        left, upper = (np.zeros(self.image(image_id).shape[:2], dtype=bool) for _ in range(2))
        left[8:24, 10] = True
        upper[8, 10:26] = True
        return [left, upper]


def trained(way: dict[str, Any], folder: Path, biped: Path) -> tuple[Objective, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    dataset = open_dataset("biped", biped, "train") if way.get("crest_labels") else Drawn()
    objective: Any = Objective(MemoNetwork(CONFIG), dataset, ObjectiveSettings(**way))
    settings = LoopSettings(
        steps=3, batch=2, accumulate=2, learning_rate=1e-2, ema_decay=0.9, ema_start=1, device="cpu", seed=1
    )
    report = train(objective, settings, folder)
    assert np.isfinite(report.loss)
    assert report.steps == 3
    return objective, load_file(report.weights)


@pytest.mark.parametrize("name", WAYS)
def test_training_runs_repeats_and_changes_what_it_should(name: str, tmp_path: Path, biped: Path) -> None:
    way = WAYS[name]
    torch.manual_seed(0)
    start = MemoNetwork(CONFIG).state_dict()
    _, weights = trained(way, tmp_path / "first", biped)
    _, again = trained(way, tmp_path / "second", biped)
    assert all(torch.equal(weights[each], again[each]) for each in weights)
    assert weights.keys() == start.keys()  # adapters are merged

    changed = {each for each in weights if not torch.equal(weights[each], start[each])}
    adapted = {each for each in changed if each.startswith("dino.")}
    if way.get("lora_rank"):
        assert {each.rpartition(".")[0].rpartition(".")[2] for each in adapted} == {"qkv", "fc1", "fc2"}
        assert not [each for each in changed if each.startswith(("unet.conv_out", "embedder", "pre_conv", "dino_map"))]
    else:
        assert bool(adapted) == (way.get("dino") == "trainable")
        assert {"embedder.weight", "unet.conv_out.weight", "dino_map.weight"} <= changed
    assert load_network(tmp_path / "first" / "weights.safetensors").config == CONFIG


def test_biped_labels_are_the_crest_of_the_annotation_as_drawn(biped: Path) -> None:
    dataset = open_dataset("biped", biped, "train")
    objective = Objective(MemoNetwork(CONFIG), dataset, ObjectiveSettings(**BIPED))
    sample = objective.sample(0, np.random.default_rng(0))
    assert sample["edge"].shape == (24, 24)
    assert sample["edge"].any(0).sum() == 1  # one column of the three that were drawn


def test_adapters_of_the_published_networks() -> None:
    from edgebench.methods.memo.lora import add_lora
    from edgebench.methods.memo.presets import preset

    for name, total, modules, added, share in (
        ("default", 238_343_906, 84, 2_971_648, 1.247),
        ("tiny", 40_490_290, 110, 1_422_336, 3.51),
    ):
        with torch.device("meta"):
            network = MemoNetwork(preset(name))
            assert sum(parameter.numel() for parameter in network.parameters()) == total
            add_lora(network)
        adapters = {each: p.numel() for each, p in network.named_parameters() if p.requires_grad}
        assert all(".lora_" in each for each in adapters)  # so conv_out is frozen, though the authors list it
        assert not any(parameter.requires_grad for parameter in network.unet.conv_out.parameters())
        assert (len(adapters), sum(adapters.values())) == (2 * modules, added)
        assert 100 * sum(adapters.values()) / total == pytest.approx(share, abs=0.005)
