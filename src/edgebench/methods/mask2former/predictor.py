"""From pictures to panoptic segmentations with a trained Mask2Former network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from edgebench.data.panoptic import Category, Segment, Segmentation
from edgebench.errors import ConfigError, EdgebenchError
from edgebench.methods.mask2former.network import Answer, Mask2FormerNetwork, mask_logits, padded
from edgebench.methods.mask2former.panoptic import counting, panoptic_segments


@dataclass(frozen=True)
class PredictSettings:
    """How Mask2Former predicts.

    Attributes:
        size: Length that the shorter side of a picture is resized to, pixels.
        longest: Largest length of the longer side; such a picture's shorter side is shorter than `size`.
        class_threshold: Probability of its class above which a query counts.
        overlap_threshold: Share of its mask that a query must win.
        mask_threshold: Probability from which a pixel belongs to a mask.

    Raises:
        ConfigError: a value is out of range.
    """

    size: int = 800
    longest: int = 1333
    class_threshold: float = 0.8
    overlap_threshold: float = 0.8
    mask_threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.longest:
            raise ConfigError(f"Mask2Former prediction: size {self.size} is not between 1 and longest {self.longest}.")
        for key in ("class_threshold", "overlap_threshold", "mask_threshold"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"Mask2Former prediction: {key} {getattr(self, key)} is not in [0, 1].")


class Predictor:
    """Predicts segments with one network. The result of a picture does not depend on its batch, up to rounding."""

    def __init__(
        self,
        network: Mask2FormerNetwork,
        categories: Mapping[int, Category],
        settings: PredictSettings,
        device: torch.device | str = "cpu",
        precision: Literal["fp32", "bf16"] = "fp32",
        batch_size: int = 1,
    ) -> None:
        """Take over `network`, which is moved to `device`.

        Args:
            network: Trained network.
            categories: Its classes by id; class k is the k-th in ascending order.
            settings: Sizes and thresholds.
            device: Where to compute.
            precision: Of the network; bf16 by autocast.
            batch_size: Pictures per batch; only those of one working size share a batch.
        """
        self.device = torch.device(device)
        self.network = network.to(device).eval()
        self.settings, self.precision, self.batch_size = settings, precision, batch_size
        self._ids = sorted(categories)
        self._things = {place for place, key in enumerate(self._ids) if categories[key].thing}

    @torch.inference_mode()
    def predict(self, images: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> list[Segmentation]:
        """Segments of `images`, in their order.

        Args:
            images: uint8 (H, W, 3) RGB each, of any sizes.
            names: One per picture, for messages.

        Raises:
            EdgebenchError: the network answered with something that is not a number.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(self.working_size(*image.shape[:2]), []).append(index)
        result: dict[int, Segmentation] = {}
        for size, members in groups.items():
            for start in range(0, len(members), self.batch_size):
                batch = members[start : start + self.batch_size]
                answer, full = self._answer([images[index] for index in batch], size)
                for row, index in enumerate(batch):
                    one = Answer(answer.classes[row : row + 1], answer.masks[row : row + 1])
                    if not (torch.isfinite(one.classes).all() and torch.isfinite(one.masks).all()):
                        raise EdgebenchError(
                            f"{names[index]}: the network's answer is not a number. Use precision fp32, or check the "
                            f"weights."
                        )
                    result[index] = self._segments(one, size, full, images[index].shape[:2])
        return [result[index] for index in range(len(images))]

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which a picture of `height` x `width` goes through the network, before padding."""
        scale = min(self.settings.size / min(height, width), self.settings.longest / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _answer(self, images: list[NDArray[np.uint8]], size: tuple[int, int]) -> tuple[Answer, tuple[int, int]]:
        """What the network says of pictures at one working size, and their size with the padding."""
        resized = [
            np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
            if image.shape[:2] != size
            else image
            for image in images
        ]
        pictures = padded(torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).to(self.device))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            answer = self.network(pictures)
        assert isinstance(answer, Answer)
        return answer, (pictures.shape[-2], pictures.shape[-1])

    def _segments(
        self, answer: Answer, inner: tuple[int, int], full: tuple[int, int], size: tuple[int, ...]
    ) -> Segmentation:
        settings = self.settings
        # Only masks that count are enlarged: 200 of them at a large picture's size fill gigabytes.
        counts = counting(answer.classes[0], settings.class_threshold)
        if not counts.any():
            return Segmentation(np.zeros(size, np.uint32), {})
        answer = Answer(answer.classes[:, counts], answer.masks[:, counts])
        found = panoptic_segments(
            answer.classes[0],
            mask_logits(answer, inner, full, (size[0], size[1]))[0],
            self._things,
            settings.class_threshold,
            settings.overlap_threshold,
            settings.mask_threshold,
        )
        segments = {number: Segment(self._ids[place]) for number, place in enumerate(found.classes, start=1)}
        return Segmentation(found.ids.cpu().numpy().astype(np.uint32), segments)
