"""Evaluation of foreground masks: F, weighted F, S, E, MAE, human correction effort and boundary IoU.

The functions load with their first use, because numba takes a second to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgebench.metrics.masks.boundary import boundary_iou, inner_boundary, plain_iou
    from edgebench.metrics.masks.curves import adaptive_f, e_curve, e_measure, f_curve, image_curves
    from edgebench.metrics.masks.effort import correction_effort, mask_skeleton, opencv
    from edgebench.metrics.masks.protocols import (
        DIFFDIS,
        PROTOCOLS,
        STANDARD,
        MaskProtocol,
        Prepared,
        foreground,
        prepare,
    )
    from edgebench.metrics.masks.scores import METRICS, MaskScores, score_mask, set_scores
    from edgebench.metrics.masks.structure import s_measure
    from edgebench.metrics.masks.tally import Tally, tally_mask
    from edgebench.metrics.masks.weighted import nearest_foreground, weighted_f

__all__ = [
    "DIFFDIS",
    "METRICS",
    "PROTOCOLS",
    "STANDARD",
    "MaskProtocol",
    "MaskScores",
    "Prepared",
    "Tally",
    "adaptive_f",
    "boundary_iou",
    "correction_effort",
    "e_curve",
    "e_measure",
    "f_curve",
    "foreground",
    "image_curves",
    "inner_boundary",
    "mask_skeleton",
    "nearest_foreground",
    "opencv",
    "plain_iou",
    "prepare",
    "s_measure",
    "score_mask",
    "set_scores",
    "tally_mask",
    "weighted_f",
]

_HOMES = {
    "boundary": ("boundary_iou", "inner_boundary", "plain_iou"),
    "curves": ("adaptive_f", "e_curve", "e_measure", "f_curve", "image_curves"),
    "effort": ("correction_effort", "mask_skeleton", "opencv"),
    "protocols": ("DIFFDIS", "PROTOCOLS", "STANDARD", "MaskProtocol", "Prepared", "foreground", "prepare"),
    "scores": ("METRICS", "MaskScores", "score_mask", "set_scores"),
    "structure": ("s_measure",),
    "tally": ("Tally", "tally_mask"),
    "weighted": ("nearest_foreground", "weighted_f"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
