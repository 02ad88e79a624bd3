"""Samples, masks and losses of the training objective, and that it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from edgebench.errors import ConfigError, DataError
from edgebench.methods.memo.loss import masked_cross_entropy, paper_loss, region_weights, released_loss
from edgebench.methods.memo.masking import (
    RATIOS,
    bernoulli_mask,
    drop_images,
    focal_mask,
    mask_tokens,
    with_full_share,
)
from edgebench.methods.memo.network import MASK, MemoNetwork
from edgebench.methods.memo.objective import Objective, ObjectiveSettings
from edgebench.methods.memo.presets import DinoConfig, NetworkConfig
from edgebench.methods.memo.weights import load_network

torch.set_num_threads(1)
SMALL = NetworkConfig(4, (8, 16), 1, 4)
WITH_DINO = NetworkConfig(4, (8, 16), 1, 4, DinoConfig(24, 1, 2, registers=4, size=(28, 28)), embedding_std=0.1)


class Drawn:
    """Images whose first channel is 255 exactly on the first annotator's edges."""

    def __init__(self, *sizes: tuple[int, int]) -> None:
        self.sizes = sizes
        self.ids = [f"image{number}" for number in range(len(sizes))]

    def boundaries(self, image_id: str) -> list[np.ndarray]:
        rng = np.random.default_rng(self.ids.index(image_id))
        first = rng.random(self.sizes[self.ids.index(image_id)]) < 0.2
        return [first, np.roll(first, 1, axis=0)]

    def image(self, image_id: str) -> np.ndarray:
        edge = self.boundaries(image_id)[0]
        return np.stack(
            [edge * 255, np.zeros_like(edge), 100 + np.arange(edge.size).reshape(edge.shape) % 156], -1
        ).astype(np.uint8)


def objective(*sizes: tuple[int, int], config: NetworkConfig = SMALL, **settings: Any) -> Objective:
    torch.manual_seed(0)
    return Objective(MemoNetwork(config), Drawn(*sizes), ObjectiveSettings(**{"crop": 16, **settings}))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"crop_rule": "uniform", "rotate": "none"},
        {"rotate": "batch", "vertical_flip": False},
        {"crest_labels": True},
    ],
    ids=str,
)
def test_image_and_labels_move_together(settings: dict[str, Any]) -> None:
    made = objective((80, 60), (60, 90), **settings)
    seen = set()
    for seed in range(20):
        sample = made.sample(seed % 2, np.random.default_rng(seed))
        assert sample["image"].shape == (3, 16, 16)
        assert sample["image"].dtype == sample["edge"].dtype == torch.uint8
        # Both annotators' union covers the first, which is drawn into the red channel.
        assert (sample["edge"][sample["image"][0] == 255] == 1).all()
        seen.add(sample["image"].numpy().tobytes())
    assert len(seen) == 20


def test_crops_turn_one_by_one_or_the_whole_batch_together() -> None:
    def turned(rotate: str, seed: int) -> list[int]:
        """Quarter turns of each sample of a batch, found by the gradient of the third channel."""
        made = objective((48, 48), rotate=rotate, vertical_flip=False, crop_rule="uniform")
        made.dataset.image = lambda _: np.tile(np.arange(48, dtype=np.uint8)[:, None, None], (1, 48, 3))  # type: ignore[method-assign]
        batch = made.collate([made.sample(0, np.random.default_rng([seed, number])) for number in range(8)])
        down = batch["image"][:, 2, 5, 0].int() - batch["image"][:, 2, 0, 0].int()
        across = batch["image"][:, 2, 0, 5].int() - batch["image"][:, 2, 0, 0].int()
        return [int(np.sign(x)) if x else 9 * int(np.sign(y)) for x, y in zip(across, down, strict=True)]

    assert {turn for seed in range(4) for turn in turned("none", seed)} == {9}
    alone = [turned("sample", seed) for seed in range(4)]
    assert all(len(set(batch)) == 2 for batch in alone)
    assert {turn for batch in alone for turn in batch} == {9, -1}  # clockwise: what was above is right
    together = [turned("batch", seed) for seed in range(8)]
    assert {frozenset(batch) for batch in together} == {frozenset({9}), frozenset({1, -1})}


def test_labels_are_the_crest_of_the_grey_annotation() -> None:
    made = objective((48, 48), crest_labels=True, vertical_flip=False, rotate="none")
    grey = np.zeros((48, 48), np.uint8)
    grey[:, 22:27] = [60, 160, 250, 160, 60]
    made.dataset.annotation = lambda _: grey  # type: ignore[attr-defined]
    edge = made.sample(0, np.random.default_rng(0))["edge"]
    assert edge.any(0).sum() == 1
    assert edge.all(0).sum() == 1
    # Without the setting the annotators' own boundaries count, and a data set without shades keeps them.
    assert objective((48, 48)).sample(0, np.random.default_rng(0))["edge"].sum() > 16


def test_a_sample_is_a_function_of_index_and_generator() -> None:
    first, second = objective((40, 30)), objective((40, 30))
    first.sample(0, np.random.default_rng(9))  # fills the cache of one of them
    for key, value in first.sample(0, np.random.default_rng(1)).items():
        assert torch.equal(value, second.sample(0, np.random.default_rng(1))[key])


