"""Evaluation of soft edge maps against several annotators: counts, ODS, OIS, AP, and crispness.

The functions load with their first use, because numba takes a second to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgebench.metrics.edges.counts import ImageCounts, count_image, threshold_grid
    from edgebench.metrics.edges.crispness import average_crispness
    from edgebench.metrics.edges.matching import Matcher
    from edgebench.metrics.edges.nms import dollar_nms, orientation, suppress, triangle_filter
    from edgebench.metrics.edges.scores import edge_scores, ods_f
    from edgebench.metrics.edges.structured import clean_edges, crest, drop_small_components
    from edgebench.metrics.edges.thinning import thin

__all__ = [
    "ImageCounts",
    "Matcher",
    "average_crispness",
    "clean_edges",
    "count_image",
    "crest",
    "dollar_nms",
    "drop_small_components",
    "edge_scores",
    "ods_f",
    "orientation",
    "suppress",
    "thin",
    "threshold_grid",
    "triangle_filter",
]

_HOMES = {
    "counts": ("ImageCounts", "count_image", "threshold_grid"),
    "crispness": ("average_crispness",),
    "matching": ("Matcher",),
    "nms": ("dollar_nms", "orientation", "suppress", "triangle_filter"),
    "scores": ("edge_scores", "ods_f"),
    "structured": ("clean_edges", "crest", "drop_small_components"),
    "thinning": ("thin",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
