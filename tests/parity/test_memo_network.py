"""The network, its adapters and its names against the authors' code on rule-filled weights."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edgebench.methods.memo.lora import add_lora, merge_lora
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.official import from_official, our_name
from edgebench.methods.memo.presets import DinoConfig, NetworkConfig, preset

torch.set_num_threads(1)
TOLERANCE = 2e-4
MICRO_DINO = {"hidden": 48, "depth": 2, "heads": 3}


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "fixtures" / "memo"


def micro_config(folder: Path, name: str) -> NetworkConfig:
    config = json.loads((folder / "micro_configs.json").read_text())[name]["config"]
    return NetworkConfig(
        embedding=config["in_channels"],
        channels=tuple(config["block_out_channels"]),
        layers=config["layers_per_block"],
        groups=config["norm_num_groups"],
        dino=DinoConfig(**MICRO_DINO, registers=4 if name.endswith("_reg") else 0, size=tuple(config["dino_size"])),
    )


@pytest.fixture(scope="module")
def network(folder: Path) -> MemoNetwork:
    network = MemoNetwork(micro_config(folder, "micro4_reg")).eval()
    network.load_state_dict(from_official(load_file(folder / "micro4_reg.weights.safetensors")))
    return network


@pytest.fixture(scope="module")
def io(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "micro4_reg.io.safetensors")


def logits(network: MemoNetwork, io: dict[str, Tensor], case: str) -> dict[str, Tensor]:
    """The conditional, unconditional and guided logits of a case, under the fixture's names."""
    tokens, ratio, image = io[f"{case}.tokens"].long(), io[f"{case}.mask_ratio"], io["image"]
    black = torch.zeros_like(image)
    with torch.no_grad():
        conditional = network(tokens, ratio, image, network.encode(image))
        unconditional = network(tokens, ratio, black)
    result = {"logits": conditional, "logits_uncond": unconditional}
    for scale in (1.4, 2.5):
        result[f"logits_cfg{scale}"] = unconditional + scale * (conditional - unconditional)
    return result


def assert_equal_logits(network: MemoNetwork, io: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for case in ("r1", "rmix"):
        for name, value in logits(network, io, case).items():
            torch.testing.assert_close(value, expected[f"{case}.{name}"], atol=TOLERANCE, rtol=0)


def test_forward_pass(network: MemoNetwork, io: dict[str, Tensor]) -> None:
    assert_equal_logits(network, io, io)


def test_image_features(network: MemoNetwork, io: dict[str, Tensor]) -> None:
    with torch.no_grad():
        features = network.encode(io["image"])
    assert features is not None
    torch.testing.assert_close(features, io["dino_features_mapped"], atol=TOLERANCE, rtol=0)


def test_adapters_run_and_merge_alike(folder: Path, io: dict[str, Tensor]) -> None:
    network = MemoNetwork(micro_config(folder, "micro4_reg")).eval()
    network.load_state_dict(from_official(load_file(folder / "micro4_reg.weights.safetensors")))
    add_lora(network)
    adapters = from_official(load_file(folder / "micro4_reg.lora.safetensors"))
    missing, unexpected = network.load_state_dict(adapters, strict=False)
    assert not unexpected
    assert not [name for name in missing if "lora" in name]
    expected = load_file(folder / "micro4_reg.lora_io.safetensors")
    assert_equal_logits(network, io, expected)

    merged = MemoNetwork(network.config).eval()
    merged.load_state_dict(merge_lora(network.state_dict()))
    assert_equal_logits(merged, io, expected)


def test_micro_network_without_registers_has_its_parameters(folder: Path) -> None:
    expected = json.loads((folder / "micro_configs.json").read_text())["micro3_noreg"]["params"]
    with torch.device("meta"):
        network = MemoNetwork(micro_config(folder, "micro3_noreg"))
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("kind", ["default", "tiny", "default_lora", "tiny_lora"])
def test_names_and_shapes_of_the_released_checkpoints(shared: Path, kind: str) -> None:
    with open(shared / "specs" / "memo_state_dict.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["preset"] == kind]
    official = {our_name(row["name"]): tuple(map(int, row["shape"].split("x"))) for row in rows}
    with torch.device("meta"):
        network = MemoNetwork(preset(kind.removesuffix("_lora")))
        if kind.endswith("_lora"):
            add_lora(network)
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == official
