"""Self-attention read by hooks, beside diffusers' own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import pytest
import torch
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace.aggregate import average_blocks
from edgebench.methods.trace.backbone import Block
from edgebench.methods.trace.capture import attention_map, choose_blocks, head_mean, read_attention, token_grid
from edgebench.methods.trace.diffusion import DiffusionBackbone, FamilyName
from edgebench.methods.trace.diffusion_random import random_backbone

torch.set_num_threads(1)
FAMILIES = get_args(FamilyName)
TAU = 399


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request: pytest.FixtureRequest) -> DiffusionBackbone:
    return random_backbone(request.param)


def latents(backbone: DiffusionBackbone, count: int = 1) -> Tensor:
    source = torch.Generator().manual_seed(1)
    pictures = torch.rand(count, 3, backbone.size, backbone.size, generator=source) * 2 - 1
    return backbone.encode(pictures)


def collected(backbone: DiffusionBackbone, x: Tensor, **options: Any) -> dict[int, Tensor]:
    """The maps of all blocks, put together from their spans."""
    parts: dict[int, list[Tensor]] = {}

    def sink(block: int, grid: tuple[int, int], rows: slice, attention: Tensor) -> None:
        assert rows.start == sum(each.shape[1] for each in parts.get(block, []))
        assert attention.shape == (len(x), rows.stop - rows.start, grid[0] * grid[1])
        parts.setdefault(block, []).append(attention)

    read_attention(backbone, x, TAU, sink, **options)
    return {block: torch.cat(each, 1) for block, each in parts.items()}


class Tap:
    """What a module was given and what it said in one pass."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.handle = block.module.register_forward_hook(self.take, with_kwargs=True)

    def take(self, module: nn.Module, args: Any, kwargs: Any, said: Any) -> None:
        self.args, self.kwargs, self.said = args, kwargs, said
        self.handle.remove()


def test_the_answer_is_that_without_hooks(backbone: DiffusionBackbone) -> None:
    x = latents(backbone, 2)
    with torch.no_grad():
        plain = backbone.answer(x, TAU)
    assert plain.shape == x.shape
    assert torch.equal(read_attention(backbone, x, TAU, lambda *_: None), plain)
    assert torch.equal(read_attention(backbone, x, TAU, lambda *_: None, gradient=True), plain)
    assert plain.std() > 0.1
    assert not any(block.module._forward_pre_hooks for block in backbone.blocks)


def test_the_map_rebuilds_what_the_module_says(backbone: DiffusionBackbone) -> None:
    x = latents(backbone, 2)
    taps = [Tap(block) for block in backbone.blocks]
    maps = collected(backbone, x)
    assert sorted(maps) == list(range(len(backbone.blocks)))
    for index, (tap, block) in enumerate(zip(taps, backbone.blocks, strict=True)):
        queries, keys = block.queries_keys(block.module, tap.args, tap.kwargs)
        heads = (queries.double() @ keys.double().mT).softmax(-1)
        torch.testing.assert_close(maps[index].double(), heads.mean(1), atol=1e-6, rtol=0)
        assert heads.max() * heads.shape[-1] > 1.3  # far enough from uniform to tell
        said, expected = rebuilt(backbone, block.module, tap, queries, keys, heads)
        torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-5)


def rebuilt(
    backbone: DiffusionBackbone, module: Any, tap: Tap, queries: Tensor, keys: Tensor, heads: Tensor
) -> tuple[Tensor, Tensor]:
    """What the module said of the picture, and the same from the map of each head and values of our own."""
    hidden = tap.args[0] if tap.args else tap.kwargs["hidden_states"]

    def split(values: Tensor) -> Tensor:
        return values.unflatten(-1, (module.heads, -1)).transpose(1, 2)

    others: Any = keys[:, :, :0]
    values, cut = split(module.to_v(hidden)), 0
    if backbone.family.name == "flux1":
        text, rotation = tap.kwargs.get("encoder_hidden_states"), tap.kwargs["image_rotary_emb"]
        tokens = backbone.text["hidden"].shape[1]
        first = tuple(each[:tokens] for each in rotation)
        if text is None:
            others, cut = module.norm_k(split(module.to_k(hidden[:, :tokens]))), tokens
        else:
            others, values = module.norm_added_k(split(module.add_k_proj(text))), with_text(module, split, values, text)
        others = apply_rotary_emb(others, first, sequence_dim=2)
        joint = (queries @ torch.cat([others, keys], 2).mT).softmax(-1)
        own = joint[..., tokens:]
    else:
        text = tap.kwargs.get("encoder_hidden_states")
        if text is not None:
            others = module.norm_added_k(split(module.add_k_proj(text)))
            values = torch.cat([values, split(module.add_v_proj(text))], 2)
        joint = (queries @ torch.cat([keys, others], 2).mT).softmax(-1)
        own = joint[..., : keys.shape[2]]
    # The joint attention, cut to the picture's keys and normalised again, is the map.
    torch.testing.assert_close((own / own.sum(-1, keepdim=True)).double(), heads, atol=1e-6, rtol=0)
    mixed = (joint @ values).transpose(1, 2).flatten(2)
    said = tap.said[0] if isinstance(tap.said, tuple) else tap.said[:, cut:]
    return said, module.to_out[0](mixed) if hasattr(module, "to_out") else mixed


