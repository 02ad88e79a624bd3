"""Noise, the one-step formula, and chains of several steps.

All of it computes in float32: at the last time step an error of the network's output is multiplied by 14.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor
from torch.nn import functional

from edgebench.methods.diffdis.presets import Prediction

STEPS = 1000
LAST = STEPS - 1
Sampler = Literal["ddpm", "ddim"]

# Those of every Stable Diffusion model. Trailing spacing makes the only step 999; with the leading spacing of
# SD 2.1's own file it would be 1, and a clipped sample is no latent.
_SCHEDULE = {
    "num_train_timesteps": STEPS,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "timestep_spacing": "trailing",
    "steps_offset": 1,
    "clip_sample": False,
}


def scheduler(sampler: Sampler, prediction: Prediction, steps: int) -> Any:
    """The noise schedule of Stable Diffusion, set to `steps` steps that end at 0 and begin at 999.

    `ddpm` draws fresh noise between the steps, as released; `ddim` is deterministic.
    """
    made: Any = (
        DDPMScheduler(**_SCHEDULE, prediction_type=prediction)
        if sampler == "ddpm"
        else DDIMScheduler(**_SCHEDULE, prediction_type=prediction, set_alpha_to_one=False)
    )
    made.set_timesteps(steps)
    return made


_ALPHAS: Tensor = scheduler("ddpm", "epsilon", 1).alphas_cumprod


def signal_and_noise(time: int) -> tuple[float, float]:
    """Weights of signal and noise in a latent at time step `time`: 0.0683 and 0.9977 at 999."""
    kept = float(_ALPHAS[time])
    return kept**0.5, (1 - kept) ** 0.5


def add_noise(clean: Tensor, noise: Tensor, time: int) -> Tensor:
    """`clean` latents, noisy as at time step `time`."""
    signal, spread = signal_and_noise(time)
    return signal * clean + spread * noise


def clean_from(output: Tensor, noisy: Tensor, time: int, prediction: Prediction) -> Tensor:
    """The clean latents that the network's output stands for (paper, eq. 4), float32.

    Args:
        output: What the network answered to `noisy`, of any precision.
        noisy: Latents of the same shape.
        time: Time step of `noisy`.
        prediction: What `output` is.
    """
    output, noisy = output.float(), noisy.float()
    signal, spread = signal_and_noise(time)
    if prediction == "sample":
        return output
    if prediction == "v_prediction":
        return signal * noisy - spread * output
    return (noisy - spread * output) / signal


def step_back(clean: Tensor, noisy: Tensor, time: int, earlier: int) -> Tensor:
    """A deterministic step from `noisy` at `time` to time step `earlier`, given the `clean` latents (DDIM)."""
    signal, spread = signal_and_noise(time)
    return add_noise(clean, (noisy - signal * clean) / spread, earlier)


def denoise(
    network: Callable[[Tensor, int], Tensor],
    noise: Tensor,
    prediction: Prediction,
    steps: int = 1,
    sampler: Sampler = "ddpm",
    generators: torch.Generator | Sequence[torch.Generator] | None = None,
) -> Tensor:
    """From noise to clean latents in `steps` calls of `network`.

    Args:
        network: (noisy latents, time step) -> output.
        noise: (N, C, h, w).
        prediction: What the output is.
        steps: 1 as published; the paper's ablation has 2 and 10.
        sampler: How several steps are taken; a single one is exact either way.
        generators: Of the fresh noise between DDPM steps: one for all, or one per item.

    Returns:
        Clean latents (N, C, h, w), float32.
    """
    latents = noise.float()
    if steps == 1:
        return clean_from(network(latents, LAST), latents, LAST, prediction)
    chain = scheduler(sampler, prediction, steps)
    extra = {"generator": list(generators) if isinstance(generators, Sequence) else generators}
    for time in chain.timesteps.tolist():
        output = network(latents, time).float()
        latents = chain.step(output, time, latents, **extra).prev_sample
    return latents


def pyramid_noise(
    shape: Sequence[int],
    generator: torch.Generator,
    discount: float = 0.8,
    ratios: Sequence[float] | None = None,
) -> Tensor:
    """Noise with more power at coarse scales, of unit variance over the whole tensor.

    Full-size Gaussian noise plus Gaussian noise at shrinking sizes, enlarged; the authors' trainer has it
    from Marigold's. The finest level has full size again.

    Args:
        shape: (N, C, h, w).
        generator: Source of all randomness; the result lies on its device.
        discount: Weight of each level relative to the one before.
        ratios: Shrinking factors in [2, 4), drawn if not given: level i is smaller than the last by
            its factor to the power i.
    """
    count, channels, height, width = shape
    device = generator.device
    if ratios is None:
        ratios = (2 + 2 * torch.rand(10, generator=generator, device=device)).tolist()
    noise = torch.randn(*shape, generator=generator, device=device)
    rows, columns = height, width
    for level, ratio in enumerate(ratios):
        rows, columns = (max(1, int(side / ratio**level)) for side in (rows, columns))
        coarse = torch.randn(count, channels, rows, columns, generator=generator, device=device)
        noise += discount**level * functional.interpolate(coarse, (height, width), mode="bilinear")
        if rows == 1 or columns == 1:
            break
    return noise / noise.std()
