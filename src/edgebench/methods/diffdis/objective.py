"""What the training loop minimises for DiffDIS: samples, noisy latents and loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from edgebench.errors import ConfigError, DataError
from edgebench.methods.codec import Codec, PatchCodec
from edgebench.methods.diffdis.augment import inside, mix_box, mix_pairs, move, recolour, resized, stretch
from edgebench.methods.diffdis.contours import contour
from edgebench.methods.diffdis.diffusion import LAST, STEPS, add_noise, clean_from, pyramid_noise, step_back
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.weights import weight_metadata, weight_tensors

CACHE_BYTES = 256 * 1024**2
"""Decoded images, masks and edges that one loader process keeps."""
CODEC_PICTURES = 200
"""Pictures that a patch code is fitted to."""
CLASS_RATE = 10.0
"""Learning rate of the stream embedding, relative to all else."""
MIDDLE = 499
"""The second of two steps; the first is the last time step."""

Times = Literal["last", "one_of_two", "two_steps", "any"]
Noise = Literal["pyramid", "gaussian"]


class MaskDataset(Protocol):
    """Pictures with the mask of what stands out in each."""

    ids: list[str]

    def image(self, image_id: str, /) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB."""

    def mask(self, image_id: str, /) -> NDArray[np.uint8]:
        """uint8 (H, W), 0 to 255."""


@dataclass(frozen=True)
class ObjectiveSettings:
    """How DiffDIS is trained.

    Attributes:
        size: Side of the square that pictures are resized to, pixels.
        margin: Largest number of rows and columns that the centre crop takes away; 0 does not crop.
        colour: Change the picture's colours (the authors' code does, the paper does not say so).
        cutmix: Exchange boxes between pairs of the batch.
        picture_range: `stretch` each picture to its own lowest and highest value, as released, or keep it
            `fixed` as in prediction.
        noise: With more power at coarse scales (`pyramid`) or plain.
        times: Time steps of training: the `last` alone, `one_of_two` drawn from those of a chain of two, the
            whole chain of `two_steps`, or `any` of all.
        signal: Leave in the input what the last time step leaves of the target, 7 % of its amplitude, as
            released. Prediction begins with noise alone; a small network trained for minutes learns to rely
            on the difference.

    Raises:
        ConfigError: a value is unknown or out of range.
    """

    size: int = 1024
    margin: int = 30
    colour: bool = True
    cutmix: bool = True
    picture_range: Literal["stretch", "fixed"] = "stretch"
    noise: Noise = "pyramid"
    times: Times = "last"
    signal: bool = True

    def __post_init__(self) -> None:
        for key, value, known in (
            ("picture_range", self.picture_range, ("stretch", "fixed")),
            ("noise", self.noise, get_args(Noise)),
            ("times", self.times, get_args(Times)),
        ):
            if value not in known:
                raise ConfigError(f"DiffDIS training: {key} {value!r} is unknown; choose one of {', '.join(known)}.")
        if self.margin < 0:
            raise ConfigError(f"DiffDIS training: margin {self.margin} is below 0; give 0 for no crop.")


