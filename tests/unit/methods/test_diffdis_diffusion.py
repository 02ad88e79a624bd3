"""One step, chains and noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgebench.methods.diffdis.diffusion import (
    LAST,
    Sampler,
    add_noise,
    clean_from,
    denoise,
    pyramid_noise,
    scheduler,
    signal_and_noise,
    step_back,
)
from edgebench.methods.diffdis.presets import Prediction

torch.set_num_threads(1)
KINDS: tuple[Prediction, ...] = ("epsilon", "v_prediction", "sample")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def answer(kind: Prediction, clean: Tensor, noise: Tensor, time: int) -> Tensor:
    """What a perfect network of this kind says."""
    signal, spread = signal_and_noise(time)
    return {"epsilon": noise, "v_prediction": signal * noise - spread * clean, "sample": clean}[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("time", [LAST, 499, 0])
def test_a_perfect_answer_gives_the_clean_latents(kind: Prediction, time: int) -> None:
    clean, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    noisy = add_noise(clean, noise, time)
    torch.testing.assert_close(
        clean_from(answer(kind, clean, noise, time), noisy, time, kind), clean, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(step_back(clean, noisy, time, 200), add_noise(clean, noise, 200), atol=1e-3, rtol=1e-3)


def test_the_step_is_float32_whatever_the_network() -> None:
    noisy, output = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8).bfloat16()
    found = clean_from(output, noisy, LAST, "epsilon")
    assert found.dtype == torch.float32
    signal, spread = signal_and_noise(LAST)
    exact = (noisy.double() - spread * output.double()) / signal
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_chains_reach_what_the_network_knows(kind: Prediction, sampler: Sampler, steps: int) -> None:
    clean = torch.randn(2, 4, 8, 8)
    times = []

    def network(noisy: Tensor, time: int) -> Tensor:
        times.append(time)
        signal, spread = signal_and_noise(time)
        return answer(kind, clean, (noisy - signal * clean) / spread, time)

    found = denoise(network, torch.randn(2, 4, 8, 8), kind, steps, sampler, torch.Generator().manual_seed(0))
    assert times == [LAST - 1000 // steps * step for step in range(steps)]
    # DDIM ends at the noise of the first time step, as Stable Diffusion's own files have it.
    torch.testing.assert_close(found, clean, atol=0.2, rtol=0)


def test_fresh_noise_belongs_to_its_item() -> None:
    def network(noisy: Tensor, time: int) -> Tensor:
        return 0.1 * noisy

    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    noise = torch.randn(3, 4, 8, 8)
    together = denoise(network, noise, "epsilon", 3, "ddpm", generators(1, 2, 3))
    alone = denoise(network, noise[1:2], "epsilon", 3, "ddpm", generators(2))
    torch.testing.assert_close(alone, together[1:2])
    other = denoise(network, noise[1:2], "epsilon", 3, "ddpm", generators(4))
    assert (other - alone).abs().max() > 0.01
    ddim = [denoise(network, noise, "epsilon", 3, "ddim", generators(seed, 2, 3)) for seed in (1, 4)]
    assert torch.equal(*ddim)


def test_spacing_is_trailing() -> None:
    assert scheduler("ddpm", "epsilon", 1).timesteps.tolist() == [999]
    assert scheduler("ddim", "v_prediction", 2).timesteps.tolist() == [999, 499]
    assert not scheduler("ddpm", "epsilon", 2).config["clip_sample"]


def test_pyramid_noise_has_unit_variance_and_coarse_power() -> None:
    drawn = [pyramid_noise((4, 2, 32, 48), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert float(drawn[0].std()) == pytest.approx(1, abs=1e-5)
    # Means of 16 x 16 pixels: plain noise would have a spread of 1/16.
    assert float(torch.nn.functional.avg_pool2d(drawn[0], 16).std()) > 0.15
    assert pyramid_noise((1, 1, 1, 8), torch.Generator().manual_seed(0)).shape == (1, 1, 1, 8)
