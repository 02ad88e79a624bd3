"""What the training loop minimises for Mask2Former: jittered pictures with their segments, and its three losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgebench.data.panoptic import Category, Segment
from edgebench.errors import ConfigError, DataError
from edgebench.methods.mask2former.augment import jitter
from edgebench.methods.mask2former.network import DIVISOR, Mask2FormerNetwork
from edgebench.methods.mask2former.weights import weight_metadata

CACHE_BYTES = 256 * 1024**2
"""Decoded images and segments that one loader process keeps."""
_NONE = -1


class PanopticDataset(Protocol):
    """Pictures with their segments."""

    ids: list[str]

    def image(self, image_id: str, /) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB."""

    def panoptic(self, image_id: str, /) -> tuple[NDArray[np.uint32], Mapping[int, Segment]]:
        """uint32 (H, W), the segment of each pixel, 0 for none; and what is known of each."""


@dataclass(frozen=True)
class ObjectiveSettings:
    """How Mask2Former is trained.

    Attributes:
        size: Side of the square that is cut from the scaled picture, pixels; a multiple of 32.
        smallest_scale: Least scale of the jitter.
        largest_scale: Largest scale of the jitter.
        flip: Exchange left and right of half of the samples.
        backbone_rate: Learning rate of the backbone, relative to all else.

    Raises:
        ConfigError: a value is out of range.
    """

    size: int = 1024
    smallest_scale: float = 0.1
    largest_scale: float = 2.0
    flip: bool = True
    backbone_rate: float = 0.1

    def __post_init__(self) -> None:
        if self.size < DIVISOR or self.size % DIVISOR:
            raise ConfigError(f"Mask2Former training: size {self.size} must be a multiple of {DIVISOR}.")
        if not 0 < self.smallest_scale <= self.largest_scale:
            raise ConfigError(
                f"Mask2Former training: the jitter goes from smallest_scale {self.smallest_scale} to largest_scale "
                f"{self.largest_scale}; both must be above 0, the second not below the first."
            )


