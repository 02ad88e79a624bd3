"""What the training loop minimises to distil TRACE's pseudo edges into one pass: masked Dice and reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace.backbone import STEPS, Flow
from edgebench.methods.trace.labels import UNKNOWN
from edgebench.methods.trace.squares import Flip, drawn_way, in_range, square, turned
from edgebench.methods.trace.student import Student
from edgebench.methods.trace.weights import student_metadata, student_tensors

SMOOTHING = 1e-6
CACHE_BYTES = 256 * 1024**2
"""Pictures, resized, that one loader process keeps."""
_LEVEL_OF_FLOW, _LEVEL_OF_DDPM = 100, 99

Recon = Literal["literal", "nominal", "off"]
LabelOf = Callable[[str], NDArray[np.int8]]


class Pictures(Protocol):
    """A data set of which only the images are looked at."""

    ids: list[str]

    def image(self, image_id: str, /) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB."""


@dataclass(frozen=True)
class DistilSettings:
    """How TRACE is distilled.

    Attributes:
        recon: What the reconstruction term is made of. `literal` is the formula: the clean latents that the answer to
            the clean latents at level 0 implies. It hardly trains: with flow matching they are the latents that went
            in, so that the gradient is exactly 0; with a DDPM the answer enters with a factor of
            sqrt(1 - abar_0) / sqrt(abar_0), 0.029 for Stable Diffusion and 0.01 for PixArt-alpha, and so does the
            gradient. `nominal` (ours) asks once more at a level where there is something to reconstruct; it costs a
            second pass. `off` leaves the term out.
        recon_sigma: Level of `nominal`, a share of the 1000 levels; None takes 0.1 of flow matching and level 99 of a
            DDPM.
        decoder_rate: Learning rate of the decoder, relative to that of the denoiser or its adapters.
        flip: How pictures are turned, with their labels.

    Raises:
        ConfigError: a value is unknown or out of range.
    """

    recon: Recon = "nominal"
    recon_sigma: float | None = None
    decoder_rate: float = 10.0
    flip: Flip = "none"

    def __post_init__(self) -> None:
        for key, value, known in (("recon", self.recon, get_args(Recon)), ("flip", self.flip, get_args(Flip))):
            if value not in known:
                raise ConfigError(
                    f"TRACE's distillation: {key} {value!r} is unknown; choose one of {', '.join(known)}."
                )
        if self.recon_sigma is not None and not 0 < self.recon_sigma < 1:
            raise ConfigError(f"TRACE's distillation: recon_sigma {self.recon_sigma} is not between 0 and 1.")
        if not self.decoder_rate > 0:
            raise ConfigError(f"TRACE's distillation: decoder_rate {self.decoder_rate} is not above 0.")


