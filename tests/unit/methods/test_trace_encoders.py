"""Encoders without time: their maps are those of their own attention, row by row of the picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.methods.trace.backbone import Backbone, Block
from edgebench.methods.trace.capture import attention_map, read_attention
from edgebench.methods.trace.divergence import boundary_divergence
from edgebench.methods.trace.encoders import Encoder, eva, load_encoder
from edgebench.methods.trace.encoders.dino import plain_queries_keys, rotated_queries_keys
from edgebench.methods.trace.encoders.llava import language_queries_keys
from edgebench.methods.trace.extract import edge_map, extract
from edgebench.methods.trace.labels import pseudo_labels
from edgebench.methods.trace.opening import open_backbone
from tests.unit.methods.trace_encoders import (
    BEFORE,
    IMAGE_TOKEN,
    KINDS,
    encoder_of,
    need,
    pictures,
    random_encoder,
    random_network,
    save,
)

VISION = [kind for kind in KINDS if kind != "llava_language"]
EVERYTHING = slice(0, None)


class Maps:
    """A sink that puts the spans together: by block, (B, tokens, tokens)."""

    def __init__(self) -> None:
        self.spans: dict[int, list[Tensor]] = {}
        self.grids: dict[int, tuple[int, int]] = {}

    def __call__(self, block: int, grid: tuple[int, int], rows: slice, attention: Tensor) -> None:
        self.spans.setdefault(block, []).append(attention)
        self.grids[block] = grid

    def of(self, block: int) -> Tensor:
        return torch.cat(self.spans[block], 1)


def read(encoder: Encoder, pixels: Tensor, **options: Any) -> tuple[Tensor, Maps]:
    maps = Maps()
    return read_attention(encoder, pixels, 0, maps, **options), maps


def called(encoder: Encoder, block: Block, pixels: Tensor) -> tuple[tuple[Any, ...], dict[str, Any], Tensor]:
    """What a module is called with, and its answer."""
    seen: list[Any] = []

    def keep(module: torch.nn.Module, arguments: Any, keywords: Any, output: Any) -> None:
        seen.extend((arguments, keywords, output[0] if isinstance(output, tuple) else output))

    handle = block.module.register_forward_hook(keep, with_kwargs=True)
    encoder.answer(pixels)
    handle.remove()
    arguments, keywords, output = seen
    return arguments, keywords, output


def all_tokens(kind: str, block: Block) -> Callable[..., tuple[Tensor, Tensor]]:
    """Queries and keys of all tokens of an attention module, those that are left out included."""
    if kind == "llava":
        return plain_queries_keys(0, heads="num_heads", scale="scale")
    if kind == "llava_language":
        return language_queries_keys(EVERYTHING)
    if kind == "dinov3":
        return rotated_queries_keys(0)
    return block.queries_keys if kind == "qwen" else plain_queries_keys(0)


@pytest.mark.parametrize("reads", ["attention", "features"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_reading_changes_nothing(kind: str, reads: Any) -> None:
    encoder = random_encoder(kind, reads=reads)
    pixels = encoder.encode(pictures(encoder.size, 2))
    expected = encoder.answer(pixels)
    answer, maps = read(encoder, pixels)
    assert torch.equal(answer, expected)
    assert torch.equal(encoder.answer(pixels), expected)
    assert sorted(maps.spans) == list(range(len(encoder.blocks)))
    for block in maps.spans:
        assert maps.grids[block] == (6, 6)
        assert maps.of(block).shape == (2, 36, 36)
        torch.testing.assert_close(maps.of(block).sum(-1), torch.ones(2, 36))


@pytest.mark.parametrize("kind", ["dinov2", "dinov2_registers", "dinov3", "llava", "llava_language"])
@torch.no_grad()
def test_the_full_map_rebuilds_what_the_module_answers(kind: str) -> None:
    encoder = random_encoder(kind)
    pixels = encoder.encode(pictures(encoder.size, 2))
    for index, block in enumerate(encoder.blocks):
        module: Any = block.module
        arguments, keywords, output = called(encoder, block, pixels)
        queries, keys = all_tokens(kind, block)(module, arguments, keywords)
        logits = queries @ keys.mT
        if kind == "llava_language":
            logits += torch.full(logits.shape[-2:], -torch.inf).triu(1)
        maps = logits.softmax(-1)
        hidden = arguments[0] if arguments else keywords["hidden_states"]
        values = module.v_proj(hidden).unflatten(-1, (-1, queries.shape[-1])).transpose(1, 2)
        values = values.repeat_interleave(maps.shape[1] // values.shape[1], 1)
        project = module.get_submodule(block.projections[-1])
        torch.testing.assert_close(project((maps @ values).transpose(1, 2).flatten(2)), output, atol=1e-5, rtol=1e-5)
        # What is read is the part of the image's tokens, each head's rows normalised again.
        first = maps.shape[-1] - 36
        image = maps[:, :, first:, first:]
        expected = (image / image.sum(-1, keepdim=True)).mean(1)
        torch.testing.assert_close(read(encoder, pixels)[1].of(index), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["eva", "eva_rotary"])
@torch.no_grad()
def test_the_full_map_rebuilds_what_evas_module_answers(kind: str) -> None:
    encoder = random_encoder(kind)
    pixels = encoder.encode(pictures(encoder.size, 2))
    for index, block in enumerate(encoder.blocks):
        module: Any = block.module
        (hidden,), keywords, output = called(encoder, block, pixels)
        queries, keys = eva.eva_queries_keys(module, (hidden,), keywords)
        # The class token is not rotated: without its rotation, every token is read like it.
        module.num_prefix_tokens = 0
        plain = eva.eva_queries_keys(module, (hidden,), keywords | {"rope": None})
        module.num_prefix_tokens = 1
        queries, keys = (torch.cat((own[:, :, :1], each), 2) for own, each in zip(plain, (queries, keys), strict=True))
        maps = (queries @ keys.mT).softmax(-1)
        fused = module.qkv is not None
        values = module.qkv(hidden).chunk(3, -1)[2] + module.v_bias if fused else module.v_proj(hidden)
        values = values.unflatten(-1, (3, -1)).transpose(1, 2)
        rebuilt = module.proj(module.norm((maps @ values).transpose(1, 2).flatten(2)))
        torch.testing.assert_close(rebuilt, output, atol=1e-5, rtol=1e-5)
        image = maps[:, :, 1:, 1:]
        expected = (image / image.sum(-1, keepdim=True)).mean(1)
        torch.testing.assert_close(read(encoder, pixels)[1].of(index), expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_qwens_map_rebuilds_what_the_module_answers() -> None:
    encoder = random_encoder("qwen")
    pixels = encoder.encode(pictures((24, 40), 2))
    (block,) = encoder.blocks
    module: Any = block.module
    arguments, keywords, output = called(encoder, block, pixels)
    maps = torch.stack([head_map(block, head, arguments, keywords) for head in range(3)], 1)
    values = module.qkv(arguments[0]).chunk(3, -1)[2]
    in_rows = by_row(values, (6, 10)).unflatten(-1, (3, -1)).transpose(1, 2)
    rebuilt = module.proj((maps @ in_rows).transpose(1, 2).flatten(2))
    torch.testing.assert_close(rebuilt, by_row(output, (6, 10)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(read(encoder, pixels)[1].of(0), maps.mean(1), atol=1e-6, rtol=1e-5)


def head_map(block: Block, head: int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Tensor:
    queries, keys = block.queries_keys(block.module, arguments, keywords)
    return (queries[:, head] @ keys[:, head].mT).softmax(-1)


def by_row(hidden: Tensor, grid: tuple[int, int], window: int = 4) -> Tensor:
    """Qwen2.5-VL's tokens row by row, found plainly: windows of 4x4 patches, squares of 2x2 in them, for the tests."""
    places = []
    for top in range(0, grid[0], window):
        for left in range(0, grid[1], window):
            for row in range(top, min(top + window, grid[0]), 2):
                for column in range(left, min(left + window, grid[1]), 2):
                    places += [(row + y) * grid[1] + column + x for y in (0, 1) for x in (0, 1)]
    result = torch.empty(len(hidden) // len(places), len(places), hidden.shape[-1])
    result[:, places] = hidden.view(result.shape)
    return result


@torch.no_grad()
def test_qwen_is_given_patches_as_its_own_processor_cuts_them() -> None:
    encoder = random_encoder("qwen")
    colours = torch.randint(0, 256, (3, 24, 40), dtype=torch.uint8)
    processor: Any = Qwen2VLImageProcessorPil(patch_size=4, min_pixels=1, max_pixels=10**6)
    expected = processor(images=colours.permute(1, 2, 0).numpy(), return_tensors="pt")
    given: list[Any] = []
    handle = encoder.network.register_forward_pre_hook(
        lambda _, args, kwargs: given.extend((args, kwargs)), with_kwargs=True
    )
    encoder.answer(encoder.encode(colours[None] / 127.5 - 1))
    handle.remove()
    torch.testing.assert_close(given[0][0], expected["pixel_values"], atol=1e-5, rtol=1e-5)
    assert torch.equal(given[1]["grid_thw"], expected["image_grid_thw"])


@pytest.mark.parametrize("reads", ["attention", "features"])
@pytest.mark.parametrize("kind", VISION)
@torch.no_grad()
def test_queries_and_keys_come_row_by_row(kind: str, reads: Any) -> None:
    """A patch that differs shows in its own column of the first block's map more than in any other."""
    encoder = random_encoder(kind, reads=reads)
    flat = encoder.encode(torch.zeros(1, 3, 24, 40))
    _, before = read(encoder, flat, blocks=[0])
    for row, column in ((0, 3), (2, 1), (5, 9), (4, 6)):
        spotted = flat.clone()
        spotted[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 3 * torch.rand(3, 4, 4)
        _, after = read(encoder, spotted, blocks=[0])
        change = (after.of(0) - before.of(0)).abs().mean((0, 1))
        assert after.grids[0] == (6, 10)
        assert int(change.argmax()) == row * 10 + column


@pytest.mark.parametrize("reads", ["attention", "features"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_hidden_states_come_row_by_row(kind: str, reads: Any) -> None:
    """Queries are a linear layer of the hidden states, or those themselves: both are in the same order."""
    encoder = random_encoder(kind, reads=reads)
    pixels = encoder.encode(pictures(24, 2))
    block = encoder.blocks[0]
    module: Any = block.module
    arguments, keywords, _ = called(encoder, block, pixels)
    hidden = block.hidden(arguments, keywords, 36)
    assert hidden.shape == (2, 36, 24)
    if reads == "features":
        queries, _ = block.queries_keys(module, arguments, keywords)
        torch.testing.assert_close(queries[:, 0] * 0.1, torch.nn.functional.normalize(hidden, dim=-1))
    elif kind == "qwen":
        torch.testing.assert_close(hidden, by_row(arguments[0], (6, 6)))
    else:
        given = arguments[0] if arguments else keywords["hidden_states"]
        torch.testing.assert_close(hidden, given[:, -36:])


@torch.no_grad()
def test_features_are_compared_by_their_angle() -> None:
    for kind in ("dinov2", "dinov3", "qwen"):
        encoder = random_encoder(kind, reads="features")
        pixels = encoder.encode(pictures(24))
        answer, maps = read(encoder, pixels)
        last = len(encoder.blocks) - 1
        _, _, normed = called(encoder, encoder.blocks[-1], pixels)
        (hidden,), _, _ = called(encoder, encoder.blocks[-1], pixels)
        tokens = by_row(hidden, (6, 6)) if kind == "qwen" else hidden[:, -36:]
        cosine = cosine_similarity(tokens[0][:, None], tokens[0][None], dim=-1)
        torch.testing.assert_close(maps.of(last)[0], (cosine / 0.1).softmax(-1), atol=1e-6, rtol=1e-5)
        assert maps.of(last)[0].argmax(1).tolist() == list(range(36))
        assert answer.shape == (1, 24, 6, 6)
        assert normed is not None


@torch.no_grad()
def test_attention_of_the_language_model_is_causal() -> None:
    encoder = random_encoder("llava_language")
    pixels = encoder.encode(pictures(24))
    for elements in (None, 36 * 5):
        _, maps = read(encoder, pixels, elements=elements)
        for index in maps.spans:
            attention = maps.of(index)[0]
            assert torch.equal(attention.triu(1), torch.zeros(36, 36))
            assert attention[0, 0] == 1
            assert (attention.tril() > 0).sum() == 36 * 37 / 2


@torch.no_grad()
def test_the_language_model_sees_what_llava_gives_it() -> None:
    network: Any = random_network("llava_language")
    encoder = encoder_of(network, "llava_language")
    pixels = encoder.encode(pictures(24))
    # The question behind the image changes nothing of it.
    words = torch.tensor([[*BEFORE, *[IMAGE_TOKEN] * 36, 3, 8]])
    whole = network.model(input_ids=words, pixel_values=pixels).last_hidden_state[:, 2:38]
    torch.testing.assert_close(encoder.answer(pixels).flatten(2).mT, whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_llavas_tower_ends_where_the_language_model_reads_it() -> None:
    network: Any = random_network("llava")
    encoder = encoder_of(network, "llava", 24)
    pixels = encoder.encode(pictures(24))
    assert [block.name for block in encoder.blocks] == [f"encoder.layers.{i}.self_attn" for i in range(2)]
    given: list[Tensor] = []
    handle = network.model.multi_modal_projector.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    network.model.get_image_features(pixel_values=pixels)
    handle.remove()
    torch.testing.assert_close(encoder.answer(pixels).flatten(2).mT, given[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_projections_are_layers_that_adapters_change(kind: str) -> None:
    encoder = random_encoder(kind)
    targets = [f"{block.name}.{layer}" for block in encoder.blocks for layer in block.projections]
    for block in encoder.blocks:
        assert encoder.network.get_submodule(block.name) is block.module
    assert all(isinstance(encoder.network.get_submodule(target), torch.nn.Linear) for target in targets)
    pixels = encoder.encode(pictures(encoder.size))
    before = read(encoder, pixels)[1]
    inject_adapter_in_model(LoraConfig(r=2, target_modules=targets, init_lora_weights=True), encoder.network)
    encoder.network.eval()
    unchanged = read(encoder, pixels)[1]
    last = len(encoder.blocks) - 1
    torch.testing.assert_close(unchanged.of(last), before.of(last), atol=1e-6, rtol=1e-5)
    adapters = [(name, value) for name, value in encoder.network.named_parameters() if "lora_" in name]
    assert len(adapters) == 2 * len(targets)
    # Up-projections begin at 0, so that down-projections get no gradient yet.
    ups = {name: value for name, value in adapters if "lora_B" in name}
    answer, maps = read(encoder, pixels, gradient=True)
    answer.square().sum().backward(retain_graph=True)
    assert [name for name, value in ups.items() if value.grad is None or not value.grad.any()] == []
    encoder.network.zero_grad()
    (maps.of(last) * torch.rand(36, 36)).sum().backward()
    of_last = [value.grad for name, value in ups.items() if encoder.blocks[-1].name + "." in name]
    assert any(each is not None and each.any() for each in of_last)


@pytest.mark.parametrize("reads", ["attention", "features"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("eva")])
def test_training_mode_and_checkpointing_change_no_gradient(kind: str, reads: Any) -> None:
    encoder = random_encoder(kind, reads=reads)
    network: Any = encoder.network
    pixels = encoder.encode(pictures(24, 2))
    block = encoder.blocks[0]
    weight = network.get_submodule(f"{block.name}.{block.projections[0]}").weight.requires_grad_()

    def gradient() -> Tensor:
        answer, maps = read(encoder, pixels, gradient=True)
        loss = torch.stack([maps.of(index).square().sum() for index in maps.spans]).sum() + answer.square().mean()
        return torch.autograd.grad(loss, weight)[0]

    expected = gradient()
    assert expected.abs().max() > 0
    network.train()
    torch.testing.assert_close(gradient(), expected)
    network.activation_checkpointing_enable()
    torch.testing.assert_close(gradient(), expected)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_folder_gives_the_same(kind: str, tmp_path: Path) -> None:
    network = random_network(kind)
    save(network, kind, tmp_path)
    size = None if kind.startswith("llava") else 24
    expected = encoder_of(network, kind, size)
    loaded = load_encoder(tmp_path, layers="language" if kind == "llava_language" else "vision", size=size)
    assert loaded.size == expected.size == 24
    assert isinstance(loaded, Encoder)
    pixels = loaded.encode(pictures(24, 2))
    assert torch.equal(pixels, expected.encode(pictures(24, 2)))
    answer, maps = read(loaded, pixels)
    other, others = read(expected, pixels)
    assert torch.equal(answer, other)
    assert all(torch.equal(maps.of(block), others.of(block)) for block in others.spans)


@pytest.mark.parametrize("kind", ["llava", "qwen"])
def test_of_a_model_of_images_and_text_the_tower_alone_is_loaded(kind: str, tmp_path: Path) -> None:
    network = random_network(kind)
    save(network, kind, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = load_encoder(tmp_path, dtype=torch.bfloat16, size=24)
    own = sum(value.numel() for value in loaded.network.parameters())
    assert own < sum(value.numel() for value in network.parameters())
    assert {value.dtype for value in loaded.network.parameters()} == {torch.bfloat16}
    answer, maps = read(loaded, loaded.encode(pictures(24)))
    assert answer.dtype == maps.of(0).dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "saved", "named"),
    [
        ("llava", "vision_tower.", "vision_tower.vision_model."),
        ("llava", "vision_tower.", "model.vision_tower."),
        ("llava", "vision_tower.", "model.vision_tower.vision_model."),
        ("qwen", "visual.", "model.visual."),
    ],
)
@torch.no_grad()
def test_files_that_other_versions_wrote_are_read(kind: str, saved: str, named: str, tmp_path: Path) -> None:
    network = random_network(kind)
    save(network, kind, tmp_path)
    state: dict[str, Tensor] = {}
    for file in tmp_path.glob("*.safetensors*"):
        if file.suffix == ".safetensors":
            state |= load_file(file)
        file.unlink()
    renamed = {name.replace(saved, named): value for name, value in state.items()}
    assert sum(name.startswith(named) for name in renamed) > 20
    save_file(renamed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = load_encoder(tmp_path, size=24)
    pixels = loaded.encode(pictures(24))
    assert torch.equal(loaded.answer(pixels), encoder_of(network, kind, 24).answer(pixels))


@pytest.mark.parametrize("kind", VISION)
@pytest.mark.parametrize("sides", [(24, 40), (32, 16), (8, 56)])
@torch.no_grad()
def test_stage_one_of_pictures_that_are_not_square(kind: str, sides: tuple[int, int]) -> None:
    encoder = random_encoder(kind)
    pixels = encoder.encode(pictures(sides))
    grid = (sides[0] // 4, sides[1] // 4)
    _, maps = read(encoder, pixels)
    assert set(maps.grids.values()) == {grid}
    attention = attention_map(encoder, pixels, 0)[0]
    scores = boundary_divergence(attention, grid)
    labels = pseudo_labels(scores)
    assert scores.shape == labels.labels.shape == grid
    assert scores.min() >= 0
    assert labels.edge > 0


@pytest.mark.parametrize("kind", ["dinov2", "qwen", "llava"])
@torch.no_grad()
def test_a_pass_that_ends_early_leaves_the_network_as_it_was(kind: str) -> None:
    encoder = random_encoder(kind)
    pixels = encoder.encode(pictures(24))
    expected = encoder.answer(pixels)
    attention_map(encoder, pixels, 0, blocks=[0])
    assert torch.equal(encoder.answer(pixels), expected)


@pytest.mark.parametrize("kind", ["dinov2", "llava"])
def test_pixels_are_normalised_and_come_back(kind: str) -> None:
    encoder = random_encoder(kind)
    picture = pictures(24)
    pixels = encoder.encode(picture)
    mean, deviation = encoder.statistics
    assert mean[0] == pytest.approx({"dinov2": 0.485, "llava": 0.4815}[kind], abs=1e-4)
    torch.testing.assert_close(pixels[:, 2], ((picture[:, 2] + 1) / 2 - mean[2]) / deviation[2])
    torch.testing.assert_close(encoder.decode(pixels), picture, atol=1e-6, rtol=1e-6)


def test_has_no_time() -> None:
    backbone: Backbone = random_encoder("dinov2")
    assert not any(value.requires_grad for value in backbone.network.parameters())
    assert backbone.schedule is None
    pixels = backbone.encode(pictures(24))
    assert torch.equal(backbone.answer(pixels, 0), backbone.answer(pixels, 500))


def test_takes_sixty_four_patches_a_side_where_nothing_is_said() -> None:
    sizes = {kind: encoder_of(random_network(kind), kind).size for kind in ("dinov2", "dinov3", "qwen", "llava")}
    assert sizes == {"dinov2": 256, "dinov3": 256, "qwen": 256, "llava": 24}


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("dinov2", {"size": 26}, "size 26: the network cuts pictures into squares of 4 pixels.*such as 24 or 28"),
        ("qwen", {"size": 28}, "squares of 8 pixels.*such as 24 or 32"),
        ("dinov3", {"size": 0}, "size 0"),
        ("dinov2", {"reads": "feature"}, "Did you mean 'features'"),
        ("llava_language", {"size": 48}, "size 48: LLaVA's language model"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind: str, options: dict[str, Any], words: str) -> None:
    network = random_network(kind)
    with pytest.raises(ConfigError, match=words):
        encoder_of(network, kind, **options)


def test_pictures_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(DataError, match=r"25x24 pixels: the network needs multiples of 4"):
        random_encoder("dinov2").encode(pictures((25, 24)))


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no readable configuration"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dinov4"}))
    with pytest.raises(DataError, match=r"model_type 'dinov4'.*Did you mean"):
        load_encoder(tmp_path)
    save(random_network("dinov2"), "dinov2", tmp_path)
    with pytest.raises(ConfigError, match=r"holds dinov2\. Take 'vision'"):
        load_encoder(tmp_path, layers="language")
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(DataError, match="holds no weights of Dinov2Model"):
        load_encoder(tmp_path)


def test_folders_that_lack_a_part_are_refused(tmp_path: Path) -> None:
    save(random_network("llava"), "llava_language", tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"tokenizer.json: no tokenizer"):
        load_encoder(tmp_path, layers="language")
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 4
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"weights of another CLIPVisionModel: encoder.layers.3.* is missing"):
        load_encoder(tmp_path)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "eva02_enormous_patch14_clip_224"}))
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(EdgebenchError, match=r"pip install 'edgebench\[timm\]'"):
        load_encoder(tmp_path)


def test_a_torchvision_of_another_torch_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "timm", raising=False)
    with pytest.raises(EdgebenchError, match=r"nms does not exist.*built for the installed torch"):
        eva.import_timm()


