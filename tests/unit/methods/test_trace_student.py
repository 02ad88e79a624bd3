"""Distillation of TRACE into one pass: what the decoder sees, losses, training, weight files, prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace.backbone import Backbone
from edgebench.methods.trace.decoder import (
    BINS,
    Decoder,
    DecoderConfig,
    Level,
    find_levels,
    pooled_keys,
    read_features,
    relative_keys,
)
from edgebench.methods.trace.diffusion import FamilyName
from edgebench.methods.trace.diffusion_random import random_backbone
from edgebench.methods.trace.objective import DistilObjective, DistilSettings, masked_dice, on_grid
from edgebench.methods.trace.small import SmallBackbone, SmallConfig, SmallTransformer
from edgebench.methods.trace.squares import in_range, square
from edgebench.methods.trace.student import EdgePredictor, Student, at_size, is_lora
from edgebench.methods.trace.weights import load_student, origin_of, trained_size
from edgebench.training.loop import train
from edgebench.training.records import Records
from edgebench.training.settings import LoopSettings
from tests.unit.methods.test_trace_small import Scenes
from tests.unit.methods.test_trace_small import backbone as small_backbone

torch.set_num_threads(1)
FAMILIES = get_args(FamilyName)
TINY = SmallConfig(size=32, channels=6, layers=2, heads=2, head_width=16)
RELATIVE = DecoderConfig("relative", "each", window=3, width=8)
KINDS = [DecoderConfig("keys16", width=8), RELATIVE, DecoderConfig("hidden", "each", width=8)]


def labels_of(grid: int) -> Any:
    """Labels that are easy to learn: where a scene is bright, unknown along the left border."""

    def label(image_id: str) -> np.ndarray:
        grey = square(Scenes().image(image_id), grid).float().mean(0)
        labels = (grey > grey.mean()).to(torch.int8)
        labels[:, 0] = -1
        return labels.numpy()

    return label


def student(
    config: DecoderConfig = RELATIVE, rank: int | None = 4, made: Backbone | None = None, **named: Any
) -> Student:
    torch.manual_seed(0)
    made = made or small_backbone(TINY)
    return Student(made, config, find_levels(made, config, **named), rank)


def objective(made: Student | None = None, origin: Any = None, **settings: Any) -> Any:
    made = made or student()
    grid = made.levels[0].grid[0]
    return DistilObjective(made, Scenes(4), labels_of(grid), DistilSettings(**settings), origin)


def batch_of(made: Any, count: int = 2) -> dict[str, Tensor]:
    return made.collate([made.sample(index, np.random.default_rng(index)) for index in range(count)])


def gradients(made: Any, loss: Tensor) -> dict[str, Tensor]:
    made.model.zero_grad()
    loss.backward()
    return {name: each.grad.clone() for name, each in made.model.named_parameters() if each.grad is not None}


class TestWhatIsSeen:
    def test_pooled_keys_add_up_whole_squares(self) -> None:
        attention = torch.rand(2, 5, 32 * 48).softmax(-1)
        found = pooled_keys(attention, (32, 48)).view(2, 5, BINS, BINS)
        keys = attention.view(2, 5, BINS, 2, BINS, 3)
        torch.testing.assert_close(found, keys.sum((3, 5)))

    @pytest.mark.parametrize("grid", [(24, 24), (8, 8), (5, 17), (1, 1)])
    def test_pooled_keys_keep_sums_and_places(self, grid: tuple[int, int]) -> None:
        tokens = grid[0] * grid[1]
        attention = torch.rand(1, tokens, tokens).softmax(-1)
        torch.testing.assert_close(pooled_keys(attention, grid).sum(-1), torch.ones(1, tokens))
        corner = torch.zeros(1, 1, tokens)
        corner[..., 0] = 1
        pooled = pooled_keys(corner, grid).view(BINS, BINS)
        assert pooled[0, 0] > 0
        assert (pooled[-1, -1] > 0) == (tokens == 1)

    def test_relative_keys_beside_a_loop(self) -> None:
        height, width, window = 4, 5, 3
        attention = torch.rand(2, 20, 20)
        spans = slice(0, 7), slice(7, 20)
        found = torch.cat([relative_keys(attention[:, each], (height, width), each, window) for each in spans], 1)
        for query in range(20):
            for place in range(window**2):
                y = query // width + place // window - 1
                x = query % width + place % window - 1
                inside = 0 <= y < height and 0 <= x < width
                expected = attention[:, query, y * width + x] if inside else torch.zeros(2)
                torch.testing.assert_close(found[:, query, place], expected)

    def test_an_even_spread_gives_log_two(self) -> None:
        made = small_backbone(TINY)
        for block in made.blocks:
            for layer in ("to_q", "to_k"):
                torch.nn.init.zeros_(made.network.get_parameter(f"{block.name}.{layer}.weight"))
        for config in KINDS[:2]:
            levels = find_levels(made, config)
            features, _ = read_features(made, torch.randn(1, 6, 8, 8), 0, config, levels, False)
            inner = features[0][..., 2:-2, 2:-2]
            torch.testing.assert_close(inner, torch.full_like(inner, 2.0).log(), atol=1e-4, rtol=0)

    def test_moves_with_the_picture(self) -> None:
        """What `relative` sees of a map that only depends on the distance is the same everywhere; `keys16` is not."""
        place = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")).flatten(1)
        attention = (-torch.cdist(place.T, place.T)).softmax(-1)[None]
        seen = relative_keys(attention, (8, 8), slice(0, 64), 3).view(8, 8, 9)
        ratio = seen / seen[..., 4:5]
        torch.testing.assert_close(ratio[3, 3], ratio[4, 5])
        pooled = pooled_keys(attention, (8, 8)).view(8, 8, 256)
        assert not torch.allclose(pooled[3, 3], pooled[4, 5], atol=1e-3)

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("config", KINDS, ids=lambda config: config.input)
    def test_levels_of_all_families(self, family: FamilyName, config: DecoderConfig) -> None:
        made = random_backbone(family)
        levels = find_levels(made, config)
        assert sorted(index for level in levels for index in level.blocks) == list(range(len(made.blocks)))
        assert [level.grid for level in levels] == sorted({level.grid for level in levels}, reverse=True)
        latents = made.encode(torch.rand(2, 3, made.size, made.size) * 2 - 1)
        features, answer = read_features(made, latents, 0, config, levels, False)
        for each, level in zip(features, levels, strict=True):
            assert each.shape == (2, level.channels, *level.grid)
            assert each.isfinite().all()
        torch.testing.assert_close(answer, made.answer(latents, 0))
        edges = Decoder(config, levels)(features)
        assert edges.shape == (2, *(2 * side for side in levels[0].grid))

    def test_hidden_leaves_the_text_out(self) -> None:
        """The tokens of FLUX' second half come after those of the text."""
        made = random_backbone("flux1")
        config = DecoderConfig("hidden", "each")
        levels = find_levels(made, config)
        latents = made.encode(torch.rand(1, 3, made.size, made.size) * 2 - 1)
        features, _ = read_features(made, latents, 0, config, levels, False)
        given: list[Tensor] = []
        made.blocks[-1].module.register_forward_pre_hook(
            lambda _, args, kwargs: given.append(kwargs["hidden_states"]), with_kwargs=True
        )
        made.answer(latents, 0)
        tokens = levels[0].grid[0] * levels[0].grid[1]
        assert given[0].shape[1] == tokens + 5
        width = given[0].shape[2]
        torch.testing.assert_close(features[0][0, -width:].flatten(1).T, given[0][0, 5:])

    def test_blocks_can_be_chosen(self) -> None:
        made = small_backbone(TINY)
        assert find_levels(made, RELATIVE, [1]) == [Level((8, 8), (1,), 9)]
        assert find_levels(made, RELATIVE)[0].channels == 18
        assert find_levels(made, DecoderConfig())[0].channels == 256
        with pytest.raises(ConfigError, match="no self-attention block"):
            find_levels(made, RELATIVE, [7])

    def test_about_a_tenth_of_a_million_parameters(self) -> None:
        level = Level((64, 64), tuple(range(28)), 256)
        single = sum(each.numel() for each in Decoder(DecoderConfig(), [level]).parameters())
        assert 80_000 < single < 110_000
        levels = [Level((side, side), (0,), 256) for side in (64, 32, 16, 8)]
        assert sum(each.numel() for each in Decoder(DecoderConfig(), levels).parameters()) < 150_000

    def test_impossible_decoders_are_named(self) -> None:
        for wrong in ({"input": "keys"}, {"join": "sum"}, {"window": 4}, {"width": 0}):
            with pytest.raises(ConfigError, match=f"TRACE's decoder: {next(iter(wrong))}"):
                DecoderConfig(**wrong)


