"""What the training loop minimises for MEMO: samples, masks and loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgebench.errors import ConfigError, DataError
from edgebench.methods.memo.augment import CROPS, turn_to
from edgebench.methods.memo.lora import add_lora, merge_lora
from edgebench.methods.memo.loss import LOSSES
from edgebench.methods.memo.masking import MASKS, RATIOS, drop_images, full_ratio, mask_tokens, with_full_share
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.weights import weight_metadata

CACHE_BYTES = 256 * 1024**2
"""Decoded images and annotations that one loader process keeps."""


class EdgeDataset(Protocol):
    """Images with the boundaries that one or more annotators drew.

    A data set whose lines were drawn in shades of grey may also have `annotation(image_id)`, uint8 (H, W) with 255
    on the lines, from which `crest_labels` takes its labels.
    """

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
        crop_rule: Where crops lie: "released" (away from borders and black) or "uniform"; see `augment`.
        drop_first: Cut off the first row and column first (BSDS: 481 x 321 becomes 480 x 320).
        vertical_flip: Flip upside down half of the time; left and right always change so.
        rotate: Turn crops by 90 degrees half of the time: every "sample" for itself, the "batch" as a whole, "none".
        annotators: One annotator drawn per sample, or the union of all.
        crest_labels: Suppress non-maxima of every crop's annotation, as the authors do on BIPED.
        mask: Pixels masked independently ("bernoulli"), or an exact number, around the edges first ("focal").
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
    crop_rule: str = "released"
    drop_first: bool = False
    vertical_flip: bool = True
    rotate: Literal["none", "sample", "batch"] = "sample"
    annotators: Literal["random", "union"] = "union"
    crest_labels: bool = False
    mask: str = "bernoulli"
    mask_ratio: str = "uniform"
    full_mask_share: float = 0.0
    warm_start_steps: int = 0
    image_drop: float = 0.1
    loss: str = "released"
    dino: Literal["frozen", "trainable"] = "frozen"
    lora_rank: int | None = None

    def __post_init__(self) -> None:
        for key, value, known in (
            ("crop_rule", self.crop_rule, CROPS),
            ("rotate", self.rotate, ("none", "sample", "batch")),
            ("mask", self.mask, MASKS),
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
        self._turns_batches = settings.crop is None or settings.rotate == "batch"
        self._cache: dict[int, tuple[NDArray[np.uint8], list[NDArray[Any]]]] = {}
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
            `image` uint8 (3, h, w) and `edge` uint8 (h, w) of 0 and 1; where `collate` turns the batch also
            `turn` uint8 (2,), the coins that it needs.

        Raises:
            DataError: image and annotation differ in size, or a whole image does not fit the network.
        """
        settings = self.settings
        image, annotators = self._load(index)
        if settings.annotators == "union":
            edge = np.maximum.reduce(annotators)
        else:
            edge = annotators[rng.integers(len(annotators))]
        if settings.crop is not None:
            image, edge = CROPS[settings.crop_rule](image, edge, settings.crop, rng)
        elif image.shape[0] % self._divisor or image.shape[1] % self._divisor:
            raise DataError(
                f"{self.dataset.ids[index]}: {image.shape[1]} x {image.shape[0]} pixels, but whole images "
                f"must be multiples of {self._divisor}. Set a crop, or drop_first for BSDS500."
            )
        if rng.random() < 0.5:
            image, edge = image[:, ::-1], edge[:, ::-1]
        if settings.vertical_flip and rng.random() < 0.5:
            image, edge = image[::-1], edge[::-1]
        if settings.crest_labels:
            from edgebench.metrics.edges import crest  # numba takes a second to load

            edge = crest(edge / 255 if edge.dtype == np.uint8 else edge)
        if settings.crop is not None and settings.rotate == "sample" and rng.random() < 0.5:
            image, edge = np.rot90(image, -1), np.rot90(edge, -1)
        sample = {
            "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "edge": torch.from_numpy(np.ascontiguousarray(edge).astype(np.uint8)),
        }
        if self._turns_batches:
            sample["turn"] = torch.from_numpy(rng.integers(0, 2, size=2, dtype=np.uint8))
        return sample

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Stack samples to `image` uint8 (B, 3, H, W) and `edge` uint8 (B, H, W).

        Whole images are turned by 90 degrees, to either side, so that all are upright or all lie; the first
        sample's coin decides which. With `rotate` "batch" the same coin turns square crops or leaves them.

        Raises:
            DataError: whole images differ in more than their orientation.
        """
        if self._turns_batches:
            upright = bool(samples[0]["turn"][0])
            samples = [turn_to(sample, upright) for sample in samples]
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
        count = len(edges)
        if step < settings.warm_start_steps:
            ratio = full_ratio(count, generator)
        else:
            drawn = RATIOS[settings.mask_ratio](count, generator)
            ratio = with_full_share(drawn, settings.full_mask_share, generator)
        masked = MASKS[settings.mask](ratio, edges, generator).to(edges.device)
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

    def _load(self, index: int) -> tuple[NDArray[np.uint8], list[NDArray[Any]]]:
        """Image and annotations, kept in memory while there is room."""
        if index in self._cache:
            return self._cache[index]
        name = self.dataset.ids[index]
        in_grey = getattr(self.dataset, "annotation", None) if self.settings.crest_labels else None
        image = self.dataset.image(name)
        annotators = [in_grey(name)] if in_grey else self.dataset.boundaries(name)
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
