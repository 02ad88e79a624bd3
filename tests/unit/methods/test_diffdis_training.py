"""Samples, augmentation, edge targets and loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from edgebench.errors import ConfigError, DataError
from edgebench.methods.codec import PatchCodec
from edgebench.methods.diffdis.augment import inside, mix_box, mix_pairs, move, recolour, stretch
from edgebench.methods.diffdis.contours import contour
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.objective import Objective, ObjectiveSettings, fitted_codec, shrunk
from edgebench.methods.diffdis.presets import NetworkConfig
from edgebench.methods.diffdis.weights import load_weights
from edgebench.training.loop import train
from edgebench.training.settings import LoopSettings

torch.set_num_threads(1)
CONFIG = NetworkConfig((8, 16), (1, 2), (False, False), 1, 4, text=4, tokens=1, latent=6, prediction="sample")
SINGLE: dict[str, Any] = {"edge": False, "stream_embedding": False, "interaction": "none"}
SIZE = 32


class Discs:
    """Bright discs on dark ground, of several sizes of picture."""

    def __init__(self, count: int = 6) -> None:
        self.ids = [f"disc{number}" for number in range(count)]

    def mask(self, image_id: str) -> np.ndarray:
        """The disc."""
        rng = np.random.default_rng(int(image_id[4:]))
        height, width = rng.integers(40, 60, 2)
        y, x = np.mgrid[:height, :width]
        centre = rng.uniform(0.3, 0.7, 2) * (height, width)
        return np.where(np.hypot(y - centre[0], x - centre[1]) < 12, 255, 0).astype(np.uint8)

    def image(self, image_id: str) -> np.ndarray:
        """Disc and ground with noise."""
        mask = self.mask(image_id)
        noise = np.random.default_rng(9).integers(0, 60, (*mask.shape, 3))
        return (mask[..., None] // 2 + noise).astype(np.uint8)


class Blank(Discs):
    """Nothing to see, and a mask of one value."""

    def __init__(self, value: int) -> None:
        super().__init__(2)
        self.value = value

    def mask(self, image_id: str) -> np.ndarray:
        return np.full((40, 40), self.value, np.uint8)

    def image(self, image_id: str) -> np.ndarray:
        return np.zeros((40, 40, 3), np.uint8)


def objective(dataset: Any = None, network: dict[str, Any] | None = None, **changes: Any) -> Objective:
    dataset = dataset or Discs()
    discs = Discs()
    shown = [each for name in discs.ids for each in (discs.image(name), discs.mask(name), contour(discs.mask(name)))]
    torch.manual_seed(0)
    built = DiffdisNetwork(NetworkConfig(**{**CONFIG.to_dict(), **(network or {})}))
    settings = ObjectiveSettings(**{"size": SIZE, "margin": 8, **changes})
    return Objective(built, PatchCodec.fit(shown, 4, 6), dataset, settings)


def batch_of(made: Objective, count: int = 4, seed: int = 0) -> dict[str, Tensor]:
    return made.collate(
        [made.sample(index % len(made), np.random.default_rng([seed, index])) for index in range(count)]
    )


def loss_of(made: Objective, seed: int = 0, count: int = 4) -> tuple[Tensor, dict[str, float]]:
    return made.loss(made.model, batch_of(made, count), torch.Generator().manual_seed(seed), 0)


class TestContour:
    def test_is_four_pixels_wide_at_a_hard_edge(self) -> None:
        mask = np.zeros((20, 30), np.uint8)
        mask[:, 15:] = 255
        expected = np.zeros_like(mask)
        expected[:, 13:17] = 255
        np.testing.assert_array_equal(contour(mask), expected)

    def test_small_steps_and_blank_masks_have_none(self) -> None:
        mask = np.full((8, 8), 100, np.uint8)
        mask[:, 4:] = 105
        assert not contour(mask).any()
        mask[:, 4:] = 106
        assert contour(mask).any()
        assert not contour(np.full((3, 3), 255, np.uint8)).any()


class TestAugment:
    def test_geometry_is_the_same_for_all(self) -> None:
        grey = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)
        seen = set()
        for seed in range(40):
            pictures = [Image.fromarray(np.repeat(grey[..., None], 3, 2)), Image.fromarray(grey)]
            image, mask = move(pictures, np.random.default_rng(seed), 30)
            np.testing.assert_array_equal(np.array(image)[..., 0], np.array(mask))
            assert 70 - 30 <= mask.width < 70
            assert 50 - 25 <= mask.height < 50  # at most half of it
            seen.add((mask.width, mask.height))
        assert len(seen) > 20

    def test_without_margin_nothing_is_cut(self) -> None:
        for seed in range(20):
            (moved,) = move([Image.new("L", (9, 7), 255)], np.random.default_rng(seed), 0)
            assert moved.size == (9, 7)

    def test_of_the_smallest_pictures_something_is_left(self) -> None:
        for size in ((1, 1), (1, 9), (9, 1)):
            for seed in range(4):
                (moved,) = move([Image.new("L", size, 255)], np.random.default_rng(seed), 30)
                assert min(moved.size) >= 1

    def test_colours_change_alone(self) -> None:
        image = Image.fromarray(Discs().image("disc0"))
        found = [np.array(recolour(image, np.random.default_rng(seed))) for seed in (0, 0, 1)]
        np.testing.assert_array_equal(found[0], found[1])
        assert (found[0] != found[2]).any()
        assert found[0].shape == np.array(image).shape

    def test_boxes(self) -> None:
        rng = np.random.default_rng(0)
        boxes = [mix_box(rng, 64, 96).tolist() for _ in range(400)]
        drawn = [box for box in boxes if any(box)]
        assert 160 < len(drawn) < 240
        areas = [(bottom - top) * (right - left) / (64 * 96) for top, left, bottom, right in drawn]
        assert 0.01 < min(areas) < 0.06
        assert 0.3 < max(areas) <= 0.4
        assert all(0 <= top < bottom <= 64 and 0 <= left < right <= 96 for top, left, bottom, right in drawn)

    def test_pairs_exchange_their_boxes(self) -> None:
        pictures = torch.arange(3.0)[:, None, None, None].expand(3, 2, 4, 4)
        boxes = inside(torch.tensor([[0, 0, 2, 4], [1, 1, 2, 2], [0, 0, 4, 4]]), 4, 4)
        mixed = mix_pairs(pictures, boxes)
        assert mixed[0, 0].tolist() == [[1] * 4, [1] * 4, [0] * 4, [0] * 4]
        assert mixed[1].sum() == 2 * 15
        assert (mixed[1, :, 1, 1] == 0).all()
        assert torch.equal(mixed[2], pictures[2])  # an odd one has no partner

    def test_stretch(self) -> None:
        pictures = torch.tensor([[0.2, 0.6], [0.0, 0.0], [1.0, 1.0], [0.3, 0.3]])[:, None, None]
        expected = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.3, 0.3]])[:, None, None]
        torch.testing.assert_close(stretch(pictures), expected)


class TestObjective:
    def test_a_sample_is_a_function_of_index_and_seed(self) -> None:
        first, second = (objective().sample(2, np.random.default_rng(5)) for _ in range(2))
        assert all(torch.equal(value, second[name]) for name, value in first.items())
        shapes = {name: (tuple(value.shape), value.dtype) for name, value in first.items()}
        assert shapes == {
            "image": ((3, SIZE, SIZE), torch.uint8),
            "mask": ((1, SIZE, SIZE), torch.uint8),
            "edge": ((1, SIZE, SIZE), torch.uint8),
            "box": ((4,), torch.int64),
        }
        assert not torch.equal(first["image"], objective().sample(2, np.random.default_rng(6))["image"])

    def test_edges_may_come_from_elsewhere(self) -> None:
        made = objective()
        own = Objective(made.model, made.codec, Discs(), made.settings, lambda name: 255 - Discs().mask(name))
        sample = own.sample(0, np.random.default_rng(0))
        assert ((sample["edge"].int() + sample["mask"].int())[:, 12:20, 12:20] > 250).all()

    def test_loss_adds_both_streams(self) -> None:
        loss, parts = loss_of(objective())
        assert float(loss.detach()) == pytest.approx(parts["mask_loss"] + parts["edge_loss"], rel=1e-5)
        again, _ = loss_of(objective())
        assert torch.equal(loss, again)
        assert not torch.equal(loss, loss_of(objective(), seed=1)[0])

    def test_a_perfect_network_has_no_loss(self) -> None:
        made = objective(cutmix=False, colour=False)
        pictures = made._pictures(batch_of(made))
        clean = torch.cat([made.codec.encode(each.expand(-1, 3, -1, -1)) for each in pictures[1:]])
        loss, _ = made.loss(lambda *_: clean, batch_of(made), torch.Generator(), 0)  # type: ignore[arg-type]
        assert float(loss) == 0

    def test_mask_alone(self) -> None:
        made = objective(network=SINGLE)
        assert "edge" not in made.sample(0, np.random.default_rng(0))
        loss, parts = loss_of(made)
        assert list(parts) == ["mask_loss"]
        assert float(loss.detach()) == pytest.approx(parts["mask_loss"])
        assert len(made.parameter_groups()) == 1

    @pytest.mark.parametrize("value", [0, 128, 255])
    @pytest.mark.parametrize("prediction", ["sample", "epsilon"])
    def test_blank_masks_give_numbers(self, value: int, prediction: str) -> None:
        made = objective(Blank(value), {"prediction": prediction})
        loss, _ = loss_of(made)
        loss.backward()
        assert torch.isfinite(loss)
        assert all(torch.isfinite(p.grad).all() for p in made.model.parameters() if p.grad is not None)
        mask = made._pictures(batch_of(made))[1]
        assert float(mask.mean()) == pytest.approx({0: -1, 128: 0.0039, 255: 1}[value], abs=0.5 if value else 1e-6)

    @pytest.mark.parametrize(
        ("times", "expected"), [("last", {999}), ("one_of_two", {999, 499}), ("two_steps", {999, 499})]
    )
    def test_time_steps(self, times: str, expected: set[int]) -> None:
        made = objective(times=times, noise="gaussian")
        seen: list[int] = []

        def spied(image: Tensor, noisy: Tensor, time: int, smaller: list[Tensor]) -> Tensor:
            seen.append(time)
            return made.model(image, noisy, time, smaller)

        for seed in range(6):
            made.loss(spied, batch_of(made), torch.Generator().manual_seed(seed), 0)  # type: ignore[arg-type]
        assert set(seen) == expected
        assert len(seen) == (12 if times == "two_steps" else 6)

    @pytest.mark.parametrize("signal", [True, False])
    def test_the_last_time_step_may_hide_the_target(self, signal: bool) -> None:
        made = objective(signal=signal, cutmix=False, noise="gaussian")
        batch = batch_of(made)
        seen: list[Tensor] = []

        def spied(image: Tensor, noisy: Tensor, time: int, smaller: list[Tensor]) -> Tensor:
            seen.append(noisy)
            return made.model(image, noisy, time, smaller)

        for value in (0, 255):
            batch["mask"] = torch.full_like(batch["mask"], value)
            made.loss(spied, batch, torch.Generator().manual_seed(0), 0)  # type: ignore[arg-type]
        assert torch.equal(*seen) != signal

    def test_any_time_step(self) -> None:
        made = objective(times="any")
        losses = {float(loss_of(made, seed)[0].detach()) for seed in range(4)}
        assert len(losses) == 4

    def test_two_steps_are_learnt_through_both(self) -> None:
        made = objective(times="two_steps", network={"prediction": "epsilon"})
        outputs: list[Tensor] = []

        def spied(*given: Any) -> Tensor:
            outputs.append(made.model(*given))
            outputs[-1].retain_grad()
            return outputs[-1]

        loss, _ = made.loss(spied, batch_of(made), torch.Generator().manual_seed(0), 0)  # type: ignore[arg-type]
        loss.backward()
        assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in outputs)

    def test_stream_embedding_learns_ten_times_as_fast(self) -> None:
        made = objective()
        plain, scaled = made.parameter_groups()
        names = {id(p): name for name, p in made.model.named_parameters()}
        assert {names[id(p)] for p in scaled["params"]} == {
            f"unet.class_embedding.linear_{layer}.{kind}" for layer in (1, 2) for kind in ("weight", "bias")
        }
        assert scaled["lr_scale"] == 10
        assert "lr_scale" not in plain
        assert len(plain["params"]) + 4 == len(names)

    def test_a_code_carries_the_masks(self) -> None:
        codec = fitted_codec(Discs(), SIZE, 16)
        assert torch.equal(codec.basis, fitted_codec(Discs(), SIZE, 16).basis)
        mask = Image.fromarray(Discs().mask("disc1")).resize((SIZE, SIZE))
        values = torch.from_numpy(np.array(mask))[None, None] / 127.5 - 1
        decoded = codec.decode(codec.encode(values.expand(-1, 3, -1, -1)))
        assert ((decoded > 0) == (values > 0)).float().mean() > 0.99

    def test_pictures_shrink(self) -> None:
        assert [tuple(each.shape) for each in shrunk(torch.zeros(1, 3, 64, 32), 2)] == [(1, 3, 32, 16), (1, 3, 16, 8)]

    def test_what_does_not_fit_is_told(self) -> None:
        with pytest.raises(ConfigError, match="multiple of 8"):
            objective(size=36)
        with pytest.raises(ConfigError, match="code has 6 channels"):
            objective(network={"latent": 4})
        with pytest.raises(ConfigError, match="noise 'pink'"):
            objective(noise="pink")

        class Unequal(Discs):
            def image(self, image_id: str) -> np.ndarray:
                return super().image(image_id)[:-1]

        with pytest.raises(DataError, match=r"disc0: .* its mask"):
            objective(Unequal()).sample(0, np.random.default_rng(0))
        empty = Discs(0)
        with pytest.raises(DataError, match="no images"):
            objective(empty)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_loop(tmp_path: Path, precision: str) -> None:
    made: Any = objective()
    settings = LoopSettings(
        steps=16,
        batch=4,
        learning_rate=3e-3,
        weight_decay=0.0,
        log_every=4,
        device="cpu",
        precision=precision,
        gradient_checkpointing=precision == "bf16",
    )
    report = train(made, settings, tmp_path)
    rows = report.log.read_text().splitlines()
    losses = [float(row.split(",")[1]) for row in rows[1:]]
    assert rows[0].startswith("step,loss")
    assert losses[-1] < 0.8 * losses[0]
    network, codec = load_weights(report.weights)
    assert isinstance(codec, PatchCodec)
    assert network.config == made.model.config
    assert torch.equal(codec.basis, made.codec.basis)
    made.model.eval()
    image, noisy = torch.randn(1, 6, 8, 8), torch.randn(2, 6, 8, 8)
    with torch.no_grad():
        given = image, noisy, 999, [torch.randn(1, 6, 4, 4)]
        torch.testing.assert_close(network(*given), made.model(*given))
