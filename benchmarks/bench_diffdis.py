"""Speed of DiffDIS' prediction beside a plain loop, measure by measure.

`python benchmarks/bench_diffdis.py` prints for each measure the seconds with and without it, their ratio and how far
the answers differ, which must be no more than rounding. Both sides run in one process and take turns, so that a
machine that is busy with other things slows both; the fastest of `--rounds` counts, on a CPU in seconds of it. By
default network and autoencoder are those of the paper with a fifth of the widths, on small squares on one core; on a
GPU: `python benchmarks/bench_diffdis.py --full --size 1024 --device cuda`.

The plain loop does what the authors' pipeline does: pictures and flips one by one, the edge decoded beside the mask
whether it is asked for or not, three colours that are averaged afterwards, and everything that depends on no picture
(time step and stream, text, BatchNorm) computed in every pass. Weights are random, which costs the same as trained
ones.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from edgebench.methods.codec import VaeCodec
from edgebench.methods.diffdis.augment import stretch
from edgebench.methods.diffdis.constants import TimeConstants, fix_constants
from edgebench.methods.diffdis.diffusion import LAST, clean_from
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.objective import shrunk
from edgebench.methods.diffdis.predictor import Predictor, PredictSettings, noise_generator
from edgebench.methods.diffdis.presets import PRESETS, NetworkConfig

ROUNDING = 2e-4
"""Largest difference of maps in [0, 1]: the one step multiplies the network's rounding by 14.6."""
SMALL = NetworkConfig(channels=(64, 128, 256, 256), heads=(1, 2, 4, 4), text=192)
Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """What is predicted, and where."""

    full: bool
    size: int
    images: int
    rounds: int
    device: str

    def network(self) -> DiffdisNetwork:
        """A network with random weights whose additions all have an effect."""
        torch.manual_seed(0)
        network = DiffdisNetwork(PRESETS["full"] if self.full else SMALL)
        network.text.normal_()
        with torch.no_grad():
            for parameter in network.injectors.parameters():
                parameter.add_(torch.randn(parameter.shape), alpha=0.05)
        return network.to(self.device).eval()

    def vae(self) -> Any:
        """An autoencoder with random weights."""
        torch.manual_seed(0)
        vae: Any = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512) if self.full else (32, 64, 96, 96),
            layers_per_block=2,
            sample_size=768,
        )
        return vae.to(self.device).eval()

    def pictures(self) -> list[np.ndarray]:
        """Smooth noise, uint8 (size, size, 3)."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(self.images, 3, self.size // 16, self.size // 16, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=(self.size, self.size), mode="bilinear")
        return list((smooth * 255).byte().permute(0, 2, 3, 1).numpy())

    def names(self) -> list[str]:
        """Names of the pictures."""
        return [f"picture{number}" for number in range(self.images)]


class Plain:
    """The plain loop over pictures and flips."""

    def __init__(self, case: Case) -> None:
        self.network, self.vae, self.device = case.network(), case.vae(), case.device
        self.scaling = self.vae.config.scaling_factor

    def encode(self, picture: Tensor) -> Tensor:
        """Latents of RGB (1, 3, H, W) in [-1, 1]."""
        return self.vae.encode(picture).latent_dist.mode() * self.scaling

    def decode(self, latents: Tensor) -> Tensor:
        """Grey (1, 1, H, W) of latents."""
        return self.vae.decode(latents / self.scaling).sample.mean(1, keepdim=True)

    @torch.inference_mode()
    def masks(self, pictures: list[np.ndarray], names: list[str]) -> Tensor:
        """Masks (N, H, W) in [0, 1], the mean of both flips; the edges are decoded and thrown away."""
        masks = []
        for picture, name in zip(pictures, names, strict=True):
            image = torch.from_numpy(picture).permute(2, 0, 1)[None].to(self.device).float() / 127.5 - 1
            runs = []
            for flip in (False, True):
                seen = image.flip(-1) if flip else image
                latents, smaller = self.encode(seen), [self.encode(each) for each in shrunk(seen, 3)]
                noise = torch.randn(latents.shape[1:], generator=noise_generator(name, 0, 0, 1.0, flip))
                noisy = noise.to(self.device).expand(2, -1, -1, -1)
                clean = clean_from(self.network(latents, noisy, LAST, smaller), noisy, LAST, "epsilon")
                mask, _ = (stretch((self.decode(each).clip(-1, 1) + 1) / 2) for each in clean.chunk(2))
                runs.append(mask.flip(-1) if flip else mask)
            masks.append(torch.stack(runs).mean(0)[0, 0])
        return torch.stack(masks).cpu()


def measures(case: Case) -> dict[str, tuple[Run, Run]]:
    """By name of the measure: what it replaces, and itself."""
    plain, codec = Plain(case), VaeCodec(case.vae())
    fixed = copy.deepcopy(plain.network)
    fix_constants(fixed)
    constants = TimeConstants(fixed)
    pictures, names = case.pictures(), case.names()
    generator = torch.Generator().manual_seed(1)
    side = case.size // codec.factor
    image, *smaller = (
        torch.randn(1, 4, side >> level, side >> level, generator=generator).to(case.device) for level in range(4)
    )
    noisy = torch.randn(2, 4, side, side, generator=generator).to(case.device)

    def pass_of(flips: list[bool]) -> Tensor:
        """The network's answer for these flips, (flips, streams, C, h, w)."""
        turned = [[each.flip(-1) if flip else each for flip in flips] for each in (image, noisy, *smaller)]
        images, starts, *others = (torch.stack(each, dim=1).flatten(0, 1) for each in turned)
        return fixed(images, starts, LAST, others, constants.at(LAST)).unflatten(0, (2, -1)).transpose(0, 1)

    def predicted(edges: bool) -> Run:
        settings = PredictSettings(case.size, tta="flip", edges=edges)
        predictor = Predictor(case.network(), VaeCodec(case.vae()), settings, case.device, batch_size=case.images)
        return lambda: torch.from_numpy(np.stack([each.mask for each in predictor.predict(pictures, names)]))

    return {
        "constants once (the network alone)": (
            lambda: plain.network(image, noisy, LAST, smaller),
            lambda: fixed(image, noisy, LAST, smaller, constants.at(LAST)),
        ),
        "colours averaged in the weights (a decode alone)": (
            lambda: plain.decode(noisy[:1]),
            lambda: codec.decode(noisy[:1]),
        ),
        "both flips in one pass (the network alone)": (
            lambda: torch.cat((pass_of([False]), pass_of([True]))),
            lambda: pass_of([False, True]),
        ),
        "no edge decode (both flips)": (predicted(True), predicted(False)),
        "all of it against the plain loop (both flips)": (lambda: plain.masks(pictures, names), predicted(False)),
    }