def with_text(module: Any, split: Any, values: Tensor, text: Tensor) -> Tensor:
    return torch.cat([split(module.add_v_proj(text)), values], 2)


def test_spans_and_chunks_do_not_matter(backbone: DiffusionBackbone) -> None:
    x = latents(backbone, 2)
    expected = collected(backbone, x)
    for elements in (1, 3000, 1 << 14, 1 << 30):
        for block, found in collected(backbone, x, elements=elements).items():
            torch.testing.assert_close(found, expected[block], atol=1e-6, rtol=0)


def test_the_mean_of_all_blocks(backbone: DiffusionBackbone) -> None:
    x = latents(backbone, 2)
    maps, size = collected(backbone, x), x.shape[-2:]
    found = attention_map(backbone, x, TAU)
    assert found.dtype == torch.float32
    for item in range(2):
        parts = [(each[item], token_grid(each.shape[-1], *size)) for each in maps.values()]
        expected = average_blocks(parts, max(grid for _, grid in parts))
        torch.testing.assert_close(found[item], expected, atol=1e-6, rtol=0)
    alone = attention_map(backbone, x, TAU, blocks=[0, backbone.blocks[-1].name], grid=(16, 16))
    both = [maps[0][0], maps[len(maps) - 1][0]]
    expected = average_blocks([(each, token_grid(len(each), *size)) for each in both], (16, 16))
    torch.testing.assert_close(alone[0], expected, atol=1e-6, rtol=0)


def first_queries(backbone: DiffusionBackbone) -> Tensor:
    module: Any = backbone.blocks[0].module
    return module.to_q.weight


def test_gradients_reach_the_projections(backbone: DiffusionBackbone) -> None:
    x, weight = latents(backbone), first_queries(backbone).requires_grad_()

    def loss(**options: Any) -> Tensor:
        terms: list[Tensor] = []
        read_attention(backbone, x, TAU, lambda *span: terms.append(span[-1].square().sum()), gradient=True, **options)
        return torch.stack(terms).sum()

    found = {}
    for elements in (2000, 1 << 30):
        (found[elements],) = torch.autograd.grad(loss(elements=elements), weight)
    torch.testing.assert_close(found[2000], found[1 << 30], rtol=1e-4, atol=1e-6)
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    step, around = 1e-2, []
    with torch.no_grad():
        for sign in (1, -1):
            weight.add_(sign * step * direction)
            around.append(float(loss()))
            weight.sub_(sign * step * direction)
    slope = float((found[2000] * direction).sum())
    assert (around[0] - around[1]) / (2 * step) == pytest.approx(slope, rel=0.1, abs=1e-4)
    weight.requires_grad_(False)


def test_a_network_that_checkpoints_its_blocks_has_the_same_gradient(backbone: DiffusionBackbone) -> None:
    network: Any = backbone.network
    x, weight = latents(backbone), first_queries(backbone)

    def gradient() -> Tensor:
        terms: list[Tensor] = []
        said = read_attention(
            backbone, x, TAU, lambda *span: terms.append(span[-1].square().sum()), gradient=True, elements=5000
        )
        (found,) = torch.autograd.grad(torch.stack(terms).sum() + said.square().mean(), weight)
        return found

    weight.requires_grad_()
    try:
        plain = gradient()
        network.train().enable_gradient_checkpointing()
        torch.testing.assert_close(gradient(), plain, rtol=1e-4, atol=1e-7)
    finally:
        network.disable_gradient_checkpointing()
        network.eval()
        weight.requires_grad_(False)


