"""A fully connected CRF that draws a mask's outline along the image's edges, by mean field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgebench.methods.unsupervised.lattice import Lattice


@dataclass(frozen=True)
class CrfSettings:
    """Weights and widths; the defaults are those of MaskCut and ProMerge.

    Attributes:
        iterations: Of the mean field.
        near: Standard deviation of the Gaussian of places alone, pixels.
        near_weight: What two neighbours of different labels cost by it.
        far: Standard deviation of places in the bilateral kernel, pixels.
        colour: And of colours, of 255.
        far_weight: What two pixels of different labels cost by it.
        certainty: Probability that the given label of a pixel is right. Not published; ours.
    """

    iterations: int = 10
    near: float = 3.0
    near_weight: float = 3.0
    far: float = 50.0
    colour: float = 5.0
    far_weight: float = 10.0
    certainty: float = 0.7


class _Kernel(Protocol):
    def __call__(self, values: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Sums of values (H, W, n) weighted by the kernel, float32 (H, W, n)."""
        ...


class Crf:
    """The CRF of one image, for any number of its masks.

    The labels are mask and not mask. A pixel's energy is minus the logarithm of the probability of its label; two
    pixels of different labels cost the weighted sum of two kernels, a Gaussian of their distance and one of distance
    and colour. Each kernel k is normalised to k(i, j) / sqrt(n(i) n(j)), n(i) being the sum of k(i, j) over all pixels
    of the image; the weights, with which the public tools are called, are those of this form. A pixel counts as its
    own neighbour, as in these tools. The bilateral kernel is that of the permutohedral lattice, an approximation.

    Source: Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials",
    NeurIPS 2011.
    """

    def __init__(self, image: NDArray[np.uint8], settings: CrfSettings = CrfSettings()) -> None:
        """Build the kernels.

        Args:
            image: uint8 (H, W, 3) RGB.
            settings: Weights and widths.
        """
        height, width = image.shape[:2]
        y, x = np.mgrid[:height, :width]
        colours = image.reshape(-1, 3) / settings.colour
        lattice = Lattice(np.column_stack([y.ravel() / settings.far, x.ravel() / settings.far, colours]))
        self.settings = settings
        self._kernels = [
            (settings.near_weight, _normalised(_gaussian(settings.near), (height, width))),
            (settings.far_weight, _normalised(_bilateral(lattice), (height, width))),
        ]

    def refine(self, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Each mask alone, as the mean field has it in the end.

        Args:
            masks: bool (n, H, W).

        Returns:
            bool (n, H, W).
        """
        return self.probabilities(masks) > 0.5

    def probabilities(self, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The mean field's probability of each mask, float32 (n, H, W)."""
        if not len(masks):
            return np.zeros(masks.shape, dtype=np.float32)
        sure = np.float32(np.log(self.settings.certainty / (1 - self.settings.certainty)))
        given: NDArray[np.float32] = np.where(np.moveaxis(masks, 0, 2), sure, -sure)
        logits = given
        for _ in range(self.settings.iterations):
            # With two labels the messages of both are one number: how far each pixel leans to the mask.
            lean = np.tanh(logits / 2)
            logits = given.copy()
            for weight, kernel in self._kernels:
                logits += np.float32(weight) * kernel(lean)
        belief = ((1 + np.tanh(logits / 2)) / 2).astype(np.float32, copy=False)
        return np.moveaxis(belief, 2, 0)


def _gaussian(deviation: float) -> _Kernel:
    import cv2

    side = 2 * int(np.ceil(4 * deviation)) + 1

    def kernel(values: NDArray[np.float32]) -> NDArray[np.float32]:
        blurred = cv2.GaussianBlur(
            np.ascontiguousarray(values), (side, side), deviation, borderType=cv2.BORDER_CONSTANT
        )
        return np.asarray(blurred, dtype=np.float32).reshape(values.shape)

    return kernel


def _bilateral(lattice: Lattice) -> _Kernel:
    return lambda values: lattice.filter(values.reshape(-1, values.shape[2])).reshape(values.shape)


def _normalised(kernel: _Kernel, size: tuple[int, int]) -> _Kernel:
    """A kernel divided by the roots of its sums at both pixels."""
    sums = kernel(np.ones((*size, 1), dtype=np.float32))
    root: NDArray[np.float32] = np.sqrt(np.maximum(sums, np.float32(1e-20)))

    def normalised(values: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = kernel(values / root) / root
        return answer

    return normalised