@torch.inference_mode()
def compare(case: Case, plain: Run, ours: Run) -> tuple[float, float, float]:
    """Seconds of both sides, the fastest of all rounds, and the largest difference of their answers.

    Raises:
        AssertionError: the answers differ by more than rounding.
    """
    clock = time.process_time if case.device == "cpu" else time.perf_counter
    seconds: list[list[float]] = [[], []]
    answers: list[Tensor] = []
    for _ in range(case.rounds):
        answers = []
        for spent, run in zip(seconds, (plain, ours), strict=True):
            start = clock()
            answers.append(run())
            if case.device == "cuda":
                torch.cuda.synchronize()
            spent.append(clock() - start)
    difference = float((answers[0] - answers[1]).abs().max())
    assert difference < ROUNDING, f"the answers differ by {difference:.1e}"
    return min(seconds[0]), min(seconds[1]), difference


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the published widths")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    chosen = vars(parser.parse_args())
    torch.set_num_threads(chosen.pop("threads"))
    case = Case(**chosen)
    where = torch.cuda.get_device_name() if case.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(
        f"DiffDIS with {'the published' if case.full else 'a fifth of the'} widths, {case.images} pictures of "
        f"{case.size}x{case.size}, float32; {where}, torch {torch.__version__}"
    )
    print(f"{'':<50}{'plain s':>10}{'ours s':>10}{'ratio':>8}{'difference':>12}")
    for name, (plain, ours) in measures(case).items():
        before, after, difference = compare(case, plain, ours)
        print(f"{name:<50}{before:>10.3f}{after:>10.3f}{before / after:>8.2f}{difference:>12.1e}", flush=True)


if __name__ == "__main__":
    main()