class TestDice:
    def test_is_the_formula(self) -> None:
        found = torch.tensor([[[0.2, 0.9], [0.4, 0.7]]])
        labels = torch.tensor([[[1, 0], [-1, 1]]], dtype=torch.int8)
        expected = 1 - (2 * (0.2 + 0.7) + 1e-6) / (2 + 0.2**2 + 0.9**2 + 0.7**2 + 1e-6)
        assert float(masked_dice(found, labels)) == pytest.approx(expected)

    def test_unknown_pixels_teach_nothing(self) -> None:
        source = torch.Generator().manual_seed(0)
        found = torch.rand(3, 6, 6, generator=source, requires_grad=True)
        labels = torch.randint(-1, 2, (3, 6, 6), generator=source)
        masked_dice(found, labels).sum().backward()
        assert found.grad is not None
        assert (found.grad[labels == -1] == 0).all()
        assert (found.grad[labels != -1] != 0).all()

    def test_perfect_and_empty_cost_nothing(self) -> None:
        labels = torch.tensor([[[1, 0], [0, 1]], [[0, 0], [0, -1]]], dtype=torch.int8)
        assert masked_dice((labels == 1).float(), labels).abs().max() < 1e-6
        assert float(masked_dice(1.0 - labels[:1].float(), labels[:1])) == pytest.approx(1)

    def test_labels_are_enlarged_without_mixing(self) -> None:
        labels = torch.tensor([[[1, -1], [0, 1]]], dtype=torch.int8)
        assert on_grid(labels, (4, 4))[0].tolist() == [[1, 1, -1, -1], [1, 1, -1, -1], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_without_reconstruction_all_that_trains_has_a_gradient() -> None:
    """Processes that train together wait for one of every parameter."""
    own = objective(recon="off")
    loss, _ = own.loss(own.model, batch_of(own), torch.Generator().manual_seed(0), 0)
    found = gradients(own, loss)
    assert {name for name, each in own.model.named_parameters() if each.requires_grad} == set(found)


class TestReconstruction:
    """The three risks of the formula as it stands, measured."""

    def recon_gradient(self, made: Student, recon: Any, **named: Any) -> tuple[float, dict[str, Tensor]]:
        """Reconstruction error, and its gradient in all that trains."""
        own = objective(made, recon=recon, **named)
        batch = batch_of(own)
        loss, parts = own.loss(own.model, batch, torch.Generator().manual_seed(3), 0)
        rest, _ = objective(made, recon="off").loss(own.model, batch, torch.Generator().manual_seed(3), 0)
        with_it, without = gradients(own, loss), gradients(own, rest)
        return parts["recon"], {name: each - without.get(name, 0) for name, each in with_it.items()}

    def test_literal_flow_has_no_gradient_at_all(self) -> None:
        made = student(made=random_backbone("sd35"))
        error, gradient = self.recon_gradient(made, "literal")
        assert error > 0  # the autoencoder's own
        assert gradient
        assert all((each == 0).all() for each in gradient.values())

    @pytest.mark.parametrize(("family", "factor"), [("sd15", 0.0291), ("pixart_alpha", 0.0100)])
    def test_literal_ddpm_scales_it_down(self, family: FamilyName, factor: float) -> None:
        """The clean latents move by sqrt(1 - abar_0) / sqrt(abar_0) of what the answer moves by."""
        made = random_backbone(family)
        clean = torch.randn(1, 4, 4, 4)
        answer = torch.randn(1, 4, 4, 4, requires_grad=True)
        assert made.schedule is not None
        (gradient,) = torch.autograd.grad(made.schedule.clean(clean, answer, 0).sum(), answer)
        torch.testing.assert_close(-gradient, torch.full_like(gradient, factor), atol=2e-4, rtol=0)
        _, literal = self.recon_gradient(student(made=made), "literal")
        _, nominal = self.recon_gradient(student(made=random_backbone(family)), "nominal")
        size, other = (
            sum(float(each.norm()) ** 2 for each in gradient.values()) ** 0.5 for gradient in (literal, nominal)
        )
        assert 0 < size < other

    @pytest.mark.parametrize("family", ["sd35", "sd15"])
    def test_nominal_teaches_adapters_and_not_the_decoder(self, family: FamilyName) -> None:
        _, gradient = self.recon_gradient(student(made=random_backbone(family)), "nominal")
        assert max(float(each.abs().max()) for name, each in gradient.items() if is_lora(name)) > 0
        assert all((each == 0).all() for name, each in gradient.items() if name.startswith("decoder."))

    def test_the_level_is_tau(self) -> None:
        assert objective(student(made=random_backbone("flux1")))._tau == 100
        assert objective(student(made=random_backbone("sd15")))._tau == 99
        assert objective(recon_sigma=0.25)._tau == 250

    def test_the_second_pass_is_left_out_when_it_is_not_asked_for(self) -> None:
        made = student()
        calls = []
        made.network.register_forward_hook(lambda *_: calls.append(1))
        for recon, passes in (("off", 1), ("literal", 1), ("nominal", 2)):
            calls.clear()
            own = objective(made, recon=recon)
            own.loss(own.model, batch_of(own), torch.Generator(), 0)
            assert len(calls) == passes

    def test_wrong_settings_are_named(self) -> None:
        for wrong in ({"recon": "none"}, {"recon_sigma": 1.0}, {"decoder_rate": 0.0}, {"flip": "up"}):
            with pytest.raises(ConfigError, match=next(iter(wrong))):
                objective(**wrong)


class TestMemory:
    @pytest.mark.parametrize(
        ("family", "config"),
        [("sd15", KINDS[0]), ("sd15", KINDS[1]), ("sdxl", KINDS[2]), ("pixart_alpha", KINDS[1]), ("sd35", KINDS[0])]
        + [("flux1", each) for each in KINDS],
        ids=lambda each: getattr(each, "input", each),
    )
    def test_checkpointed_blocks_give_the_same_gradients(self, family: FamilyName, config: DecoderConfig) -> None:
        def found(checkpointing: bool) -> tuple[float, dict[str, Tensor]]:
            made = student(config, made=random_backbone(family))
            if checkpointing:
                made.enable_gradient_checkpointing()
            made.train()
            for name, each in made.named_parameters():
                if ".lora_B." in name:
                    torch.nn.init.normal_(each, std=0.1, generator=torch.Generator().manual_seed(len(name)))
            own = objective(made)
            loss, _ = own.loss(own.model, batch_of(own), torch.Generator().manual_seed(0), 0)
            return float(loss.detach()), gradients(own, loss)

        (plain, expected), (loss, gradient) = found(False), found(True)
        assert loss == pytest.approx(plain, rel=1e-5)
        assert gradient.keys() == expected.keys()
        for name, each in gradient.items():
            torch.testing.assert_close(each, expected[name], rtol=1e-3, atol=1e-6)

    def test_what_decoding_keeps_is_the_latents_alone(self) -> None:
        made, sizes = student(KINDS[0], made=random_backbone("sd15")), list[int]()
        made.enable_gradient_checkpointing()
        own, latents = objective(made), torch.randn(3, 4, 8, 8, requires_grad=True)

        def noted(kept: Tensor) -> Tensor:
            sizes.append(kept.numel())
            return kept

        with torch.autograd.graph.saved_tensors_hooks(noted, lambda kept: kept):
            own._decoded(latents)
        assert sum(sizes) <= latents.numel()

    @pytest.mark.parametrize("config", KINDS[:2], ids=lambda config: config.input)
    def test_gradients_are_those_of_whole_maps(self, config: DecoderConfig) -> None:
        """Beside a plain version that holds the maps: softmax, mean over heads, one reduction of all rows."""
        made = student(config, None)
        latents = torch.randn(2, 6, 8, 8)

        def plain() -> list[Tensor]:
            given = {}
            hooks = [
                block.module.register_forward_pre_hook(
                    lambda module, args, kwargs, index=index: given.update({index: args[0]}), with_kwargs=True
                )
                for index, block in enumerate(made.backbone.blocks)
            ]
            made.backbone.answer(latents, 0)
            maps = []
            for index, hidden in given.items():
                block = made.backbone.blocks[index]
                queries, keys = block.queries_keys(block.module, (hidden,), {})
                maps.append((queries @ keys.mT).softmax(-1).mean(1))
            for hook in hooks:
                hook.remove()
            if config.input == "keys16":
                whole = torch.stack([pooled_keys(each, (8, 8)) for each in maps]).mean(0) * 256
            else:
                whole = torch.cat([relative_keys(each, (8, 8), slice(0, 64), 3) for each in maps], 2) * 64
            return [whole.log1p().transpose(1, 2).unflatten(2, (8, 8))]

        features, _ = read_features(made.backbone, latents, 0, config, made.levels, True)
        results = []
        for seen in (features, plain()):
            made.zero_grad()
            edges = made.decoder(seen)
            (edges * torch.linspace(0, 1, 16)).sum().backward()
            weights = {name: each.grad for name, each in made.named_parameters() if each.grad is not None}
            results.append((edges.detach(), weights))
        torch.testing.assert_close(results[0][0], results[1][0])
        assert results[0][1].keys() == results[1][1].keys()
        assert any("to_q" in name for name in results[0][1])
        for name, each in results[0][1].items():
            torch.testing.assert_close(each, results[1][1][name], rtol=1e-3, atol=1e-6)


class TestAdapters:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_reach_every_projection_and_change_nothing_at_first(self, family: FamilyName) -> None:
        made = random_backbone(family)
        latents = made.encode(torch.rand(1, 3, made.size, made.size) * 2 - 1)
        before = made.answer(latents, 0)
        own = student(KINDS[0], 4, made)
        torch.testing.assert_close(made.answer(latents, 0), before)
        adapted = [name for name, each in own.network.named_parameters() if each.requires_grad]
        assert all(is_lora(name) for name in adapted)
        assert len(adapted) == 2 * sum(len(block.projections) for block in made.blocks)

    def test_published_counts(self) -> None:
        """Extra parameters of rank 64: 6.4 million for SD1.5, 16.5 for PixArt-alpha."""
        from diffusers import PixArtTransformer2DModel, UNet2DConditionModel

        from edgebench.methods.trace.diffusion_random import NETWORKS

        for kind, family, ending, millions in (
            (UNet2DConditionModel, "sd15", ".attn1", 6.4),
            (PixArtTransformer2DModel, "pixart_alpha", ".attn1", 16.5),
        ):
            with torch.device("meta"):
                network: Any = kind.from_config(NETWORKS["full"][family])
            sizes = [
                64 * sum(module.get_submodule(each).weight.shape)
                for name, module in network.named_modules()
                if name.endswith(ending)
                for each in ("to_q", "to_k", "to_v", "to_out.0")
            ]
            assert sum(sizes) / 1e6 == pytest.approx(millions, abs=0.06)

    def test_without_rank_everything_trains(self) -> None:
        made = student(rank=None)
        assert all(each.requires_grad for each in made.parameters())
        groups = objective(made).parameter_groups()
        assert "lr_scale" not in groups[0]
        assert groups[1]["lr_scale"] == 10
        assert sum(len(group["params"]) for group in groups) == len(list(made.parameters()))


def loop(steps: int = 40, **changes: Any) -> LoopSettings:
    known = {"batch": 2, "learning_rate": 1e-3, "schedule": "cosine", "log_every": 10, "device": "cpu"}
    return LoopSettings(**{"steps": steps, **known, **changes})


class TestTraining:
    @pytest.mark.parametrize("rank", [4, None])
    def test_lowers_the_loss(self, tmp_path: Path, rank: int | None) -> None:
        made = objective(student(KINDS[2], rank), recon="nominal", flip="dihedral")
        before = {name: each.clone() for name, each in made.model.state_dict().items()}
        report = train(made, loop(60), tmp_path)
        header, *rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
        dice = [float(row[header.index("dice")]) for row in rows]
        assert dice[-1] < 0.8 * dice[0]
        changed = {name for name, each in made.model.state_dict().items() if not torch.equal(each, before[name])}
        frozen = {name for name in before if name.startswith("network.") and not is_lora(name)}
        assert (changed & frozen == set()) == (rank is not None)
        assert any("to_q" in name for name in changed)
        found = load_student(report.weights)
        picture = in_range(square(Scenes().image("scene1"), 32))[None]
        with torch.no_grad():
            latents = made.model.backbone.encode(picture)
            torch.testing.assert_close(found(latents).edges, made.model.eval()(latents).edges)
        assert (origin_of(report.weights), trained_size(report.weights)) == ({}, 32)

    def test_resumes_to_the_bit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = loop(6, checkpoint_steps=2)
        whole = train(objective(flip="dihedral"), settings, tmp_path / "whole")
        saved = Records.save

        def stop(self: Records, step: int, state: Any) -> None:
            saved(self, step, state)
            if step == 4:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Records, "save", stop)
            with pytest.raises(KeyboardInterrupt):
                train(objective(flip="dihedral"), settings, tmp_path / "cut")
        resumed = train(objective(flip="dihedral"), settings, tmp_path / "cut")
        assert resumed.resumed_from == 4
        assert resumed.weights.read_bytes() == whole.weights.read_bytes()

    @pytest.mark.parametrize(
        ("family", "recon"), zip(FAMILIES, ["nominal", "literal", "nominal", "literal", "nominal"], strict=True)
    )
    def test_all_families_train_and_predict(self, tmp_path: Path, family: FamilyName, recon: Any) -> None:
        made = objective(student(KINDS[0], 4, random_backbone(family)), {"checkpoint": "a_checkpoint"}, recon=recon)
        report = train(made, loop(2, precision="bf16" if recon == "nominal" else "fp32"), tmp_path)
        stored = load_file(report.weights)
        assert all(name.startswith("decoder.") or is_lora(name) for name in stored)  # nothing of the released model
        assert origin_of(report.weights) == {"checkpoint": "a_checkpoint"}
        with pytest.raises(ConfigError, match="checkpoint 'a_checkpoint', which is needed"):
            load_student(report.weights)
        found = EdgePredictor(load_student(report.weights, random_backbone(family)), batch_size=2)
        images = [Scenes().image(f"scene{number}")[: 40 + number] for number in range(3)]
        maps = found.predict(images, ["a", "b", "c"])
        assert [each.shape for each in maps] == [(40, 64), (41, 64), (42, 64)]
        assert all(each.dtype == np.float32 and 0 <= each.min() <= each.max() <= 1 for each in maps)
        trained = EdgePredictor(made.model).predict(images[:1], ["a"])[0]
        np.testing.assert_allclose(maps[0], trained, atol=1e-4)