@pytest.fixture(scope="module")
def pixart() -> DiffusionBackbone:
    return random_backbone("pixart_alpha")


def test_maps_stay_in_float32_under_autocast_and_in_half_precision(pixart: DiffusionBackbone) -> None:
    x = latents(pixart)
    exact = attention_map(pixart, x, TAU)
    with torch.autocast("cpu", torch.bfloat16):
        under = attention_map(pixart, x, TAU)
    half = attention_map(random_backbone("pixart_alpha", dtype=torch.bfloat16), x, TAU)
    for found in (under, half):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.sum(-1), torch.ones(1, 256), atol=1e-5, rtol=0)
        assert 0 < (found - exact).abs().max() < 0.05 * exact.max()


def test_hooks_go_when_something_fails(pixart: DiffusionBackbone) -> None:
    def failing(*_: Any) -> None:
        raise ValueError("full")

    for gradient in (False, True):
        with pytest.raises(ValueError, match="full"):
            read_attention(pixart, latents(pixart), TAU, failing, gradient=gradient)
    assert not any(block.module._forward_pre_hooks for block in pixart.blocks)


def test_a_map_of_early_blocks_ends_the_pass_early(pixart: DiffusionBackbone) -> None:
    ran: list[int] = []
    handles = [
        block.module.register_forward_hook(lambda *_, index=index: ran.append(index))
        for index, block in enumerate(pixart.blocks)
    ]
    attention_map(pixart, latents(pixart), TAU, blocks=[0])
    read_attention(pixart, latents(pixart), TAU, lambda *_: None, blocks=[0])
    for handle in handles:
        handle.remove()
    assert ran == [0, 1]  # those of the second call alone: the first ended before its block ran


def test_a_block_that_does_not_run_is_told(pixart: DiffusionBackbone) -> None:
    class Odd:
        network, schedule, size = pixart.network, pixart.schedule, pixart.size
        blocks: Sequence[Block] = [*pixart.blocks, Block("elsewhere", nn.Identity(), pixart.blocks[0].queries_keys)]
        encode, decode, answer = pixart.encode, pixart.decode, pixart.answer

    with pytest.raises(DataError, match="elsewhere was asked for"):
        read_attention(Odd(), latents(pixart), TAU, lambda *_: None)


def test_blocks_by_index_and_name(pixart: DiffusionBackbone) -> None:
    assert choose_blocks(pixart, None) == [0, 1]
    assert choose_blocks(pixart, [-1, 0, 1]) == [0, 1]
    assert choose_blocks(pixart, ["*.1.attn1"]) == [1]
    for wrong in ([2], [-3], ["down*"], []):
        with pytest.raises(ConfigError, match=r"index, 0 to 1, .* transformer_blocks.0.attn1, transformer_bl"):
            choose_blocks(pixart, wrong)
    with pytest.raises(ConfigError, match=r"0 to 6, .*down_blocks.0.attentions.0.transformer_blocks.0.attn1"):
        choose_blocks(random_backbone("sd15"), ["single*"])


def test_the_blocks_of_a_unet_come_as_they_run() -> None:
    names = [block.name.split(".")[0] for block in random_backbone("sdxl").blocks]
    assert names == ["down_blocks"] * 3 + ["mid_block"] * 2 + ["up_blocks"] * 6


@pytest.mark.parametrize(
    ("tokens", "height", "width", "grid"),
    [(4096, 128, 128, (64, 64)), (96, 64, 24, (16, 6)), (7, 1, 7, (1, 7)), (6, 5, 4, (3, 2)), (1, 8, 8, (1, 1))],
)
def test_the_grid_follows_the_picture(tokens: int, height: int, width: int, grid: tuple[int, int]) -> None:
    assert token_grid(tokens, height, width) == grid


def test_head_mean_is_the_mean_of_softmaxes() -> None:
    source = torch.Generator().manual_seed(0)
    queries, keys = torch.randn(2, 3, 5, 4, generator=source), torch.randn(2, 3, 7, 4, generator=source)
    expected = torch.einsum("bhqd,bhkd->bhqk", queries.double(), keys.double()).softmax(-1).mean(1)
    for heads in (1, 2, 3):
        torch.testing.assert_close(head_mean(queries, keys, heads).double(), expected, atol=1e-6, rtol=0)
