"""From images to edge maps with a trained MEMO network."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgebench.errors import ConfigError, EdgebenchError
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.reveal import Denoise, RevealSettings, reveal

PADDING = 32
"""Images are padded to a multiple of this, as by the authors."""


@dataclass(frozen=True)
class Prediction:
    """What MEMO says about one image.

    Attributes:
        probability: float32 (H, W) in [0, 1], of an edge, in the step that revealed the pixel.
        edges: uint8 (H, W), 1 where an edge was revealed.
        rounds: Reveal steps until the image was finished.
        passes: Network passes for it: a guided round takes two.
    """

    probability: NDArray[np.float32]
    edges: NDArray[np.uint8]
    rounds: int
    passes: int


def pad_symmetric(image: NDArray[Any], multiple: int) -> NDArray[Any]:
    """Mirror the bottom and the right of `image` (H, W, ...) until both sides are multiples of `multiple`."""
    widths = [(0, -size % multiple) for size in image.shape[:2]]
    return np.pad(image, widths + [(0, 0)] * (image.ndim - 2), mode="symmetric")


def random_priority(name: str, seed: int, height: int, width: int) -> Tensor:
    """Random numbers (H, W) that depend on the image's name, the seed and the size alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.rand(height, width, generator=generator)


class Predictor:
    """Predicts edge maps with one network and one way of revealing.

    The result of an image does not depend on the images that share its batch (up to rounding, and except
    with compat "official", whose random choices come from PyTorch's global generator).
    """

    def __init__(
        self,
        network: MemoNetwork,
        settings: RevealSettings,
        guidance: float = 1.0,
        device: torch.device | str = "cpu",
        precision: Literal["fp32", "bf16"] = "fp32",
        batch_size: int = 4,
        seed: int = 0,
    ) -> None:
        """Take over `network`, which is moved to `device` and set to evaluation.

        Args:
            network: Trained network.
            settings: Reveal strategy and steps.
            guidance: Scale s of classifier-free guidance, logits = u + s (c - u); 1 needs no second pass.
            device: Where to compute.
            precision: Of the network; confidences are float32 always.
            batch_size: Images per batch; only images of one padded size share a batch.
            seed: Of the random reveal.

        Raises:
            ConfigError: the guidance is below 1 or the precision unknown.
        """
        if not guidance >= 1:
            raise ConfigError(f"guidance {guidance}: give a scale of at least 1 (1 is no guidance).")
        if precision not in ("fp32", "bf16"):
            raise ConfigError(f"precision {precision!r} is unknown; choose fp32 or bf16.")
        # Channels last halves the time of bf16 convolutions on CPUs with matrix units, and suits GPUs too.
        self.network = network.to(device).eval()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = settings
        self.guidance = guidance
        self.device = torch.device(device)
        self.precision = precision
        self.batch_size = batch_size
        self.seed = seed
        self._black_features: dict[tuple[int, int], Tensor] = {}

    @torch.inference_mode()
    def predict(self, images: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> list[Prediction]:
        """Edge maps of `images`, in their order.

        Args:
            images: uint8 (H, W, 3) RGB each, of any sizes.
            names: One per image; they seed the random reveal and appear in error messages.

        Raises:
            EdgebenchError: the network answered with something that is not a number.
        """
        multiple = math.lcm(PADDING, self.network.divisor)
        groups: dict[tuple[int, ...], list[int]] = {}
        padded = [pad_symmetric(image, multiple) for image in images]
        for index, image in enumerate(padded):
            groups.setdefault(image.shape, []).append(index)
        result: dict[int, Prediction] = {}
        for members in groups.values():
            for start in range(0, len(members), self.batch_size):
                batch = members[start : start + self.batch_size]
                sizes = [images[index].shape[:2] for index in batch]
                predictions = self._predict_batch(
                    [padded[index] for index in batch], [names[index] for index in batch], sizes
                )
                result.update(zip(batch, predictions, strict=True))
        return [result[index] for index in range(len(images))]

    def _predict_batch(
        self,
        padded: list[NDArray[np.uint8]],
        names: list[str],
        sizes: list[tuple[int, ...]],
    ) -> list[Prediction]:
        """Predict images of one padded size; `sizes` are the sizes before padding."""
        stacked = torch.from_numpy(np.stack(padded)).to(self.device)
        image = stacked.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last) / 255
        height, width = image.shape[-2:]
        priority = None
        if self.settings.strategy == "random" and self.settings.compat != "official":
            drawn = [random_priority(name, self.seed, height, width) for name in names]
            priority = torch.stack(drawn).to(self.device)
        with self._autocast():
            revealed = reveal(
                self._denoiser(image),
                (len(names), height, width),
                self.settings,
                self.device,
                priority,
            )
        probability, edges = revealed.probability.cpu().numpy(), revealed.edges.cpu().numpy()
        predictions = []
        for index, (name, (rows, columns)) in enumerate(zip(names, sizes, strict=True)):
            if not np.isfinite(probability[index]).all():
                raise EdgebenchError(
                    f"{name}: the network's answer is not a number. Use precision fp32, or check the weights."
                )
            rounds = revealed.rounds[index]
            predictions.append(
                Prediction(
                    probability[index, :rows, :columns],
                    edges[index, :rows, :columns],
                    rounds,
                    rounds if self.guidance == 1 else 2 * rounds,
                )
            )
        return predictions

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _denoiser(self, image: Tensor) -> Denoise:
        """Logits of a state for the fixed batch `image`, guided; features are computed here, once."""
        features = self.network.encode(image)
        if self.guidance == 1:
            return lambda tokens, ratio, step: self.network(tokens, ratio, image, features)
        black = torch.zeros_like(image)
        black_features = self._features_of_black(black[:1])
        both_images = torch.cat((image, black))
        both_features = None
        if features is not None and black_features is not None:
            both_features = torch.cat((features, black_features.expand_as(features)))

        def denoise(tokens: Tensor, ratio: Tensor, step: int) -> Tensor:
            if step == 0:  # All is masked and the image black: one answer for the whole batch.
                conditional = self.network(tokens, ratio, image, features)
                unconditional = self.network(tokens[:1], ratio[:1], black[:1], black_features)
            else:
                both = self.network(tokens.repeat(2, 1, 1), ratio.repeat(2), both_images, both_features)
                conditional, unconditional = both.chunk(2)
            return unconditional.float() + self.guidance * (conditional.float() - unconditional.float())

        return denoise

    def _features_of_black(self, black: Tensor) -> Tensor | None:
        """Features (1, C, h, w) of a black image, kept for every size that DINOv2 sees."""
        if self.network.dino is None:
            return None
        size = self.network.dino.input_size(*black.shape[-2:])
        if size not in self._black_features:
            features = self.network.encode(black)
            assert features is not None
            self._black_features[size] = features
        return self._black_features[size]