class Objective:
    """One-step prediction of mask and edge latents, for the training loop."""

    def __init__(
        self,
        network: DiffdisNetwork,
        codec: Codec,
        dataset: MaskDataset,
        settings: ObjectiveSettings,
        edge_of: Callable[[str], NDArray[np.uint8]] | None = None,
    ) -> None:
        """Take over `network`.

        Args:
            network: All of it trains.
            codec: Frozen code of pictures.
            dataset: Pictures and masks.
            settings: Augmentation, noise and time steps.
            edge_of: Edge target uint8 (H, W) by id; by default drawn from the mask.

        Raises:
            ConfigError: size or channels do not fit the network.
            DataError: the data set has no images.
        """
        if not dataset.ids:
            raise DataError("DiffDIS training: the data set has no images. Fetch or draw it, then run this again.")
        multiple = codec.factor * network.divisor
        if settings.size < 1 or settings.size % multiple:
            raise ConfigError(f"DiffDIS training: size {settings.size} must be a multiple of {multiple} here.")
        if codec.channels != network.config.latent:
            raise ConfigError(
                f"DiffDIS training: the code has {codec.channels} channels, the network expects "
                f"{network.config.latent}. Choose a preset that belongs to the code."
            )
        self.model = network
        self.codec = codec
        self.dataset = dataset
        self.settings = settings
        self._edge_of = edge_of
        self._cache: dict[int, list[Image.Image]] = {}
        self._cached = 0

    def __len__(self) -> int:
        """Number of training images."""
        return len(self.dataset.ids)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All parameters; those of the stream embedding at ten times the rate."""
        groups: tuple[list[Tensor], list[Tensor]] = [], []
        for name, parameter in self.model.named_parameters():
            groups["class_embedding" in name].append(parameter)
        scaled = [{"params": groups[1], "lr_scale": CLASS_RATE}] if groups[1] else []
        return [{"params": groups[0]}, *scaled]

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """One training sample, a function of `index` and the state of `rng` alone.

        Returns:
            `image` uint8 (3, size, size), `mask` and, with the edge stream, `edge` uint8 (1, size, size), and
            `box` int64 (4,) for CutMix.

        Raises:
            DataError: image, mask and edge differ in size.
        """
        settings, side = self.settings, self.settings.size
        image, *targets = move(self._load(index), rng, settings.margin)
        if settings.colour:
            image = recolour(image, rng)
        names = ("image", "mask", "edge")
        sample = {
            name: torch.from_numpy(np.atleast_3d(np.array(resized(each, side, side)))).permute(2, 0, 1).contiguous()
            for name, each in zip(names, (image, *targets), strict=False)
        }
        return {**sample, "box": mix_box(rng, side, side) if settings.cutmix else torch.zeros(4, dtype=torch.int64)}

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Stack samples along a new first axis."""
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}

    def loss(
        self, model: torch.nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Mean squared errors of the clean latents of masks and edges, added.

        Args:
            model: The network, possibly wrapped.
            batch: What `collate` returned, on the device of `model`.
            generator: All random numbers come from it.
            step: Not used.

        Returns:
            Scalar loss, and the parts of both streams.
        """
        image, *targets = self._pictures(batch)
        with torch.no_grad():
            self.codec.to(image.device)
            latents = self.codec.encode(image)
            smaller = [self.codec.encode(each) for each in shrunk(image, self.model.config.injected)]
            clean = torch.cat([self.codec.encode(each.expand(-1, 3, -1, -1)) for each in targets])
        found = self._denoised(model, latents, smaller, clean, generator)
        parts = [
            functional.mse_loss(*pair)
            for pair in zip(found.chunk(len(targets)), clean.chunk(len(targets)), strict=True)
        ]
        names = ("mask_loss", "edge_loss")
        return torch.stack(parts).sum(), {n: float(part.detach()) for n, part in zip(names, parts, strict=False)}

    def exported(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network's weights and those of its code, be it an autoencoder or a code of patches."""
        return weight_tensors(state, self.codec)

    def export_metadata(self) -> dict[str, str]:
        """What the weight file says about itself, so that `load_weights` can build the network."""
        return weight_metadata(self.model.config, self.codec) | {"size": str(self.settings.size)}

    def _denoised(
        self, model: torch.nn.Module, latents: Tensor, smaller: list[Tensor], clean: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Noise `clean` and let the network find it again."""
        kind = self.model.config.prediction
        if self.settings.noise == "pyramid":
            noise = pyramid_noise(clean.shape, generator)
        else:
            noise = torch.randn(clean.shape, generator=generator, device=generator.device)
        noise = noise.to(clean.device)
        time = _time(self.settings.times, generator)
        noisy = noise if time == LAST and not self.settings.signal else add_noise(clean, noise, time)
        found = clean_from(model(latents, noisy, time, smaller), noisy, time, kind)
        if self.settings.times == "two_steps":
            noisy = step_back(found, noisy, time, MIDDLE)
            found = clean_from(model(latents, noisy, MIDDLE, smaller), noisy, MIDDLE, kind)
        return found

    def _pictures(self, batch: dict[str, Tensor]) -> list[Tensor]:
        """Image, mask and edge in [-1, 1], stretched and mixed."""
        boxes = inside(batch["box"], *batch["mask"].shape[-2:])
        pictures = []
        for name in ("image", "mask", "edge"):
            if name in batch:
                picture = batch[name].float() / 255
                if name != "image" or self.settings.picture_range == "stretch":
                    picture = stretch(picture)
                pictures.append(mix_pairs(picture * 2 - 1, boxes))
        return pictures

    def _load(self, index: int) -> list[Image.Image]:
        """Image, mask and, if it is predicted, edge; kept in memory while there is room."""
        if index in self._cache:
            return self._cache[index]
        name = self.dataset.ids[index]
        image, mask = self.dataset.image(name), self.dataset.mask(name)
        arrays = [image, mask]
        if self.model.config.edge:
            arrays.append(self._edge_of(name) if self._edge_of else contour(mask))
        for what, array in zip(("mask", "edge"), arrays[1:], strict=False):
            if array.shape != image.shape[:2]:
                raise DataError(
                    f"{name}: the image is {image.shape[1]} x {image.shape[0]} pixels, its {what} "
                    f"{array.shape[1]} x {array.shape[0]}. Correct or remove the pair."
                )
        pictures = [Image.fromarray(array) for array in arrays]
        size = sum(array.nbytes for array in arrays)
        if self._cached + size <= CACHE_BYTES:
            self._cache[index] = pictures
            self._cached += size
        return pictures


def fitted_codec(dataset: MaskDataset, size: int, channels: int, factor: int = 4) -> PatchCodec:
    """A patch code for images, masks and edges of the first pictures of `dataset`, always the same.

    Args:
        dataset: Training pictures.
        size: Side to which they are resized in training, pixels.
        channels: Numbers in a latent.
        factor: Side of a patch in pixels.
    """

    def shown() -> Iterator[NDArray[np.uint8]]:
        for name in dataset.ids[:CODEC_PICTURES]:
            mask = dataset.mask(name)
            for array in (dataset.image(name), mask, contour(mask)):
                yield np.array(resized(Image.fromarray(array), size, size))

    return PatchCodec.fit(shown(), factor, channels)


def shrunk(image: Tensor, count: int) -> Sequence[Tensor]:
    """The picture (B, C, H, W) at 1/2, 1/4, ... of its size, `count` times, bilinear without antialiasing."""
    return [
        functional.interpolate(image, scale_factor=0.5**level, mode="bilinear", align_corners=False)
        for level in range(1, count + 1)
    ]


def _time(times: Times, generator: torch.Generator) -> int:
    """A time step for the whole batch."""
    if times in ("last", "two_steps"):
        return LAST
    choices = (LAST, MIDDLE) if times == "one_of_two" else range(STEPS)
    return choices[int(torch.randint(len(choices), (), generator=generator, device=generator.device))]
