"""What each addition to the stock UNet does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

from edgebench.errors import ConfigError
from edgebench.methods.diffdis.network import DiffdisNetwork, Injector
from edgebench.methods.diffdis.presets import NetworkConfig, preset

torch.set_num_threads(1)
CONFIG = NetworkConfig((8, 16, 16), (1, 2, 4), (True, True, False), 1, 4, text=6, tokens=2, latent=3)
PLAIN: dict[str, Any] = {"edge": False, "stream_embedding": False, "interaction": "none", "injection": False}


def network_with(**changes: Any) -> DiffdisNetwork:
    """A network all of whose parts have an effect."""
    torch.manual_seed(0)
    network = DiffdisNetwork(replace(CONFIG, **changes)).eval()
    with torch.no_grad():
        network.text.normal_()
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def inputs(images: int = 2, streams: int = 2, side: int = 8, seed: int = 1) -> tuple[Tensor, Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda count, size: torch.randn(count, 3, size, size, generator=generator)  # noqa: E731
    return draw(images, side), draw(streams * images, side), [draw(images, side // 2), draw(images, side // 4)]


def output(network: DiffdisNetwork, *given: Any) -> Tensor:
    image, noisy, smaller = given or inputs(streams=network.config.streams)
    with torch.no_grad():
        return network(image, noisy, 999, smaller)


def test_without_additions_it_is_the_stock_network() -> None:
    network = network_with(**PLAIN)
    stock: Any = UNet2DConditionModel.from_config(network.unet.config)
    stock.load_state_dict(network.unet.state_dict())
    image, noisy, _ = inputs(streams=1)
    with torch.no_grad():
        expected = stock.eval()(torch.cat((image, noisy), 1), 999, network.text.expand(2, -1, -1)).sample
    torch.testing.assert_close(output(network, image, noisy, []), expected)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"injection": False}, "injectors."),
        ({"interaction": "none"}, "_between."),
        ({"stream_embedding": False}, "class_embedding."),
    ],
)
def test_each_addition_can_be_switched_off(changes: dict[str, Any], parts: str) -> None:
    whole, without = network_with(), network_with(**changes)
    names = set(whole.state_dict()) - set(without.state_dict())
    assert names
    assert all(parts in name for name in names)
    without.load_state_dict({n: t for n, t in whole.state_dict().items() if n not in names})
    assert (output(whole) - output(without)).abs().max() > 1e-3


@pytest.mark.parametrize("interaction", ["mutual", "concat", "self"])
def test_attention_between_the_streams(interaction: str) -> None:
    block = network_with(interaction=interaction).unet.mid_block.attentions[0].transformer_blocks[0]
    attention = block.attention_between
    tokens, text = torch.randn(4, 5, 16), torch.randn(4, 2, 6)  # mask, mask, edge, edge
    hidden = tokens + block.attn1(block.norm1(tokens))
    own = block.norm_between(hidden)

    def heads(values: Tensor) -> Tensor:
        return values.unflatten(-1, (4, 4)).transpose(-3, -2)

    expected = torch.empty_like(own)
    for item, partner in enumerate((2, 3, 0, 1)):
        seen = {"mutual": [partner], "concat": [item, partner], "self": [item]}[interaction]
        context = torch.cat([own[each] for each in seen])
        found = functional.scaled_dot_product_attention(
            heads(attention.to_q(own[item])), heads(attention.to_k(context)), heads(attention.to_v(context))
        )
        expected[item] = attention.to_out[0](found.transpose(-3, -2).flatten(-2))
    hidden = hidden + expected
    hidden = hidden + block.attn2(block.norm2(hidden), encoder_hidden_states=text)
    hidden = hidden + block.ff(block.norm3(hidden))
    torch.testing.assert_close(block(tokens, encoder_hidden_states=text), hidden)


def test_pictures_do_not_see_one_another() -> None:
    network = network_with()
    image, noisy, smaller = inputs(images=3)
    together = output(network, image, noisy, smaller)
    alone = output(network, image[1:2], noisy[[1, 4]], [each[1:2] for each in smaller])
    torch.testing.assert_close(alone, together[[1, 4]], atol=1e-5, rtol=1e-5)


def test_interaction_starts_from_self_attention() -> None:
    block = DiffdisNetwork(CONFIG).unet.mid_block.attentions[0].transformer_blocks[0]
    for name, tensor in block.attn1.state_dict().items():
        assert torch.equal(block.attention_between.state_dict()[name], tensor)
    assert torch.equal(block.norm_between.weight, block.norm1.weight)


def test_injectors_start_without_effect_and_are_the_same_for_all_streams() -> None:
    injector = Injector(3, 8)
    skip, picture = torch.randn(4, 8, 6, 6), torch.randn(2, 3, 6, 6)
    assert torch.equal(injector(skip, picture), skip)
    torch.nn.init.normal_(injector.scale.weight)
    torch.nn.init.normal_(injector.shift.weight)
    seen = injector.activation(injector.norm(injector.stem(picture.repeat(2, 1, 1, 1))))
    torch.testing.assert_close(injector(skip, picture), skip + skip * injector.scale(seen) + injector.shift(seen))


def test_constants_may_be_computed_once() -> None:
    network = network_with()
    image, noisy, smaller = inputs()
    with torch.no_grad():
        once = network(image, noisy, 999, smaller, network.embed(999))
    assert torch.equal(once, output(network))


def test_gradient_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointed in (False, True):
        network = network_with().train()
        if checkpointed:
            network.enable_gradient_checkpointing()
        image, noisy, smaller = inputs()
        network(image, noisy, 999, smaller).square().mean().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    assert all(grad is not None for grad in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_widths_of_stable_diffusion_1() -> None:
    config = NetworkConfig(heads=(8, 8, 8, 8), text=768, linear=False)
    with torch.device("meta"):
        network = DiffdisNetwork(config).to("meta")
        shape = network(
            torch.empty(1, 4, 64, 64),
            torch.empty(2, 4, 64, 64),
            999,
            [torch.empty(1, 4, 64 >> level, 64 >> level) for level in (1, 2, 3)],
        ).shape
    assert shape == (2, 4, 64, 64)
    assert network.unet.mid_block.attentions[0].proj_in.weight.ndim == 4
    assert network.unet.mid_block.attentions[0].transformer_blocks[0].attention_between.heads == 8


def test_small_preset_runs() -> None:
    config = preset("small")
    network = DiffdisNetwork(config).eval()
    with torch.no_grad():
        found = network(
            torch.randn(1, 16, 24, 24), torch.randn(2, 16, 24, 24), 999, [torch.randn(1, 16, s, s) for s in (12, 6)]
        )
    assert found.shape == (2, 16, 24, 24)
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_026_768


def test_configuration_survives_json() -> None:
    config = replace(CONFIG, interaction="concat")
    assert (
        NetworkConfig.from_dict({k: list(v) if isinstance(v, tuple) else v for k, v in config.to_dict().items()})
        == config
    )
    with pytest.raises(ConfigError, match="unexpected"):
        NetworkConfig.from_dict({"width": 3})
    with pytest.raises(ConfigError, match="nothing to tell apart"):
        NetworkConfig(edge=False)
    with pytest.raises(ConfigError, match="same levels"):
        NetworkConfig(channels=(8, 16))
    with pytest.raises(ConfigError, match="interaction 'both'"):
        NetworkConfig(interaction="both")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="preset 'huge'"):
        preset("huge")
