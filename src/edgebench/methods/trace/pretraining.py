"""What the training loop minimises for TRACE's small backbone: the noise in the code of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgebench.errors import ConfigError, DataError
from edgebench.methods.codec import PatchCodec
from edgebench.methods.trace.backbone import STEPS, Ddpm
from edgebench.methods.trace.small import SmallConfig, SmallTransformer, weight_metadata, weight_tensors
from edgebench.methods.trace.squares import Flip, drawn_way, in_range, square, turned

CACHE_BYTES = 256 * 1024**2
"""Pictures, resized, that one loader process keeps."""
CODEC_PICTURES = 200
"""Pictures that the code of patches is fitted to."""


class Pictures(Protocol):
    """A data set of which only the images are looked at."""

    ids: list[str]

    def image(self, image_id: str, /) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB."""


class PretrainingObjective:
    """Noise prediction at a level drawn uniformly, for the training loop.

    Args:
        network: All of it trains.
        codec: Frozen code of pictures.
        dataset: Pictures.
        flip: How pictures are turned: not at all, left and right exchanged half of the time, or all eight ways.

    Raises:
        ConfigError: the flip is unknown.
        DataError: the data set has no images.
    """

    def __init__(
        self, network: SmallTransformer, codec: PatchCodec, dataset: Pictures, flip: Flip = "dihedral"
    ) -> None:
        if flip not in get_args(Flip):
            raise ConfigError(
                f"TRACE's small backbone: flip {flip!r} is unknown; choose one of {', '.join(get_args(Flip))}."
            )
        if not dataset.ids:
            raise DataError("TRACE's small backbone: the data set has no images. Fetch or draw it, then run it again.")
        self.model = network
        self.codec = codec
        self.dataset = dataset
        self.flip: Flip = flip
        self.schedule = Ddpm.scaled_linear()
        self._cache: dict[int, Tensor] = {}

    def __len__(self) -> int:
        """Number of training images."""
        return len(self.dataset.ids)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """A picture, uint8 (3, size, size) under `image`, a function of `index` and the state of `rng` alone."""
        picture = self._cache.get(index)
        if picture is None:
            picture = square(self.dataset.image(self.dataset.ids[index]), self.model.config.size)
            if (len(self._cache) + 1) * picture.numel() <= CACHE_BYTES:
                self._cache[index] = picture
        return {"image": turned(picture, drawn_way(rng, self.flip)).contiguous()}

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Stack samples along a new first axis."""
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All parameters, at one rate."""
        return [{"params": list(self.model.parameters())}]

    def loss(
        self, model: torch.nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of the noise.

        Args:
            model: The network, possibly wrapped.
            batch: What `collate` returned, on the device of `model`.
            generator: Levels and noise come from it.
            step: Not used.
        """
        pictures = in_range(batch["image"])
        clean = self.codec.to(pictures.device).encode(pictures)
        device = generator.device
        tau = torch.randint(STEPS, (len(clean),), generator=generator, device=device).to(clean.device)
        noise = torch.randn(clean.shape, generator=generator, device=device).to(clean.device)
        kept = self.schedule.kept.to(clean.device)[tau].float()[:, None, None, None]
        found = model(kept.sqrt() * clean + (1 - kept).sqrt() * noise, tau)
        return functional.mse_loss(found.float(), noise), {}

    def exported(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network's weights and its code."""
        return weight_tensors(state, self.codec)

    def export_metadata(self) -> dict[str, str]:
        """What `load_small` must know to build the network."""
        return weight_metadata(self.model.config)


def fitted_codec(dataset: Pictures, config: SmallConfig) -> PatchCodec:
    """A patch code for the first pictures of `dataset`, always the same."""

    def shown() -> Iterator[NDArray[np.uint8]]:
        for name in dataset.ids[:CODEC_PICTURES]:
            yield square(dataset.image(name), config.size).permute(1, 2, 0).numpy()

    return PatchCodec.fit(shown(), config.factor, config.channels)
