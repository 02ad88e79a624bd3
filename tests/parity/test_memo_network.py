"""The network, its adapters and its names against the authors' code on rule-filled weights."""

from __future__ import annotations

import csv
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edgebench.methods.memo.lora import add_lora, merge_lora
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.official import from_official, our_name
from edgebench.methods.memo.presets import DinoConfig, NetworkConfig, preset
from tests.unit.methods.deepspeed import official_name

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


def rule_fill(name: str, shape: torch.Size, count: int | None = None) -> np.ndarray:
    """The first `count` values of a parameter, filled by the fixtures' rule from its official name, float32."""
    random = np.random.RandomState(zlib.crc32(name.encode()))  # value by value: fewer are the first of more
    values = random.standard_normal(shape.numel() if count is None else count).astype(np.float32)
    if name.endswith(("cls_token", "pos_embed", "register_tokens", "mask_token")):
        return 0.5 * values
    if name.endswith("gamma") or (name.endswith("weight") and len(shape) == 1):
        return 1 + 0.1 * values
    if len(shape) == 1:
        return 0.1 * values
    return values if name == "embedder.weight" else values / np.float32(np.sqrt(shape[1:].numel()))


@pytest.mark.parametrize("kind", ["tiny", "default"])
def test_the_networks_tensors_filled_by_rule(folder: Path, kind: str) -> None:
    """Names and shapes of our parameters give the values and sums of the authors' network."""
    expected = json.loads((folder / "rulefill_checksums.json").read_text())[kind]
    with torch.device("meta"):
        network = MemoNetwork(preset(kind))
    shapes = {official_name(name): value.shape for name, value in network.named_parameters()}
    assert sum(shape.numel() for shape in shapes.values()) == expected["numel"]
    for name, values in expected["first4"].items():
        np.testing.assert_allclose(rule_fill(name, shapes[name], 4), values, rtol=1e-6)
    if kind == "tiny":  # the default network's 238 million values would take too long
        sums = np.array(
            [
                [part.sum(dtype=np.float64), np.abs(part).sum(dtype=np.float64)]
                for part in (rule_fill(name, shape) for name, shape in shapes.items())
            ]
        ).sum(axis=0)
        np.testing.assert_allclose(sums, [expected["sum"], expected["abs_sum"]], rtol=1e-6)


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