def test_one_annotator_is_drawn() -> None:
    made = objective((16, 16), annotators="random", vertical_flip=False, rotate="none")
    edges = {made.sample(0, np.random.default_rng(seed))["edge"].numpy().tobytes() for seed in range(16)}
    assert len(edges) == 4  # two annotators, mirrored or not
    union = objective((16, 16), vertical_flip=False, rotate="none")
    assert union.sample(0, np.random.default_rng(0))["edge"].sum() > max(map(sum, edges))


def test_images_smaller_than_the_crop_are_mirrored() -> None:
    sample = objective((5, 20)).sample(0, np.random.default_rng(0))
    assert sample["edge"].shape == (16, 16)


def test_whole_images_stand_or_lie_together() -> None:
    made = objective((33, 17), (17, 33), crop=None, drop_first=True)
    shapes = set()
    for seed in range(12):
        samples = [made.sample(index, np.random.default_rng([seed, index])) for index in (0, 1, 0)]
        batch = made.collate(samples)
        assert set(batch) == {"image", "edge"}
        assert (batch["edge"][batch["image"][:, 0] == 255] == 1).all()
        shapes.add(tuple(batch["image"].shape))
    assert shapes == {(3, 3, 32, 16), (3, 3, 16, 32)}


def test_images_that_do_not_fit_are_named() -> None:
    with pytest.raises(DataError, match=r"image0: 17 x 33 pixels.*multiples of 2"):
        objective((33, 17), crop=None).sample(0, np.random.default_rng(0))
    made = objective((32, 16), (32, 32), crop=None)
    with pytest.raises(DataError, match="Set a crop"):
        made.collate([made.sample(index, np.random.default_rng(0)) for index in (0, 1)])
    with pytest.raises(ConfigError, match="multiple of 2"):
        objective((32, 32), crop=15)
    with pytest.raises(DataError, match="no images"):
        objective()
    broken = objective((32, 32))
    broken.dataset.image = lambda _: np.zeros((31, 32, 3), np.uint8)  # type: ignore[method-assign]
    with pytest.raises(DataError, match="image0: the image is 32 x 31 pixels, its annotation 32 x 32"):
        broken.sample(0, np.random.default_rng(0))


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_rule": "middle"},
        {"rotate": "always"},
        {"mask": "stripes"},
        {"mask_ratio": "half"},
        {"loss": "dice"},
        {"annotators": "all"},
        {"dino": "yes"},
        {"image_drop": 2},
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ObjectiveSettings(**settings)


class Recorder(torch.nn.Module):
    """A network that keeps what it is asked and answers zeros."""

    def forward(self, tokens: Tensor, ratio: Tensor, image: Tensor) -> Tensor:
        self.tokens, self.ratio, self.image = tokens, ratio, image
        return torch.zeros(len(tokens), 2, *tokens.shape[1:], requires_grad=True)


def ask(made: Objective, step: int, seed: int = 0, count: int = 64) -> Recorder:
    batch = made.collate([made.sample(0, np.random.default_rng(number)) for number in range(count)])
    recorder = Recorder()
    loss, _ = made.loss(recorder, batch, torch.Generator().manual_seed(seed), step)
    assert loss.isfinite()
    return recorder


def test_masks_agree_with_ratios_and_known_pixels_with_labels() -> None:
    made = objective((16, 16), vertical_flip=False, rotate="none", image_drop=0.25)
    asked = ask(made, 0)
    share = (asked.tokens == MASK).float().mean((1, 2))
    torch.testing.assert_close(share, asked.ratio, atol=0.12, rtol=0)
    assert asked.ratio.min() < 0.2 < 0.8 < asked.ratio.max()
    dropped = (asked.image == 0).flatten(1).all(1).float().mean()
    assert 0.1 < dropped < 0.4
    assert asked.image.max() == 1


def test_warm_start_full_share_and_one_shot() -> None:
    warm = objective((16, 16), warm_start_steps=3)
    assert (ask(warm, 2).tokens == MASK).all()
    assert not (ask(warm, 3).tokens == MASK).all()
    assert (ask(objective((16, 16), mask_ratio="full"), 5).ratio == 1).all()
    full = (ask(objective((16, 16), full_mask_share=0.5), 0).ratio == 1).float().mean()
    assert 0.3 < full < 0.7


def test_same_generator_same_loss() -> None:
    first, second, other = (ask(objective((16, 16)), 0, seed) for seed in (1, 1, 2))
    assert torch.equal(first.tokens, second.tokens)
    assert not torch.equal(first.tokens, other.tokens)


def test_ratio_samplers_stay_in_range() -> None:
    for name, sampler in RATIOS.items():
        drawn = sampler(2000, torch.Generator().manual_seed(0))
        assert 0.001 <= drawn.min() <= drawn.max() <= 1, name
    assert (RATIOS["uniform"](2000, torch.Generator().manual_seed(0)) == 1).float().mean() < 0.02
    zeros = torch.zeros(3)
    generator = torch.Generator().manual_seed(0)
    assert with_full_share(zeros, 0, generator) is zeros
    assert drop_images(zeros, 0, generator) is zeros
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())


