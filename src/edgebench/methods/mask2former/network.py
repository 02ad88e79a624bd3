"""Mask2Former (Cheng et al., CVPR 2022) by transformers, with its loss in float32 and without torchvision."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from edgebench.methods.mask2former.presets import quiet

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DIVISOR = 32
"""Height and width of what the network sees are multiples of this."""


class Answer(NamedTuple):
    """What the queries say.

    Attributes:
        classes: float32 (B, Q, C + 1) logits, the last one of "no segment".
        masks: float32 (B, Q, H / 4, W / 4) logits.
    """

    classes: Tensor
    masks: Tensor


class Mask2FormerNetwork(nn.Module):
    """The network, which takes pictures as they are and computes its own loss.

    Args:
        config: See `edgebench.methods.mask2former.presets.network_config`.
        frozen_statistics: Keep the batch normalisation of a pre-trained backbone as it was trained, statistics and
            weights, as in the authors' code: a batch of a few pictures says too little.
    """

    def __init__(self, config: Mask2FormerConfig, frozen_statistics: bool = False) -> None:
        super().__init__()
        with quiet():
            self.network: Any = Mask2FormerForUniversalSegmentation(config)
        self.network.criterion = _Loss(config, self.network.weight_dict)
        self.config = config
        self.frozen_statistics = frozen_statistics
        if frozen_statistics:
            for norm in self._batch_norms():
                norm.requires_grad_(False)

    @property
    def backbone(self) -> nn.Module:
        """What ImageNet's weights belong to."""
        encoder: nn.Module = self.network.model.pixel_level_module.encoder
        return encoder

    def train(self, mode: bool = True) -> Mask2FormerNetwork:
        """Training or evaluation mode; frozen normalisation stays in the latter."""
        super().train(mode)
        if self.frozen_statistics:
            for norm in self._batch_norms():
                norm.eval()
        return self

    def forward(
        self, pictures: Tensor, masks: list[Tensor] | None = None, classes: list[Tensor] | None = None
    ) -> Answer | dict[str, Tensor]:
        """Answers, or the parts of the loss where the truth is given.

        Args:
            pictures: uint8 (B, 3, H, W); H and W multiples of 32.
            masks: bool (N, H, W) of each picture's segments.
            classes: int64 (N,) of each picture's segments, from 0 on.

        Returns:
            The last layer's `Answer`; or scalars by name, weighted as published, of the last layer and of every
            other, whose names end in a number.
        """
        out = self.network(_normalised(pictures), output_auxiliary_logits=masks is not None)
        if masks is None or classes is None:
            return Answer(out.class_queries_logits.float(), out.masks_queries_logits.float())
        # The matching is by SciPy, which has no bfloat16, and sums over thousands of points.
        with torch.autocast(pictures.device.type, enabled=False):
            parts: dict[str, Tensor] = self.network.get_loss_dict(
                masks_queries_logits=out.masks_queries_logits.float(),
                class_queries_logits=out.class_queries_logits.float(),
                mask_labels=[each.float() for each in masks],
                class_labels=classes,
                auxiliary_predictions=[
                    {name: logits.float() for name, logits in each.items()} for each in out.auxiliary_logits
                ],
            )
        return parts

    def enable_gradient_checkpointing(self) -> None:
        """Compute activations again in the backward pass: Swin's stages and the queries' layers."""
        checkpointed = [each for each in self.modules() if isinstance(each, GradientCheckpointingLayer)]
        inside = {id(child) for each in checkpointed for child in each.modules() if child is not each}
        for layer in checkpointed:
            if id(layer) not in inside:  # one within another would be computed a third time
                layer.gradient_checkpointing = True
                switched: Any = layer
                switched._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)

    def _batch_norms(self) -> list[nn.BatchNorm2d]:
        return [each for each in self.backbone.modules() if isinstance(each, nn.BatchNorm2d)]


class _Loss(Mask2FormerLoss):
    """transformers' loss, in which a process counts its own masks alone.

    The training loop averages over micro-batches, whichever process has them; a count over all processes would make
    the result depend on their number.
    """

    def get_num_masks(self, class_labels: Any, device: torch.device) -> Tensor:
        count = sum(len(each) for each in class_labels)
        return torch.tensor(max(count, 1), dtype=torch.float32, device=device)


def padded(pictures: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) filled up at the right and at the bottom, so that both sides are multiples of 32.

    The colour is the mean of ImageNet, which is zero for the network.
    """
    height, width = pictures.shape[-2:]
    missing = -width % DIVISOR, -height % DIVISOR
    if not any(missing):
        return pictures
    grey = torch.tensor(MEAN, device=pictures.device).mul(255).round().to(pictures.dtype)[:, None, None]
    full = grey.expand(*pictures.shape[:2], height + missing[1], width + missing[0]).clone()
    full[..., :height, :width] = pictures
    return full


def _normalised(pictures: Tensor) -> Tensor:
    mean, std = (torch.tensor(values, device=pictures.device)[:, None, None] for values in (MEAN, STD))
    return (pictures.float() / 255 - mean) / std


def mask_logits(answer: Answer, inner: tuple[int, int], padded_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Logits of the masks (B, Q, H, W) at the pictures' own size.

    Args:
        answer: What the network says of padded pictures.
        inner: Height and width of the pictures without the padding.
        padded_size: The same with the padding.
        size: Height and width to return.
    """
    full = functional.interpolate(answer.masks, padded_size, mode="bilinear", align_corners=False)
    full = full[..., : inner[0], : inner[1]]
    return functional.interpolate(full, size, mode="bilinear", align_corners=False)