class DistilObjective:
    """Edges of one pass against pseudo edges, and pictures against what the denoiser makes of them.

    Args:
        student: Denoiser and decoder.
        dataset: Pictures.
        label_of: From an image's id to its pseudo edges, int8 (h, w): 1 edge, 0 interior, -1 unknown.
        settings: Losses and rates.
        origin: Of a student on a released model, what it was opened by: the `checkpoint`'s name, and how it is read.

    Raises:
        ConfigError: a reconstruction is asked of a network without time.
        DataError: the data set has no images.
    """

    def __init__(
        self,
        student: Student,
        dataset: Pictures,
        label_of: LabelOf,
        settings: DistilSettings,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        if not dataset.ids:
            raise DataError("TRACE's distillation: the data set has no images. Fetch or draw it, then run it again.")
        if student.backbone.schedule is None and settings.recon != "off":
            raise ConfigError(
                f"TRACE's distillation: recon {settings.recon!r} needs a diffusion model; this backbone has no time. "
                "Set recon: off."
            )
        self.model = student
        self.dataset = dataset
        self.settings = settings
        self.origin = origin
        self._label_of = label_of
        self._cache: dict[int, tuple[Tensor, Tensor]] = {}
        if settings.recon_sigma is None:
            self._tau = _LEVEL_OF_FLOW if isinstance(student.backbone.schedule, Flow) else _LEVEL_OF_DDPM
        else:
            self._tau = max(1, min(round(settings.recon_sigma * STEPS), STEPS - 1))

    def __len__(self) -> int:
        """Number of training images."""
        return len(self.dataset.ids)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """One sample, a function of `index` and the state of `rng` alone.

        Returns:
            `image` uint8 (3, size, size) and `labels` int8 (h, w).

        Raises:
            DataError: the labels are missing or damaged.
        """
        pair = self._cache.get(index)
        if pair is None:
            name = self.dataset.ids[index]
            pair = square(self.dataset.image(name), self.model.backbone.size), torch.from_numpy(self._label_of(name))
            if (len(self._cache) + 1) * sum(each.numel() for each in pair) <= CACHE_BYTES:
                self._cache[index] = pair
        way = drawn_way(rng, self.settings.flip)
        image, labels = (turned(each, way).contiguous() for each in pair)
        return {"image": image, "labels": labels}

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Stack samples along a new first axis."""
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The adapters, or all of the denoiser, and the decoder at a rate of its own."""
        trained = [each for each in self.model.network.parameters() if each.requires_grad]
        decoder = list(self.model.decoder.parameters())
        return [{"params": trained}, {"params": decoder, "lr_scale": self.settings.decoder_rate}]

    def loss(
        self, model: torch.nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Masked Dice plus mean squared error of the pictures, with equal weights.

        Args:
            model: The student, possibly wrapped.
            batch: What `collate` returned, on the device of `model`.
            generator: The noise of the nominal reconstruction comes from it.
            step: Not used.

        Returns:
            Scalar loss, and its parts.
        """
        backbone, recon = self.model.backbone, self.settings.recon
        pictures = in_range(batch["image"])
        with torch.no_grad():
            clean = backbone.encode(pictures)
        noisy, tau = None, 0
        if recon == "nominal":
            assert backbone.schedule is not None
            tau = self._tau
            noise = torch.randn(clean.shape, generator=generator, device=generator.device).to(clean)
            noisy = backbone.schedule.noised(clean, noise, tau)
        said = model(clean, noisy, tau)
        dice = masked_dice(said.edges, on_grid(batch["labels"], said.edges.shape[-2:])).mean()
        if recon == "off":
            # What lies behind the last map has a gradient too, which is 0: several processes wait for one of every
            # parameter.
            return dice + 0 * said.clean.sum(), {"dice": float(dice.detach())}
        assert backbone.schedule is not None
        found = (
            backbone.schedule.clean(clean, said.clean, 0)
            if noisy is None
            else backbone.schedule.clean(noisy, said.noisy, tau)
        )
        error = functional.mse_loss(self._decoded(found), pictures)
        return dice + error, {"dice": float(dice.detach()), "recon": float(error.detach())}

    def _decoded(self, latents: Tensor) -> Tensor:
        """The pictures. Where memory is saved, one at a time, each decoded again for its gradient.

        What a VAE's decoder keeps of a picture of 1024 pixels are some 22 GiB.
        """
        decode = self.model.backbone.decode
        if not self.model.checkpointed:
            return decode(latents)
        pictures: list[Tensor] = [checkpoint(decode, each, use_reentrant=False) for each in latents.split(1)]
        return torch.cat(pictures)

    def exported(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What has changed, and what no checkpoint holds."""
        return student_tensors(state, self.model)

    def export_metadata(self) -> dict[str, str]:
        """What `load_student` must know to build the network."""
        return student_metadata(self.model, self.origin)


def masked_dice(found: Tensor, labels: Tensor) -> Tensor:
    """1 - 2 sum(W E F) / (sum(W E^2) + sum(W F^2)) of each picture, with W = 0 where the label is unknown.

    Both sides of the fraction are raised by 1e-6 (not published), so that no edge where there is none costs nothing.

    Args:
        found: F, probabilities (B, H, W).
        labels: E, (B, H, W): 1 edge, 0 interior, -1 unknown.

    Returns:
        (B,); nothing depends on `found` where the label is unknown.

    Source: TRACE, ICLR 2026, Dice loss of the self-distillation.
    """
    known = labels != UNKNOWN
    wanted = (labels * known).to(found.dtype)
    masked = torch.where(known, found, 0)
    overlap = (wanted * masked).sum((1, 2))
    size = (wanted**2).sum((1, 2)) + (masked**2).sum((1, 2))
    return 1 - (2 * overlap + SMOOTHING) / (size + SMOOTHING)


def on_grid(labels: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Labels int8 (B, h, w) on another grid, each of its points taking the label that it lies in."""
    (height, width), (rows, columns) = labels.shape[-2:], grid
    y = torch.arange(rows, device=labels.device) * height // rows
    x = torch.arange(columns, device=labels.device) * width // columns
    return labels[:, y[:, None], x]