def test_mask_tokens() -> None:
    edges = torch.tensor([[[0, 1], [1, 0]]], dtype=torch.uint8)
    masked = torch.tensor([[[True, True], [False, False]]])
    assert mask_tokens(edges, masked).tolist() == [[[2, 2], [1, 0]]]
    both = bernoulli_mask(torch.tensor([1.0, 0.0]), torch.zeros(2, 4, 4), torch.Generator())
    assert both.flatten(1).float().mean(1).tolist() == [1, 0]


def test_the_focal_mask_counts_exactly_and_favours_the_surroundings_of_edges() -> None:
    edges = torch.zeros(4, 20, 20)
    edges[:, 10] = 1  # with its neighbours 60 of 400 pixels
    ratio = torch.tensor([0.0, 0.1234, 0.25, 1.0])
    masked = focal_mask(ratio, edges, torch.Generator().manual_seed(0))
    assert masked.sum((1, 2)).tolist() == [0, 49, 100, 400]
    near = masked[2, 9:12].float().mean() / masked[2, :8].float().mean()
    assert 2 < near < 4.5
    alike = focal_mask(torch.full((3,), 0.5), edges[:3], torch.Generator().manual_seed(0))
    assert alike.sum((1, 2)).tolist() == [200] * 3
    assert not torch.equal(alike[0], alike[1])


def test_losses_by_hand() -> None:
    logits = torch.zeros(2, 2, 4, 4)
    logits[:, 1, 0, 0] = 2.0
    edges = torch.zeros(2, 4, 4, dtype=torch.uint8)
    edges[:, 0, 0] = 1
    masked = torch.zeros(2, 4, 4, dtype=torch.bool)
    masked[0, 0, :2] = True  # an edge answered with 2, a background pixel with 0; nothing in sample 1
    sure, even = np.log1p(np.exp(-2)), np.log(2)
    ratio = torch.tensor([0.5, 0.01])
    assert paper_loss(logits, edges, masked, ratio).item() == pytest.approx((sure + even) / 2 / 2)
    assert released_loss(logits, edges, masked, ratio).item() == pytest.approx(2 * (sure + even) / 2 / 2)
    strong = torch.ones(2, 4, 4)
    strong[:, 0, 0] = 3
    weighted = masked_cross_entropy(logits, edges, masked, pixel_weights=strong)
    assert weighted.item() == pytest.approx((3 * sure + even) / 4 / 2)


def test_region_weights_by_hand() -> None:
    edges = torch.zeros(2, 5, 5)
    edges[0, 0, 0] = 1
    weights = region_weights(edges)
    assert (weights[1] == 1).all()
    assert (weights[0, 0, 0] / weights[0, 4, 4]).item() == pytest.approx(25 / 4, rel=1e-4)
    assert weights[0, 1, 1] == weights[0, 0, 0]
    assert weights[0, 2, 2] == weights[0, 4, 4]


def test_what_trains() -> None:
    def names(**settings: Any) -> set[str]:
        made = objective((16, 16), config=WITH_DINO, **settings)
        trained = {id(parameter) for group in made.parameter_groups() for parameter in group["params"]}
        return {name for name, parameter in made.model.named_parameters() if id(parameter) in trained}

    frozen, trainable, adapters = names(), names(dino="trainable"), names(lora_rank=2)
    assert {name for name in trainable - frozen if not name.startswith("dino.")} == set()
    assert "dino_map.weight" in frozen
    assert not any(name.startswith("dino.") for name in frozen)
    assert adapters
    assert all(".lora_" in name for name in adapters)
    assert any(name.startswith("dino.") for name in adapters)


def test_training_lowers_the_loss_and_exports_plain_weights(tmp_path: Path) -> None:
    for settings in ({}, {"lora_rank": 2}):
        made = objective(
            (16, 16),
            (16, 16),
            config=WITH_DINO,
            image_drop=0.0,
            vertical_flip=False,
            mask_ratio="full",
            **settings,
        )
        optimiser = torch.optim.Adam(made.parameter_groups(), lr=1e-2)
        losses = []
        for step in range(40):
            samples = [made.sample(number % 2, np.random.default_rng([step, number])) for number in range(4)]
            loss, _ = made.loss(made.model, made.collate(samples), torch.Generator().manual_seed(step), step)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5]), (settings, losses)

        trained = {name: p.detach() for name, p in made.model.named_parameters() if p.requires_grad}
        save_file(made.exported(trained), tmp_path / "weights.safetensors", metadata=made.export_metadata())
        loaded = load_network(tmp_path / "weights.safetensors")
        tokens, image = torch.full((1, 16, 16), MASK), torch.rand(1, 3, 16, 16)
        with torch.no_grad():
            torch.testing.assert_close(
                loaded(tokens, torch.ones(1), image),
                made.model(tokens, torch.ones(1), image),
                atol=1e-4,
                rtol=1e-4,
            )
