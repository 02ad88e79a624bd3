"""One picture that shows how instances emerge: attention over time, its changes, and the edges that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from edgebench.data.npz import DAMAGED
from edgebench.errors import DataError
from edgebench.files import atomic_path
from edgebench.report.collect import Collected
from edgebench.report.pictures import rows_on_images
from edgebench.report.style import set_title

FOLDER = "emergence"

_SIDE = 256  # pixels of the photograph in the figure
_INK, _PEAK = "#333333", "#c0392b"
_MOST = 12  # maps in a row


@dataclass(frozen=True)
class Emerging:
    """What the attention of a network shows of one picture over the levels of noise.

    Attributes:
        taus: Levels, from clean to noisy.
        colours: (levels, h, w, 3), float in [0, 1] or uint8: tokens that attend to the same are alike, at all levels.
        curve: (levels - 1,), divergences of neighbouring levels.
        gap: Index of the first level of the widest gap among those that count.
        kept: Index of the level that is kept.
        scores: ABDiv at that level, (h, w).
    """

    taus: Sequence[int]
    colours: NDArray[Any]
    curve: NDArray[np.floating]
    gap: int
    kept: int
    scores: NDArray[np.floating]


def emergence(collected: Collected) -> Figure:
    """How instances emerge in the first image of the split that a row of method trace_attention kept.

    Raises:
        DataError: no row kept it (setting `watched`), or its file is damaged.
    """
    kept = [(row, sorted((row.runs[0].predict / FOLDER).glob("*.npz"))) for row in collected.rows if row.runs]
    row, files = next(((row, files) for row, files in kept if files), (None, []))
    if row is None:
        raise DataError(
            f"table '{collected.spec.table}': no row kept its attention over the levels of noise. Give a run of method "
            f"trace_attention the setting `watched: 1`, which keeps that of the first image."
        )
    _, dataset, _ = rows_on_images(collected, [row])
    figure = emergence_figure(read_emerging(files[0]), dataset.image(files[0].stem))
    set_title(figure, collected.spec, f"{row.label}; image {files[0].stem}", y=1.02, va="bottom")
    return figure


def write_emerging(path: str | Path, seen: Emerging) -> None:
    """Keep what `emergence_figure` shows as a compressed .npz, whole or not at all."""
    colours = np.rint(np.asarray(seen.colours) * 255).astype(np.uint8)
    with atomic_path(path) as temporary:
        held = {"taus": seen.taus, "curve": seen.curve, "gap": seen.gap, "kept": seen.kept, "scores": seen.scores}
        np.savez_compressed(temporary, colours=colours, **held)  # type: ignore[arg-type]


def read_emerging(path: str | Path) -> Emerging:
    """Read what `write_emerging` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in ("taus", "colours", "curve", "gap", "kept", "scores")}
    except DAMAGED as error:
        raise DataError(f"{path}: not what a run kept ({error}). Delete the run's folder; run it again.") from None
    taus = [int(each) for each in held["taus"]]
    return Emerging(taus, held["colours"], held["curve"], int(held["gap"]), int(held["kept"]), held["scores"])


def emergence_figure(watched: Emerging, photo: NDArray[np.uint8], edges: NDArray[np.floating] | None = None) -> Figure:
    """Attention at each level of noise, the curve of its changes with the peak marked, and ABDiv of the kept level.

    Args:
        watched: What is shown.
        photo: uint8 (H, W, 3) RGB.
        edges: (H, W) in [0, 1], of the distilled network, shown beside ABDiv.

    Returns:
        A figure that belongs to no window.
    """
    count = len(watched.taus)
    shown = np.unique(np.linspace(0, count - 1, min(count, _MOST)).round().astype(int))
    figure = Figure(figsize=(1.25 * max(len(shown), 6), 4.2), layout="constrained", dpi=150)
    top, bottom = np.atleast_1d(np.asarray(figure.subfigures(2, 1, height_ratios=[1, 1.9])))
    for axes, index in zip(np.atleast_1d(top.subplots(1, len(shown))), shown, strict=True):
        axes.imshow(watched.colours[index], interpolation="nearest")
        _bare(axes)
        kept = index == watched.kept
        axes.set_title(f"{watched.taus[index]}", fontsize=8, color=_PEAK if kept else _INK)
        if kept:
            for spine in axes.spines.values():
                spine.set(visible=True, color=_PEAK, linewidth=2)
    top.suptitle("self-attention by level of noise (colours: principal components of all levels)", fontsize=8)
    panels = bottom.subplots(1, 3 + (edges is not None), width_ratios=[1, 1.7, 1] + [1] * (edges is not None))
    small = Image.fromarray(photo)
    small.thumbnail((_SIDE, _SIDE))
    panels[0].imshow(np.asarray(small))
    panels[0].set_title("photograph", fontsize=8)
    _curve(panels[1], watched)
    high = watched.scores.mean() + 3 * watched.scores.std()
    height, width = photo.shape[:2]
    drawn = {"cmap": "gray_r", "interpolation": "nearest", "vmin": 0}
    panels[2].imshow(watched.scores, vmax=high or 1, extent=(0, width, height, 0), **drawn)
    panels[2].set_title(f"ABDiv at {watched.taus[watched.kept]}", fontsize=8)
    if edges is not None:
        panels[3].imshow(edges, vmax=1, extent=(0, width, height, 0), **drawn)
        panels[3].set_title("edges in one pass", fontsize=8)
    for each in [panels[0], *panels[2:]]:
        _bare(each)
    return figure


def write_emergence(
    path: str | Path, watched: Emerging, photo: NDArray[np.uint8], edges: NDArray[np.floating] | None = None
) -> None:
    """Write `emergence_figure` of the same arguments as PNG, whole or not at all."""
    figure = emergence_figure(watched, photo, edges)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _curve(axes: Axes, watched: Emerging) -> None:
    middles = [(a + b) / 2 for a, b in pairwise(watched.taus)]
    axes.plot(middles, watched.curve, "o-", color=_INK, markersize=3, linewidth=1)
    first, second = watched.taus[watched.gap], watched.taus[watched.gap + 1]
    axes.axvspan(first, second, color=_PEAK, alpha=0.15, linewidth=0)
    axes.plot(middles[watched.gap], watched.curve[watched.gap], "o", color=_PEAK, markersize=6)
    axes.set_title(f"change of attention: widest from {first} to {second}", fontsize=8)
    axes.set_xlabel("level of noise", fontsize=7)
    axes.set_ylabel("divergence", fontsize=7)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=6)
    axes.spines[["top", "right"]].set_visible(False)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
