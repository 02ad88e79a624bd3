"""What the training loop minimises for MEMO: samples, masks and loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgebench.errors import ConfigError, DataError
from edgebench.methods.memo.lora import add_lora, merge_lora
from edgebench.methods.memo.loss import LOSSES
from edgebench.methods.memo.masking import (
    RATIOS,
    bernoulli_mask,
    drop_images,
    full_ratio,
    mask_tokens,
    with_full_share,
)
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.weights import weight_metadata

CACHE_BYTES = 256 * 1024**2
"""Decoded images and annotations that one loader process keeps."""


class EdgeDataset(Protocol):
    """Images with the boundaries that one or more annotators drew."""

    ids: list[str]

    def image(self, image_id: str, /) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB."""

    def boundaries(self, image_id: str, /) -> list[NDArray[np.bool_]]:
        """One bool (H, W) per annotator."""


@dataclass(frozen=True)
class ObjectiveSettings:
    """How MEMO is trained.

    Attributes:
        crop: Side of the random square crop, or None for whole images, turned alike within a batch.
        drop_first: Cut off the first row and column first (BSDS: 481 x 321 becomes 480 x 320).
        vertical_flip: Flip upside down half of the time; left and right always change so.
        rotate: Turn a crop by 90 degrees half of the time.
        annotators: One annotator drawn per sample, or the union of all.
        mask_ratio: Distribution of the masked share; "full" is a network that answers in one pass.
        full_mask_share: Additional probability that a sample is masked completely.
        warm_start_steps: In the first steps everything is masked.
        image_drop: Probability of a black image, for classifier-free guidance.
        loss: "released" (balanced by region, weighted by 1 / ratio) or "paper" (plain cross-entropy).
        dino: Whether the image encoder trains; the paper freezes it, the authors' code does not.
        lora_rank: Train low-rank adapters of this rank alone (released: 8), or None for all weights.

    Raises:
        ConfigError: a value is unknown or out of range.
    """

    crop: int | None = 256
    drop_first: bool = False
    vertical_flip: bool = True
    rotate: bool = True
    annotators: Literal["random", "union"] = "union"
    mask_ratio: str = "uniform"
    full_mask_share: float = 0.0
    warm_start_steps: int = 0
    image_drop: float = 0.1
    loss: str = "released"
    dino: Literal["frozen", "trainable"] = "frozen"
    lora_rank: int | None = None

    def __post_init__(self) -> None:
        for key, value, known in (
            ("mask_ratio", self.mask_ratio, RATIOS),
            ("loss", self.loss, LOSSES),
            ("annotators", self.annotators, ("random", "union")),
            ("dino", self.dino, ("frozen", "trainable")),
        ):
            if value not in known:
                raise ConfigError(f"MEMO training: {key} {value!r} is unknown; choose one of {', '.join(known)}.")
        for key, share in (("full_mask_share", self.full_mask_share), ("image_drop", self.image_drop)):
            if not 0 <= share <= 1:
                raise ConfigError(f"MEMO training: {key} {share} is not a probability; give a value from 0 to 1.")