class Objective:
    """Panoptic segmentation by queries, for the training loop."""

    def __init__(
        self,
        network: Mask2FormerNetwork,
        dataset: PanopticDataset,
        categories: Mapping[int, Category],
        settings: ObjectiveSettings,
    ) -> None:
        """Take over `network`.

        Args:
            network: With as many classes as there are `categories`.
            dataset: Pictures and segments, annotated or made by another run.
            categories: All classes by id, things and stuff; class k of the network is the k-th in ascending order.
            settings: Augmentation and rates.

        Raises:
            DataError: the data set has no images.
        """
        if not dataset.ids:
            raise DataError("Mask2Former training: the data set has no images. Fetch or draw it, then run this again.")
        self.model = network
        self.dataset = dataset
        self.categories = dict(sorted(categories.items()))
        self.settings = settings
        self._place = {key: place for place, key in enumerate(self.categories)}
        self._cache: dict[int, tuple[NDArray[np.uint8], NDArray[np.int32], list[int]]] = {}
        self._cached = 0

    def __len__(self) -> int:
        """Number of training images."""
        return len(self.dataset.ids)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained: the backbone at its own rate, and the rest; norms and embeddings without weight decay."""
        backbone = {id(each) for each in self.model.backbone.parameters()}
        plain = self._undecayed()
        groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                groups.setdefault((id(parameter) in backbone, id(parameter) in plain), []).append(parameter)
        return [
            {
                "params": members,
                **({"lr_scale": self.settings.backbone_rate} if of_backbone else {}),
                **({"weight_decay": 0.0} if undecayed else {}),
            }
            for (of_backbone, undecayed), members in groups.items()
        ]

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """One training sample, a function of `index` and the state of `rng` alone.

        Returns:
            `image` uint8 (3, size, size), `ids` int32 (size, size) from 1 on in the order of `classes`, which is
            int64 (N,); segments that the crop does not show are left out.

        Raises:
            DataError: image and segments differ in size, or a class is unknown.
        """
        settings = self.settings
        image, ids, classes = self._load(index)
        scales = settings.smallest_scale, settings.largest_scale
        image, ids = jitter(image, ids, rng, settings.size, *scales, settings.flip)
        present = [int(each) for each in np.unique(ids) if each]
        order = np.zeros(len(classes) + 1, np.int32)
        order[present] = np.arange(1, len(present) + 1)
        return {
            "image": torch.from_numpy(image).permute(2, 0, 1).contiguous(),
            "ids": torch.from_numpy(order[ids]),
            "classes": torch.tensor([classes[each - 1] for each in present], dtype=torch.int64),
        }

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Stack samples along a new first axis; `classes` (B, N) end in -1 where a picture has fewer."""
        classes = [sample["classes"] for sample in samples]
        filled = torch.nn.utils.rnn.pad_sequence(classes, batch_first=True, padding_value=_NONE)
        return {"classes": filled, **{key: torch.stack([each[key] for each in samples]) for key in ("image", "ids")}}

    def loss(
        self, model: torch.nn.Module, batch: dict[str, Tensor], generator: torch.Generator, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the classes, and cross-entropy and Dice of the masks at drawn points, all layers added.

        Args:
            model: The network, possibly wrapped.
            batch: What `collate` returned, on the device of `model`.
            generator: Not used: transformers draws the points from PyTorch's global generator, which the loop seeds.
            step: Not used.

        Returns:
            Scalar loss, and the weighted parts summed over the layers.
        """
        classes = [each[each != _NONE] for each in batch["classes"]]
        masks = [
            ids == torch.arange(1, len(each) + 1, device=ids.device)[:, None, None]
            for ids, each in zip(batch["ids"], classes, strict=True)
        ]
        parts: dict[str, Tensor] = model(batch["image"], masks, classes)
        kinds = {"class_loss": "loss_cross_entropy", "mask_loss": "loss_mask", "dice_loss": "loss_dice"}
        sums = {
            name: torch.stack([part for key, part in parts.items() if key.startswith(kind)]).sum()
            for name, kind in kinds.items()
        }
        return torch.stack(list(sums.values())).sum(), {name: float(each.detach()) for name, each in sums.items()}

    def exported(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network's weights."""
        return state

    def export_metadata(self) -> dict[str, str]:
        """What the weight file says about itself, so that `load_weights` can build the network."""
        return weight_metadata(self.model.config, self.categories, self.settings.size)

    def _undecayed(self) -> set[int]:
        """Parameters of norms and embeddings, by identity."""
        kinds = (torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.BatchNorm2d, torch.nn.Embedding)
        modules = [each for each in self.model.modules() if isinstance(each, kinds)]
        plain = {id(parameter) for each in modules for parameter in each.parameters(recurse=False)}
        tables = ("relative_position_bias_table", "level_embed", "absolute_pos_embed")
        return plain | {id(p) for name, p in self.model.named_parameters() if name.endswith(tables)}

    def _load(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.int32], list[int]]:
        """Image, segments from 1 on and the place of each one's class; kept in memory while there is room.

        Crowds have no one mask that a query could learn: they count as no segment.
        """
        if index in self._cache:
            return self._cache[index]
        name = self.dataset.ids[index]
        image = self.dataset.image(name)
        ids, segments = self.dataset.panoptic(name)
        if ids.shape != image.shape[:2]:
            raise DataError(
                f"{name}: the image is {image.shape[1]} x {image.shape[0]} pixels, its segments {ids.shape[1]} x "
                f"{ids.shape[0]}. Correct or remove the pair."
            )
        numbers = sorted(key for key, segment in segments.items() if not segment.crowd)
        unknown = [segments[key].category for key in numbers if segments[key].category not in self._place]
        if unknown:
            raise DataError(f"{name}: has a segment of the class {unknown[0]}, which the data set does not list.")
        order = np.zeros(ids.shape, np.int32)
        for place, key in enumerate(numbers, start=1):
            order[ids == key] = place
        loaded = image, order, [self._place[segments[key].category] for key in numbers]
        if self._cached + image.nbytes + order.nbytes <= CACHE_BYTES:
            self._cache[index] = loaded
            self._cached += image.nbytes + order.nbytes
        return loaded
