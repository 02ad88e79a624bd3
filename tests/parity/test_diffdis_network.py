"""The network, its names and its initialisation against the authors' code on small random weights."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edgebench.methods.diffdis.diffusion import Sampler, denoise
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.official import from_official, our_name
from edgebench.methods.diffdis.presets import NetworkConfig, preset
from edgebench.methods.diffdis.pretrained import widened

torch.set_num_threads(1)
TOLERANCE = 5e-6
PARAMETERS = 912_924_804
STOCK_PARAMETERS = 865_910_724
OURS = {"text": (1, 2, 1024)}  # the constant text embedding


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "fixtures" / "diffdis"


@pytest.fixture(scope="module")
def config(folder: Path) -> NetworkConfig:
    values = json.loads((folder / "tiny_unet_config.json").read_text())
    return NetworkConfig(
        channels=tuple(values["block_out_channels"]),
        heads=tuple(values["attention_head_dim"]),
        layers=values["layers_per_block"],
        groups=values["norm_num_groups"],
        text=values["cross_attention_dim"],
        latent=values["out_channels"],
    )


@pytest.fixture(scope="module")
def io(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "unet_io.safetensors")


@pytest.fixture(scope="module")
def state(folder: Path) -> dict[str, Tensor]:
    return from_official(load_file(folder / "tiny_unet_state.safetensors"))


def network_for(config: NetworkConfig, state: dict[str, Tensor], io: dict[str, Tensor]) -> DiffdisNetwork:
    network = DiffdisNetwork(config).eval()
    wanted = network.state_dict().keys()
    text = {"text": io["encoder_hidden_states"][:1]}
    network.load_state_dict({**{name: value for name, value in state.items() if name in wanted}, **text})
    return network


def output(network: DiffdisNetwork, io: dict[str, Tensor]) -> Tensor:
    images = len(io["sample"]) // 2
    image, noisy = io["sample"][:images, :4], io["sample"][:, 4:]
    with torch.no_grad():
        return network(image, noisy, 999, [io[f"rgb_token.{scale}"][:images] for scale in (1, 2, 3)])


def assert_close(value: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(value, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("expected", "changes"),
    [
        ("out.eval.full", {}),
        ("out.eval.no_swci", {"injection": False}),
        ("out.eval.no_dbia", {"interaction": "none"}),
        ("out.eval.attn3_plain_self", {"interaction": "self"}),
    ],
)
def test_variants(
    config: NetworkConfig, state: dict[str, Tensor], io: dict[str, Tensor], expected: str, changes: dict
) -> None:
    assert_close(output(network_for(replace(config, **changes), state, io), io), io[expected])


def test_training_mode_uses_the_batch_statistics(
    config: NetworkConfig, state: dict[str, Tensor], io: dict[str, Tensor]
) -> None:
    assert_close(output(network_for(config, state, io).train(), io), io["out.train.full"])


def test_exchanged_streams_exchange_the_outputs(
    config: NetworkConfig, state: dict[str, Tensor], io: dict[str, Tensor]
) -> None:
    network = network_for(config, state, io)
    network.stream_codes.copy_(network.stream_codes.flip(0))
    exchanged = {**io, "sample": io["sample"].roll(2, dims=0)}
    assert_close(output(network, exchanged), io["out.eval.swapped"])


def test_intermediate_values(config: NetworkConfig, state: dict[str, Tensor], io: dict[str, Tensor]) -> None:
    network = network_for(config, state, io)
    seen: dict[str, Tensor] = {}
    block = network.unet.mid_block.attentions[0].transformer_blocks[0]
    modules = {
        "conv_in": network.unet.conv_in,
        "mid_block": network.unet.mid_block,
        "mid.tb.attn1": block.attn1,
        "mid.tb.attn2": block.attn2,
        "mid.tb.attn3": block.attention_between,
        "mid.tb.norm2_": block.norm_between,
        "mid.tb.block": block,
    }
    for name, module in modules.items():
        module.register_forward_hook(lambda module, inputs, result, name=name: seen.update({name: result}))
    for level, up in enumerate(network.unet.up_blocks[:3]):
        up.register_forward_pre_hook(
            lambda module, args, kwargs, level=level: seen.update(
                {f"up_blocks.{level}.skip_first": kwargs["res_hidden_states_tuple"][0]}
            ),
            with_kwargs=True,
        )
    output(network, io)
    assert len(seen) == 10
    for name, value in seen.items():
        assert_close(value, io[f"hook.{name}"])
    with torch.no_grad():
        embedding = network.embed(999)
    assert_close(embedding, (io["hook.time_embedding"] + io["hook.class_embedding"])[[0, 2]])
    assert_close(network.stream_codes, io["class_labels"][[0, 2]])


def test_names_and_shapes_of_the_released_checkpoint(shared: Path) -> None:
    with open(shared / "specs" / "diffdis_state_dict.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    released = {
        our_name(row["name"]): () if row["shape"] == "scalar" else tuple(map(int, row["shape"].split("x")))
        for row in rows
    }
    assert len(released) == 730
    with torch.device("meta"):
        network = DiffdisNetwork(preset("full"))
        official = {row["name"]: torch.empty(released[our_name(row["name"])]) for row in rows}
        text = torch.empty(OURS["text"])
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == {**released, **OURS}
    network.load_state_dict({**from_official(official), "text": text}, strict=True, assign=True)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS


def test_stock_network_has_the_parameters_of_stable_diffusion() -> None:
    plain = NetworkConfig(edge=False, stream_embedding=False, interaction="none", injection=False)
    with torch.device("meta"):
        network = DiffdisNetwork(plain)
    assert sum(parameter.numel() for parameter in network.parameters()) == STOCK_PARAMETERS + 320 * 4 * 9


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("steps", [2, 10])
def test_chains(
    sampler: Sampler, steps: int, folder: Path, config: NetworkConfig, state: dict[str, Tensor], io: dict[str, Tensor]
) -> None:
    expected = load_file(folder / "scheduler.safetensors")
    network = network_for(config, state, io)
    images = len(io["sample"]) // 2
    smaller = [io[f"rgb_token.{scale}"][:images] for scale in (1, 2, 3)]

    def call(noisy: Tensor, time: int) -> Tensor:
        return network(io["sample"][:images, :4], noisy, time, smaller)

    with torch.no_grad():
        found = denoise(
            call,
            expected["x_t"],
            "epsilon",
            steps,
            sampler,
            torch.Generator().manual_seed(11),
        )
    # The first step multiplies the network's rounding by 14.6.
    torch.testing.assert_close(found, expected[f"{sampler}_{steps}step.final"], atol=14.6 * TOLERANCE, rtol=0)


def test_starting_weights(folder: Path, config: NetworkConfig) -> None:
    given = load_file(folder / "init_surgery.safetensors")
    assert torch.equal(widened(given["conv_in.weight.before"]), given["conv_in.weight.after"])
    network = DiffdisNetwork(config)
    before, after = (
        from_official({k.removeprefix(f"{when}."): v for k, v in given.items() if k.startswith(f"{when}.")})
        for when in ("before", "after")
    )
    network.load_state_dict(before, strict=False)
    network.start_interaction()
    for name, value in after.items():
        assert torch.equal(network.state_dict()[name], value), name
