"""SAM's automatic mask generator: a grid of points over the image and its crops, good masks kept once each.

Written from the papers (Kirillov et al. 2023, section 5 and appendix B; Ravi et al. 2024) and the behaviour of the
authors' `SamAutomaticMaskGenerator` and `SAM2AutomaticMaskGenerator`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgebench.methods.sam.crops import Crop, crop_boxes, cut_by_crop, point_grid, suppress_boxes
from edgebench.methods.sam.masks import PackedMask, pack
from edgebench.methods.sam.scorer import Scorer, View

PIXELS_AT_ONCE = 2**26
"""Mask pixels enlarged at a time; 256 MiB as float32."""


@dataclass(frozen=True)
class GeneratorSettings:
    """How masks are proposed; the defaults are those with which MEMO's training data were made.

    Attributes:
        points_per_side: Points per side of the grid over the whole image.
        points_per_batch: Points decoded at a time; changes nothing but speed and memory.
        iou_threshold: Least IoU that the model predicts for its mask (SAM's own default is 0.88).
        stability_threshold: Least stability score, inclusive.
        stability_offset: Shift of the cut-off, in logits, by which stability is measured.
        mask_threshold: Logit above which a pixel belongs to the mask.
        box_overlap: Largest IoU of the boxes of two masks of one crop.
        crop_layers: Layers of crops besides the whole image.
        crop_overlap: Overlap of the first layer's crops, as a share of the shorter side.
        crop_downscale: Each layer's grid has so many times fewer points per side than the one before.
        crop_box_overlap: Largest IoU of the boxes of two masks of different crops; the smaller crop's stays.
    """

    points_per_side: int = 64
    points_per_batch: int = 128
    iou_threshold: float = 0.8
    stability_threshold: float = 0.85
    stability_offset: float = 1.0
    mask_threshold: float = 0.0
    box_overlap: float = 0.7
    crop_layers: int = 1
    crop_overlap: float = 512 / 1500
    crop_downscale: int = 2
    crop_box_overlap: float = 0.7


@dataclass
class _Proposals:
    """Masks with their boxes (N, 4) and scores (N,), in pixels of the image."""

    masks: list[PackedMask]
    scores: list[float]

    def boxes(self) -> NDArray[np.float32]:
        """From the first to the last pixel; an empty mask has none, which is all zeros."""
        corners = [
            (mask.left, mask.top, mask.left + mask.width - 1, mask.top + mask.height - 1) if mask.area else (0, 0, 0, 0)
            for mask in self.masks
        ]
        return np.array(corners, dtype=np.float32).reshape(-1, 4)

    def taken(self, indices: NDArray[np.int64]) -> _Proposals:
        return _Proposals([self.masks[i] for i in indices], [self.scores[i] for i in indices])


def stability_scores(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """IoU of each mask cut off `offset` above and below the threshold.

    Args:
        logits: (N, H, W).
        threshold: Logit of the cut-off.
        offset: Shift, in logits.

    Returns:
        (N,) in [0, 1]; NaN for a mask that is empty even below.
    """
    inner = (logits > threshold + offset).flatten(1).sum(1)
    outer = (logits > threshold - offset).flatten(1).sum(1)
    return inner / outer


def propose_masks(
    image: NDArray[np.uint8], scorer: Scorer, settings: GeneratorSettings = GeneratorSettings()
) -> list[PackedMask]:
    """All masks that a promptable segmenter finds in an image.

    Args:
        image: uint8 (H, W, 3) RGB.
        scorer: The segmenter; it sees every crop once.
        settings: Grid, thresholds and crops.

    Returns:
        Masks that may overlap; crop by crop from the smallest, by descending predicted IoU.
    """
    height, width = image.shape[:2]
    found = _Proposals([], [])
    areas: list[int] = []
    for crop in crop_boxes(height, width, settings.crop_layers, settings.crop_overlap):
        here = _in_crop(image, crop, scorer, settings)
        found.masks += here.masks
        found.scores += here.scores
        areas += [crop.area] * len(here.masks)
    if settings.crop_layers:
        smaller_first = 1 / np.array(areas, dtype=np.float32)
        found = found.taken(suppress_boxes(found.boxes(), smaller_first, settings.crop_box_overlap))
    return found.masks


def _in_crop(image: NDArray[np.uint8], crop: Crop, scorer: Scorer, settings: GeneratorSettings) -> _Proposals:
    view = scorer(image[crop.top : crop.bottom, crop.left : crop.right])
    side = int(settings.points_per_side / settings.crop_downscale**crop.layer)
    points = point_grid(side) * (crop.right - crop.left, crop.bottom - crop.top)
    found = _Proposals([], [])
    for first in range(0, len(points), settings.points_per_batch):
        logits, ious = view.score(points[first : first + settings.points_per_batch])
        logits, ious = logits.flatten(0, 1), ious.flatten()
        good = ious > settings.iou_threshold
        logits, ious = logits[good], ious[good]
        step = max(1, PIXELS_AT_ONCE // crop.area)
        for start in range(0, len(logits), step):
            masks, kept = _stable(view, logits[start : start + step], crop, settings)
            found.masks += masks
            found.scores += ious[start : start + step][kept].tolist()
    boxes = found.boxes()
    inside = np.nonzero(~cut_by_crop(boxes, crop, *image.shape[:2]))[0]
    found, boxes = found.taken(inside), boxes[inside]
    return found.taken(suppress_boxes(boxes, np.array(found.scores, np.float32), settings.box_overlap))


def _stable(view: View, small: Tensor, crop: Crop, settings: GeneratorSettings) -> tuple[list[PackedMask], Tensor]:
    """The stable ones of some masks, packed, and which (bool) they are."""
    logits = view.enlarge(small)
    stability = stability_scores(logits, settings.mask_threshold, settings.stability_offset)
    kept = stability >= settings.stability_threshold  # false for NaN
    masks: NDArray[np.bool_] = (logits[kept] > settings.mask_threshold).cpu().numpy()
    packed = [pack(mask, crop.top, crop.left) for mask in masks]
    return packed, kept