class TestPrediction:
    def test_does_not_depend_on_the_batch(self) -> None:
        images = [Scenes().image(f"scene{number}") for number in range(3)]
        single = EdgePredictor(student(), batch_size=1).predict(images, ["a", "b", "c"])
        together = EdgePredictor(student(), batch_size=3).predict(images, ["a", "b", "c"])
        np.testing.assert_allclose(np.stack(single), np.stack(together), atol=1e-5)

    def test_half_precision_is_close(self) -> None:
        images = [Scenes().image("scene0")]
        full, half = (EdgePredictor(student(), precision=each).predict(images, ["a"])[0] for each in ("fp32", "bf16"))
        np.testing.assert_allclose(full, half, atol=0.02)
        with pytest.raises(ConfigError, match="precision 'fp8'"):
            EdgePredictor(student(), precision="fp8")  # type: ignore[arg-type]

    def test_what_is_no_number_is_said(self) -> None:
        made = student()
        torch.nn.init.constant_(made.decoder.head.weight, float("nan"))
        with pytest.raises(Exception, match="holiday: the network's answer is not a number"):
            EdgePredictor(made).predict([Scenes().image("scene0")], ["holiday"])

    def test_at_size(self) -> None:
        values = torch.rand(6, 6)
        assert np.array_equal(at_size(values, 6, 6), values.numpy())
        enlarged = functional.interpolate(values[None, None], (9, 11), mode="bilinear", align_corners=False)[0, 0]
        np.testing.assert_allclose(at_size(values, 9, 11), enlarged.numpy(), atol=1e-6)


