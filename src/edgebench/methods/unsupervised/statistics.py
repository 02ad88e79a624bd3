"""Features that need no checkpoint: colour and texture around each patch, which stand in for DINO at small scale.

They know nothing of objects, only of likeness. Nothing is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgebench.errors import ConfigError
from edgebench.methods.unsupervised.finish import squared

COLOUR_WINDOW, GRADIENT_WINDOW = 0.7, 1.05
"""Deviations of the windows, in patches."""
TEXTURE_WEIGHT, PLACE_WEIGHT = 0.5, 0.5
"""How much they count beside colour, whose unit is its spread over the image."""
WIDTH, FREQUENCIES = 0.8, 256
_LEAST_SPREAD = 2.0


class Features(Protocol):
    """What cuts an image into patches and describes them."""

    def __call__(self, images: Sequence[NDArray[np.uint8]], /) -> list[NDArray[np.float32]]:
        """Features (h, w, d) of each of some images uint8 (H, W, 3), of any sizes."""
        ...


class PatchStatistics:
    """Mean colour, texture and place of patches, so coded that cosines fall with their distance.

    Colour is the mean in CIELAB, texture the strength of the gradient in three directions and the deviation of
    lightness, each over a Gaussian window of a patch's size; both are measured in their spread over the image. Of
    their distance a Gaussian is taken, and features are the cosines and sines at fixed frequencies whose products
    approximate it (Rahimi and Recht, NeurIPS 2007). So patches of another kind have a cosine near 0, as with DINO.
    """

    def __init__(self, size: int = 480, patch: int = 8) -> None:
        """Set the sizes.

        Args:
            size: Side of the square that images are resized to, pixels: a multiple of `patch`.
            patch: Side of a patch, pixels.

        Raises:
            ConfigError: the size is no multiple.
        """
        if size % patch:
            raise ConfigError(f"size {size} is not a multiple of {patch}, the side of the patches.")
        self.size, self.patch = size, patch

    def __call__(self, images: Sequence[NDArray[np.uint8]], /) -> list[NDArray[np.float32]]:
        """Features of images, as in `Features`; float32 (size / patch, size / patch, 512) of unit length."""
        return [_coded(self.describe(squared(image, self.size))) for image in images]

    def describe(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Colour, texture and place of the patches of an image uint8 (size, size, 3): (h, w, 9)."""
        import cv2

        lab: NDArray[np.float32] = np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
        light = lab[..., 0]
        across, down = (cv2.Sobel(light, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
        products: NDArray[np.float32] = np.dstack([across * across, down * down, np.abs(across * down), light * light])
        mean, around = self._window(lab, COLOUR_WINDOW), self._window(products[..., :3], GRADIENT_WINDOW)
        deviation = self._window(products[..., 3:], COLOUR_WINDOW)[..., 0] - mean[..., 0] ** 2
        colour = self._pooled(mean)
        texture = self._pooled(np.sqrt(np.maximum(np.dstack([around, deviation]), 0)))
        # Colours share one unit, of the channel that varies most; an image all alike has no spread to divide by.
        colour /= max(float(colour.std((0, 1)).max()), _LEAST_SPREAD)
        texture *= TEXTURE_WEIGHT / np.maximum(texture.std((0, 1)), _LEAST_SPREAD)
        steps = np.arange(len(colour)) * (PLACE_WEIGHT / len(colour))
        place = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1)
        return np.dstack([colour, texture, place])

    def _window(self, values: NDArray[np.float32], patches: float) -> NDArray[np.float32]:
        """Means (H, W, c) over a Gaussian of a deviation in patches."""
        import cv2

        blurred = cv2.GaussianBlur(values, (0, 0), patches * self.patch, borderType=cv2.BORDER_REFLECT)
        return np.asarray(blurred, dtype=np.float32).reshape(values.shape)

    def _pooled(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Means (h, w, c) of the patches of (H, W, c)."""
        side = self.size // self.patch
        return values.reshape(side, self.patch, side, self.patch, -1).mean((1, 3), dtype=np.float64)


def _coded(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Points (h, w, d) as float32 (h, w, 2 * FREQUENCIES) whose products are about exp(-distance^2 / 2 WIDTH^2)."""
    frequencies = np.random.default_rng(0).standard_normal((points.shape[-1], FREQUENCIES)) / WIDTH
    angles = points @ frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32) / np.float32(FREQUENCIES**0.5)
