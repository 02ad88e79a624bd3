"""One's own photographs, by any method: what `edgebench predict` and `edgebench app` share.

`METHODS` holds a function per method, which takes what a person can choose and returns a `Detector`. The command has
a subcommand for each, and the page shows a control for each argument. What finds objects (`instances`) has commands
alone.
"""

from __future__ import annotations

from collections.abc import Callable

from edgebench.stages.photos.answers import Detector
from edgebench.stages.photos.edges import canny, mask_edges, memo, sobel
from edgebench.stages.photos.masks import diffdis, otsu
from edgebench.stages.photos.trace import trace

EDGE_METHODS: dict[str, Callable[..., Detector]] = {
    "memo": memo,
    "trace": trace,
    "canny": canny,
    "sobel": sobel,
    "mask-edges": mask_edges,
}
MASK_METHODS: dict[str, Callable[..., Detector]] = {"diffdis": diffdis, "otsu": otsu}
METHODS = EDGE_METHODS | MASK_METHODS
