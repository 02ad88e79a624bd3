"""Noise schedule, one step, pyramid noise, CutMix and contours against the authors' code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edgebench.methods.diffdis.augment import mix_pairs
from edgebench.methods.diffdis.contours import contour
from edgebench.methods.diffdis.diffusion import Sampler, clean_from, pyramid_noise, scheduler, signal_and_noise
from edgebench.methods.diffdis.objective import CLASS_RATE
from edgebench.methods.diffdis.presets import Prediction
from edgebench.training.settings import LoopSettings

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "fixtures" / "diffdis"


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "scheduler.safetensors")


def test_schedule(folder: Path, expected: dict[str, Tensor]) -> None:
    meta = json.loads((folder / "scheduler_meta.json").read_text())
    torch.testing.assert_close(scheduler("ddpm", "epsilon", 1).alphas_cumprod, expected["alphas_cumprod"])
    assert signal_and_noise(999) == pytest.approx((meta["sqrt_ab"], meta["sqrt_1mab"]), abs=1e-7)
    samplers: tuple[Sampler, ...] = ("ddpm", "ddim")
    for sampler in samplers:
        for steps in (2, 10):
            assert scheduler(sampler, "epsilon", steps).timesteps.tolist() == meta[f"{sampler}_trailing_{steps}"]
    assert scheduler("ddpm", "epsilon", 1).timesteps.tolist() == meta["one_step_timesteps"]


@pytest.mark.parametrize(
    ("prediction", "name"),
    [
        ("epsilon", "one_step.prev_sample"),
        ("epsilon", "one_step.pred_original_sample"),
        ("v_prediction", "one_step_v.prev_sample"),
    ],
)
def test_one_step(expected: dict[str, Tensor], prediction: Prediction, name: str) -> None:
    found = clean_from(expected["eps"], expected["x_t"], 999, prediction)
    torch.testing.assert_close(found, expected[name], atol=5e-6, rtol=5e-6)


@pytest.mark.parametrize(
    ("seed", "name", "levels", "shape"),
    [(7, "noise_seed7_64", "seed7_64", (2, 4, 64, 64)), (8, "noise_seed8_128_first", "seed8_128", (4, 4, 128, 128))],
)
def test_pyramid_noise(folder: Path, seed: int, name: str, levels: str, shape: tuple[int, ...]) -> None:
    drawn = json.loads((folder / "pyramid_noise_meta.json").read_text())[levels]
    noise = pyramid_noise(shape, torch.Generator().manual_seed(seed), ratios=[ratio for _, ratio, _, _ in drawn])
    official = load_file(folder / "pyramid_noise.safetensors")[name]
    torch.testing.assert_close(noise[: len(official)], official, atol=5e-6, rtol=0)


def test_cutmix(folder: Path) -> None:
    given = load_file(folder / "cutmix.safetensors")
    boxes = given["box"][:, :1].bool()
    assert boxes.any()
    for name in ("data", "label", "edge"):
        assert torch.equal(mix_pairs(given[name], boxes), given[f"out.{name}"])


def test_contours(folder: Path) -> None:
    with np.load(folder / "contour.npz") as file:
        pairs = [(file[f"mask_{each}"], file[f"edge_{each}"]) for each in "ab"]
    for mask, edge in pairs:
        np.testing.assert_array_equal(contour(mask), edge)


def test_learning_rates(folder: Path) -> None:
    rows = json.loads((folder / "lr_schedule.json").read_text())["rows"]
    assert len(rows) == 100
    per_epoch = 7
    settings = LoopSettings(
        steps=per_epoch * len(rows),
        batch=4,
        learning_rate=3e-5,
        schedule="compounding_decay",
        epochs=len(rows),
    )
    for epoch, base, embedding in rows:
        for step in (per_epoch * (epoch - 1), per_epoch * epoch - 1):  # the first and the last of the epoch
            rate = settings.learning_rate * settings.multiplier(step)
            assert (rate, rate * CLASS_RATE) == pytest.approx((base, embedding), rel=1e-12)