def test_eva_takes_the_pixels_that_its_configuration_names(tmp_path: Path) -> None:
    need("eva")
    save(random_network("eva"), "eva", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"] |= {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load_encoder(tmp_path)
    assert loaded.statistics == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert loaded.size == 24
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"there is no model\.safetensors"):
        load_encoder(tmp_path)


def test_says_what_it_is() -> None:
    note = random_encoder("llava_language", reads="features").note
    assert note == {"network": "LlavaModel", "reads": "features of the language model", "size": 24, "grid": 6}


def test_names_follow_the_order_of_the_blocks() -> None:
    names: Sequence[str] = [block.name for block in random_encoder("qwen", reads="features").blocks]
    assert names == [f"blocks.{index}.attn" for index in range(3)]


@pytest.mark.parametrize(
    ("kind", "reads"),
    [("dinov2", "attention"), ("dinov3", "features"), ("llava_language", "attention"), ("qwen", "features")],
)
def test_stage_one_from_a_folder(kind: str, reads: Any, tmp_path: Path) -> None:
    """Opened like every backbone, looked at once: no levels, no search, labels on the grid of patches."""
    save(random_network(kind), kind, tmp_path)
    layers: Any = "language" if kind == "llava_language" else "vision"
    backbone = open_backbone(tmp_path, 24, reads=reads, layers=layers)
    colours = torch.randint(0, 256, (31, 50, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    found = extract(backbone, colours.numpy(), "picture")
    assert (found.taus, found.kept, len(found.curve)) == ((), None, 0)
    assert found.scores.shape == found.labels.labels.shape == (6, 6)
    assert found.scores.isfinite().all()
    assert found.labels.edge > 0
    assert edge_map(found.scores, 31, 50).shape == (31, 50)
    again = extract(backbone, colours.numpy(), "another name")
    assert torch.equal(again.scores, found.scores)