class TestWeightFiles:
    def written(self, folder: Path, **metadata: str) -> Path:
        made = objective()
        path = folder / "weights.safetensors"
        tensors = {name: each.clone() for name, each in made.exported(made.model.state_dict()).items()}
        save_file(tensors, path, {**made.export_metadata(), **metadata})
        return path

    def test_others_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="not TRACE weights"):
            load_student(self.written(tmp_path, method="trace_backbone"))
        with pytest.raises(DataError, match="not TRACE weights"):
            origin_of(self.written(tmp_path, method="memo"))
        with pytest.raises(DataError, match="configuration cannot be read"):
            load_student(self.written(tmp_path, config="{"))
        with pytest.raises(DataError, match="configuration is 3"):
            load_student(self.written(tmp_path, config="3"))
        config = json.loads(objective().export_metadata()["config"])
        with pytest.raises(DataError, match="configuration cannot be read"):
            load_student(self.written(tmp_path, config=json.dumps(config | {"levels": [[8]]})))
        with pytest.raises(DataError, match="weights of another model"):
            load_student(self.written(tmp_path, config=json.dumps(config | {"lora_rank": 2})))
        with pytest.raises(DataError, match="the size 'x'"):
            trained_size(self.written(tmp_path, size="x"))

    def test_an_untrained_student_survives_the_file(self, tmp_path: Path) -> None:
        found = load_student(self.written(tmp_path))
        assert isinstance(found.backbone, SmallBackbone)
        assert isinstance(found.backbone.network, SmallTransformer)
        assert not found.training
        latents = torch.randn(1, 6, 8, 8)
        with torch.no_grad():
            torch.testing.assert_close(found(latents).edges, student().eval()(latents).edges)
