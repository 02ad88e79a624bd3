"""The small transformer that stands in for a pre-trained one: network, code, training, weight file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgebench.data.scenes import STYLES, draw_scene
from edgebench.errors import ConfigError, DataError
from edgebench.methods.codec import PatchCodec
from edgebench.methods.trace.pretraining import PretrainingObjective, fitted_codec
from edgebench.methods.trace.small import (
    PRESETS,
    SmallBackbone,
    SmallConfig,
    SmallTransformer,
    load_small,
    preset,
    queries_keys,
)
from edgebench.methods.trace.squares import drawn_way, in_range, square, turned
from edgebench.training.loop import train
from edgebench.training.settings import LoopSettings

torch.set_num_threads(1)
TINY = SmallConfig(size=32, channels=6, layers=2, heads=2, head_width=16)


class Scenes:
    """Drawn scenes, by number."""

    def __init__(self, count: int = 8) -> None:
        self.ids = [f"scene{number}" for number in range(count)]

    def image(self, image_id: str) -> np.ndarray:
        return draw_scene(np.random.default_rng(int(image_id[5:])), STYLES["M"]).image


def objective(config: SmallConfig = TINY, **named: Any) -> Any:
    torch.manual_seed(0)
    return PretrainingObjective(SmallTransformer(config), fitted_codec(Scenes(), config), Scenes(), **named)


def backbone(config: SmallConfig = TINY) -> SmallBackbone:
    torch.manual_seed(0)
    return SmallBackbone(SmallTransformer(config).eval(), fitted_codec(Scenes(), config))


@pytest.mark.parametrize(("name", "parameters"), [("small", 700_524), ("mini", 20_234_128)])
def test_sizes(name: str, parameters: int) -> None:
    with torch.device("meta"):
        network = SmallTransformer(preset(name))
    assert sum(each.numel() for each in network.parameters()) == parameters
    assert preset(name).tokens == {"small": 24, "mini": 48}[name]
    assert preset(name, 64).size == 64


def test_impossible_sizes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"preset 'smal' is unknown.*small"):
        preset("smal")
    with pytest.raises(ConfigError, match="size 98 is not a multiple"):
        preset("small", 98)
    with pytest.raises(ConfigError, match="patches of 4 pixels and 5 channels"):
        SmallBackbone(SmallTransformer(TINY), PatchCodec(4, 5))


def test_queries_and_keys_rebuild_the_blocks_attention() -> None:
    """Softmax of what `Block` promises, times the values, is what the module itself answers."""
    made = backbone()
    seen: dict[str, Any] = {}

    def before(module: Any, arguments: Any, named: Any) -> None:
        seen["given"] = queries_keys(module, arguments, named)
        seen["hidden"] = arguments[0]

    def after(module: Any, arguments: Any, answer: Any) -> None:
        seen["answer"] = answer

    block = made.blocks[1]
    assert made.network.get_submodule(block.name) is block.module
    block.module.register_forward_pre_hook(before, with_kwargs=True)
    block.module.register_forward_hook(after)
    with torch.no_grad():
        made.answer(torch.randn(2, 6, 8, 8), 400)
        queries, keys = seen["given"]
        attention: Any = block.module
        values = attention.to_v(seen["hidden"]).unflatten(-1, (2, -1)).transpose(1, 2)
        rebuilt = ((queries @ keys.mT).softmax(-1) @ values).transpose(1, 2).flatten(2)
        torch.testing.assert_close(attention.to_out[0](rebuilt), seen["answer"])
    for projection in block.projections:
        assert isinstance(attention.get_submodule(projection), torch.nn.Linear)


def test_the_level_and_the_place_of_tokens_matter() -> None:
    made, latents = backbone(), torch.randn(1, 6, 8, 8)
    with torch.no_grad():
        first = made.answer(latents, 10)
        assert not torch.allclose(first, made.answer(latents, 800))
        assert not torch.allclose(first.flip(-1), made.answer(latents.flip(-1), 10))


def test_pictures_survive_a_code_with_all_components() -> None:
    config = SmallConfig(size=32, channels=48, layers=1, heads=1, head_width=16)
    made = backbone(config)
    picture = in_range(square(Scenes().image("scene1"), 32))[None]
    torch.testing.assert_close(made.decode(made.encode(picture)), picture, atol=1e-4, rtol=0)


class TestSquares:
    def test_the_eight_ways_differ(self) -> None:
        values = torch.arange(9).view(3, 3)
        ways = {tuple(turned(values, way).flatten().tolist()) for way in range(8)}
        assert len(ways) == 8
        assert turned(values, 0) is values
        assert torch.equal(turned(values, 1), values.flip(1))

    @pytest.mark.parametrize(("flip", "ways"), [("none", {0}), ("horizontal", {0, 1}), ("dihedral", set(range(8)))])
    def test_drawn(self, flip: Any, ways: set[int]) -> None:
        rng = np.random.default_rng(0)
        assert {drawn_way(rng, flip) for _ in range(100)} == ways

    def test_a_picture_becomes_a_square(self) -> None:
        made = square(np.full((20, 30, 3), 255, np.uint8), 8)
        assert made.shape == (3, 8, 8)
        assert float(in_range(made).min()) == 1.0


class TestTraining:
    def test_samples_are_functions_of_their_number(self) -> None:
        made = objective()
        first, second = (made.sample(3, np.random.default_rng(5))["image"] for _ in range(2))
        assert torch.equal(first, second)
        seen = {made.sample(3, np.random.default_rng(n))["image"].numpy().tobytes() for n in range(60)}
        assert len(seen) == 8
        still = objective(flip="none")
        assert len({still.sample(3, np.random.default_rng(n))["image"].numpy().tobytes() for n in range(9)}) == 1

    def test_a_perfect_answer_costs_nothing(self) -> None:
        """The network is asked for the very noise that was mixed in, at the level that it is told."""
        made = objective()
        batch = made.collate([made.sample(index, np.random.default_rng(index)) for index in range(3)])
        clean = made.codec.encode(in_range(batch["image"]))

        class Knowing(torch.nn.Module):
            def forward(self, noisy: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
                noise = [
                    (each - made.schedule.noised(own, torch.zeros_like(own), level))
                    / made.schedule.noised(torch.zeros(1), torch.ones(1), level)
                    for each, own, level in zip(noisy, clean, tau.tolist(), strict=True)
                ]
                return torch.stack(noise)

        loss, _ = made.loss(Knowing(), batch, torch.Generator().manual_seed(0), 0)
        assert float(loss) < 1e-6

    def test_lowers_the_loss_and_leaves_a_whole_file(self, tmp_path: Path) -> None:
        settings = LoopSettings(
            steps=60, batch=4, learning_rate=2e-3, schedule="cosine", warmup_steps=5, log_every=10, device="cpu",
            ema_decay=0.9,
        )  # fmt: skip
        made = objective()
        report = train(made, settings, tmp_path)
        rows = (tmp_path / "log.csv").read_text().splitlines()
        losses = [float(row.split(",")[rows[0].split(",").index("loss")]) for row in rows[1:]]
        assert losses[-1] < 0.75 * losses[0]
        found = load_small(report.weights)
        assert found.size == 32
        assert asdict(found.network.config) == asdict(TINY)
        assert not found.network.training
        assert torch.equal(found.codec.basis, made.codec.basis)
        latents = torch.randn(1, 6, 8, 8)
        with torch.no_grad():
            assert torch.isfinite(found.answer(latents, 500)).all()

    def test_nothing_to_train_on(self) -> None:
        with pytest.raises(DataError, match="no images"):
            PretrainingObjective(SmallTransformer(TINY), PatchCodec(4, 6), Scenes(0))
        with pytest.raises(ConfigError, match="flip 'upside'"):
            objective(flip="upside")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such weight file"):
        load_small(tmp_path / "none.safetensors")
    made = objective()
    path = tmp_path / "weights.safetensors"
    state = made.exported(made.model.state_dict())
    save_file(state, path, {"method": "memo", "config": "{}"})
    with pytest.raises(DataError, match="not TRACE backbone weights"):
        load_small(path)
    save_file(state, path, {**made.export_metadata(), "config": json.dumps({"size": 31})})
    with pytest.raises(DataError, match="sizes cannot be read"):
        load_small(path)
    other = load_file(path)
    other.pop("codec.basis")
    save_file(other, path, made.export_metadata())
    with pytest.raises(DataError, match=r"basis is missing"):
        load_small(path)


def test_presets_are_those_of_the_settings() -> None:
    from edgebench.plan.methods.trace import TraceBackboneTrain

    assert set(TraceBackboneTrain.model_fields["preset"].annotation.__args__) == set(PRESETS)  # type: ignore[union-attr]