class Objective:
    """Masked reconstruction of edge maps, for the training loop.

    With `lora_rank` the adapters alone train, DINOv2's included, as released; `dino` then has no effect.
    """

    def __init__(self, network: MemoNetwork, dataset: EdgeDataset, settings: ObjectiveSettings) -> None:
        """Prepare `network` for training: freeze what does not train, add adapters.

        Raises:
            ConfigError: the crop does not fit the network.
            DataError: the data set has no images.
        """
        if not dataset.ids:
            raise DataError("MEMO training: the data set has no images. Fetch or draw it, then run this again.")
        if settings.crop is not None and (settings.crop < 1 or settings.crop % network.divisor):
            raise ConfigError(f"MEMO training: crop {settings.crop} must be a multiple of {network.divisor} here.")
        if settings.lora_rank is not None:
            add_lora(network, settings.lora_rank)
        elif network.dino is not None:
            network.dino.requires_grad_(settings.dino == "trainable")
        self.model = network
        self.dataset = dataset
        self.settings = settings
        self._divisor = network.divisor
        self._cache: dict[int, tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]] = {}
        self._cached = 0

    def __len__(self) -> int:
        """Number of training images."""
        return len(self.dataset.ids)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser trains."""
        return [{"params": [parameter for parameter in self.model.parameters() if parameter.requires_grad]}]

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """One training sample, a function of `index` and the state of `rng` alone.

        Returns:
            `image` uint8 (3, h, w) and `edge` uint8 (h, w) of 0 and 1; whole images carry `turn` uint8 (2,),
            the coins that `collate` needs.

        Raises:
            DataError: image and annotation differ in size, or a whole image does not fit the network.
        """
        settings = self.settings
        image, annotators = self._load(index)
        if settings.annotators == "union":
            edge = np.logical_or.reduce(annotators)
        else:
            edge = annotators[rng.integers(len(annotators))]
        if settings.crop is not None:
            image, edge = _random_crop(image, edge, settings.crop, rng)
        elif image.shape[0] % self._divisor or image.shape[1] % self._divisor:
            raise DataError(
                f"{self.dataset.ids[index]}: {image.shape[1]} x {image.shape[0]} pixels, but whole images "
                f"must be multiples of {self._divisor}. Set a crop, or drop_first for BSDS500."
            )
        if rng.random() < 0.5:
            image, edge = image[:, ::-1], edge[:, ::-1]
        if settings.vertical_flip and rng.random() < 0.5:
            image, edge = image[::-1], edge[::-1]
        if settings.crop is not None and settings.rotate and rng.random() < 0.5:
            image, edge = np.rot90(image, -1), np.rot90(edge, -1)
        sample = {
            "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "edge": torch.from_numpy(np.ascontiguousarray(edge).astype(np.uint8)),
        }
        if settings.crop is None:
            sample["turn"] = torch.from_numpy(rng.integers(0, 2, size=2, dtype=np.uint8))
        return sample

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Stack samples to `image` uint8 (B, 3, H, W) and `edge` uint8 (B, H, W).

        Whole images are turned by 90 degrees, to either side, so that all are upright or all lie; the first
        sample's coin decides which.

        Raises:
            DataError: whole images differ in more than their orientation.
        """
        if self.settings.crop is None:
            upright = bool(samples[0]["turn"][0])
            samples = [_turned(sample, upright) for sample in samples]
            sizes = {tuple(sample["edge"].shape) for sample in samples}
            if len(sizes) > 1:
                raise DataError(
                    f"MEMO training: whole images of sizes {sorted(sizes)} cannot share a batch. Set a crop."
                )
        return {key: torch.stack([sample[key] for sample in samples]) for key in ("image", "edge")}

    def loss(
        self, model: torch.nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Mask the batch and compute the loss.

        Args:
            model: The network, possibly wrapped.
            batch: What `collate` returned, on the device of `model`.
            generator: All random numbers come from it.
            step: Optimiser steps done.

        Returns:
            Scalar loss, and nothing further to log.
        """
        settings = self.settings
        image, edges = batch["image"].float() / 255, batch["edge"]
        count, height, width = edges.shape
        if step < settings.warm_start_steps:
            ratio = full_ratio(count, generator)
        else:
            drawn = RATIOS[settings.mask_ratio](count, generator)
            ratio = with_full_share(drawn, settings.full_mask_share, generator)
        masked = bernoulli_mask(ratio, height, width, generator).to(edges.device)
        ratio = ratio.to(edges.device)
        image = drop_images(image, settings.image_drop, generator)
        logits = model(mask_tokens(edges, masked), ratio, image)
        return LOSSES[settings.loss](logits, edges, masked, ratio), {}

    def exported(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The plain network's weights from a (possibly partial) state of the trained one, adapters merged."""
        whole = {**self.model.state_dict(), **state}
        merged = merge_lora({name: value.detach().cpu() for name, value in whole.items()})
        return {name: value.contiguous() for name, value in merged.items()}

    def export_metadata(self) -> dict[str, str]:
        """What the weight file says about itself, so that `load_network` can build the network."""
        return weight_metadata(self.model.config)

    def _load(self, index: int) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
        """Image and annotations, kept in memory while there is room."""
        if index in self._cache:
            return self._cache[index]
        name = self.dataset.ids[index]
        image, annotators = self.dataset.image(name), self.dataset.boundaries(name)
        for boundary in annotators:
            if boundary.shape != image.shape[:2]:
                raise DataError(
                    f"{name}: the image is {image.shape[1]} x {image.shape[0]} pixels, its annotation "
                    f"{boundary.shape[1]} x {boundary.shape[0]}. Fetch the data set again."
                )
        if self.settings.drop_first:
            image, annotators = image[1:, 1:], [boundary[1:, 1:] for boundary in annotators]
        size = image.nbytes + sum(boundary.nbytes for boundary in annotators)
        if self._cached + size <= CACHE_BYTES:
            self._cache[index] = image, annotators
            self._cached += size
        return image, annotators


def _random_crop(
    image: NDArray[np.uint8], edge: NDArray[np.bool_], side: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A square of `side` at a uniformly drawn place; a smaller image is mirrored at its bottom and right."""
    missing = [(0, max(side - size, 0)) for size in edge.shape]
    if any(after for _, after in missing):
        image = np.pad(image, [*missing, (0, 0)], mode="symmetric")
        edge = np.pad(edge, missing, mode="symmetric")
    top, left = (int(rng.integers(size - side + 1)) for size in edge.shape)
    window = slice(top, top + side), slice(left, left + side)
    return image[window], edge[window]


def _turned(sample: dict[str, Tensor], upright: bool) -> dict[str, Tensor]:
    """The sample turned by 90 degrees if it does not stand (or lie) as asked."""
    height, width = sample["edge"].shape
    if height == width or (height > width) == upright:
        return sample
    quarter = 1 if sample["turn"][1] else -1
    return {key: sample[key].rot90(quarter, (-2, -1)) for key in ("image", "edge")}
