"""From pictures to masks and edges with a trained DiffDIS network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from edgebench.errors import ConfigError, EdgebenchError
from edgebench.methods.codec import Codec
from edgebench.methods.diffdis.augment import resized, stretch
from edgebench.methods.diffdis.constants import TimeConstants, fix_constants
from edgebench.methods.diffdis.diffusion import Sampler, denoise
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.objective import shrunk

Tta = Literal["none", "flip", "official"]
Resize = Literal["square", "aspect"]

# (scale of the picture, exchanged left to right); those of one scale are computed together.
_RUNS: dict[str, dict[float, tuple[bool, ...]]] = {
    "none": {1.0: (False,)},
    "flip": {1.0: (False, True)},
    "official": {0.75: (False, True), 1.0: (False, True), 1.25: (False, True)},
}


@dataclass(frozen=True)
class PredictSettings:
    """How DiffDIS predicts.

    Attributes:
        size: Side of the square that pictures are resized to; with `aspect` their long side. Pixels.
        resize: `square` whatever the picture's aspect, as released, or close to its `aspect`.
        tta: Runs that are averaged: one, two (`flip`), or the `official` six of two flips and three scales,
            which the authors' code always does and the paper does not mention.
        steps: Steps from noise to latent.
        sampler: How several steps are taken; `ddpm`, as released, draws fresh noise between them.
        noise: Which draw of the noise: another number starts the same weights from other noise.
        edges: Decode the edge too; without it the mask is the same and cheaper by nearly a third.

    Raises:
        ConfigError: a value is unknown or out of range.
    """

    size: int = 1024
    resize: Resize = "square"
    tta: Tta = "none"
    steps: int = 1
    sampler: Sampler = "ddpm"
    noise: int = 0
    edges: bool = False

    def __post_init__(self) -> None:
        for key, value, known in (
            ("resize", self.resize, get_args(Resize)),
            ("tta", self.tta, get_args(Tta)),
            ("sampler", self.sampler, get_args(Sampler)),
        ):
            if value not in known:
                raise ConfigError(f"DiffDIS prediction: {key} {value!r} is unknown; choose one of {', '.join(known)}.")
        if not 1 <= self.steps <= 1000:
            raise ConfigError(f"DiffDIS prediction: steps {self.steps} is not between 1 and 1000.")


@dataclass(frozen=True)
class Prediction:
    """What DiffDIS says about one picture.

    Attributes:
        mask: float32 (H, W) in [0, 1], at the picture's size; multiples of 1/255 where it was resized to it.
        edge: The same for the mask's outline, or None where it was not asked for.
    """

    mask: NDArray[np.float32]
    edge: NDArray[np.float32] | None


def noise_generator(name: str, seed: int, draw: int, scale: float, flip: bool) -> torch.Generator:
    """A generator on the CPU that depends on the picture's name, the seed, the draw and the run alone."""
    digest = hashlib.sha256(f"{seed}/{draw}/{name}/{scale:g}/{int(flip)}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Predictor:
    """Predicts masks with one network and one way of doing so.

    The result of a picture does not depend on those that share its batch, up to rounding.
    """

    def __init__(
        self,
        network: DiffdisNetwork,
        codec: Codec,
        settings: PredictSettings,
        device: torch.device | str = "cpu",
        precision: Literal["fp32", "bf16"] = "fp32",
        batch_size: int = 4,
        seed: int = 0,
    ) -> None:
        """Take over `network` and `codec`, which are moved to `device` and made ready for prediction alone.

        Args:
            network: Trained network.
            codec: Code of the latents it was trained on.
            settings: Size, runs and steps.
            device: Where to compute.
            precision: Of the network; the steps from noise to latent are float32 always.
            batch_size: Pictures per batch; only those of one size share a batch.
            seed: Of the noise.

        Raises:
            ConfigError: the size does not fit the network, edges are asked of a network without, or the
                precision is unknown.
        """
        if precision not in ("fp32", "bf16"):
            raise ConfigError(f"precision {precision!r} is unknown; choose fp32 or bf16.")
        if settings.edges and not network.config.edge:
            raise ConfigError("DiffDIS prediction: this network was trained without edges. Set edges: false.")
        self._multiple = codec.factor * network.divisor
        if settings.size < 1 or settings.size % self._multiple:
            near = self._rounded(settings.size)
            raise ConfigError(
                f"DiffDIS prediction: size {settings.size} must be a multiple of {self._multiple} here, "
                f"{near} for example."
            )
        self.device = torch.device(device)
        self.network = network.to(device).eval()
        fix_constants(self.network)
        if self.device.type == "cuda":
            # Channels last suits GPUs; on CPUs it is slower, and normalises less exactly.
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.codec = codec.to(device)
        self.settings = settings
        self.precision = precision
        self.batch_size = batch_size
        self.seed = seed
        self._constants = TimeConstants(self.network)

    @torch.inference_mode()
    def predict(self, images: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> list[Prediction]:
        """Masks, and edges if asked for, of `images`, in their order.

        Args:
            images: uint8 (H, W, 3) RGB each, of any sizes.
            names: One per picture; they seed the noise and appear in error messages.

        Raises:
            EdgebenchError: the network answered with something that is not a number.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(self.working_size(*image.shape[:2]), []).append(index)
        result: dict[int, Prediction] = {}
        for size, members in groups.items():
            for start in range(0, len(members), self.batch_size):
                batch = members[start : start + self.batch_size]
                pictures = torch.stack([_picture(images[index], *size) for index in batch]).to(self.device)
                maps = self._averaged(pictures, [names[index] for index in batch])
                for index, streams in zip(batch, maps.cpu().numpy(), strict=True):
                    if not np.isfinite(streams).all():
                        raise EdgebenchError(
                            f"{names[index]}: the network's answer is not a number. "
                            f"Use precision fp32, or check the weights."
                        )
                    mask, *edge = (_enlarged(each, *images[index].shape[:2]) for each in streams)
                    result[index] = Prediction(mask, edge[0] if edge else None)
        return [result[index] for index in range(len(images))]

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which a picture of `height` x `width` goes through the network (without augmentation)."""
        if self.settings.resize == "square":
            return self.settings.size, self.settings.size
        scale = self.settings.size / max(height, width)
        return self._rounded(height * scale), self._rounded(width * scale)

    def _rounded(self, side: float) -> int:
        return max(1, round(side / self._multiple)) * self._multiple

    def _averaged(self, pictures: Tensor, names: list[str]) -> Tensor:
        """Maps (B, 1 or 2, H, W) of pictures (B, 3, H, W) in [-1, 1], averaged over the runs."""
        height, width = pictures.shape[-2:]
        maps = []
        for scale, flips in _RUNS[self.settings.tta].items():
            size = self._rounded(scale * height), self._rounded(scale * width)
            scaled = _interpolated(pictures, size)
            turned = torch.cat([scaled.flip(-1) if flip else scaled for flip in flips])
            generators = [
                noise_generator(name, self.seed, self.settings.noise, scale, flip) for flip in flips for name in names
            ]
            found = _interpolated(self._maps(turned, generators), (height, width))
            for flip, each in zip(flips, found.chunk(len(flips)), strict=True):
                maps.append(each.flip(-1) if flip else each)
        return torch.stack(maps).mean(0)

    def _maps(self, pictures: Tensor, generators: list[torch.Generator]) -> Tensor:
        """One run: maps (N, 1 or 2, H, W) in [0, 1] of pictures (N, 3, H, W) in [-1, 1]."""
        config = self.network.config
        image = self.codec.encode(pictures)
        smaller = [self.codec.encode(each) for each in shrunk(pictures, config.injected)]
        # Mask and edge begin with the same noise.
        noise = torch.stack([torch.randn(image.shape[1:], generator=each) for each in generators]).to(self.device)
        latents = denoise(
            lambda noisy, time: self._output(image, noisy, time, smaller),
            noise.repeat(config.streams, 1, 1, 1),
            config.prediction,
            self.settings.steps,
            self.settings.sampler,
            generators * config.streams,
        )
        streams = latents.chunk(config.streams)[: 2 if self.settings.edges else 1]
        decoded = torch.cat([self.codec.decode(each) for each in streams])
        maps = stretch((decoded.clip(-1, 1) + 1) / 2)
        return torch.cat(maps.chunk(len(streams)), dim=1)

    def _output(self, image: Tensor, noisy: Tensor, time: int, smaller: list[Tensor]) -> Tensor:
        embedding = self._constants.at(time)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.network(image, noisy, time, smaller, embedding)


def _picture(image: NDArray[np.uint8], height: int, width: int) -> Tensor:
    small = np.array(resized(Image.fromarray(image), height, width))
    return torch.from_numpy(small).permute(2, 0, 1).float() / 127.5 - 1


def _interpolated(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[-2:]) == size:
        return maps
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def _enlarged(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A map at the picture's size: resized in 8 bits, cut off before, as in the authors' released code."""
    if values.shape == (height, width):
        return values
    levels = Image.fromarray(np.floor(255 * values).astype(np.uint8))
    return np.array(resized(levels, height, width), np.float32) / np.float32(255)
