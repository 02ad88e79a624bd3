"""What TRACE's first stage found: divergences over time, and ABDiv at boundaries and inside of instances."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgebench.data.npz import DAMAGED
from edgebench.errors import DataError
from edgebench.files import read_json
from edgebench.metrics.instance_edges import segment_edges
from edgebench.report.collect import Collected, Row
from edgebench.report.pictures import rows_on_images
from edgebench.report.style import DASHES, colour, legend_below, panels_with_legend, set_title

Floats = NDArray[np.float64]

LABELS = "labels"
LEADS_TO_LABELS = ("edges", "weights", "labels")
"""From a scored run back to the one that wrote pseudo labels: its edges, their weights, the labels of those."""

MOST_IMAGES = 200


def divergence_curves(collected: Collected) -> Figure:
    """Divergence of the attention of neighbouring levels of noise, the mean over images, and the level that was kept.

    Rows that read one network's attention in one way share a curve. Bands reach from the first to the third quartile.

    Raises:
        DataError: no row's edges come from a search through time, or a file of labels is damaged.
    """
    curves = [(title, *_curves(folder)) for title, folder in _sources(collected).items()]
    curves = [each for each in curves if each[2].size]
    if not curves:
        raise DataError(
            f"table '{collected.spec.table}': no row's edges come from a search for the emergence point, so there is "
            f"no curve. Give a row whose run of method trace_attention has no 'tau'."
        )
    figure, (left, right) = panels_with_legend(2, 4.2, 3.2)
    for index, (title, taus, values, kept) in enumerate(curves):
        middle = np.arange(len(taus) - 1)
        low, high = np.percentile(values, [25, 75], axis=0)
        dash = DASHES[index // 7 % len(DASHES)]
        left.plot(middle, values.mean(axis=0), dash, color=colour(index), marker="o", markersize=3, label=title)
        left.fill_between(middle, low, high, color=colour(index), alpha=0.15, linewidth=0)
        at, counts = np.unique(kept, return_counts=True)
        places = [int(np.flatnonzero(taus == each)[0]) + 0.16 * (index - (len(curves) - 1) / 2) for each in at]
        right.bar(places, counts / len(kept), width=0.15, color=colour(index))
    taus = curves[0][1]
    left.set(xlabel="Between levels of noise", ylabel="Divergence of attention", yscale="log")
    left.set_xticks(np.arange(len(taus) - 1), [f"{a}-{b}" for a, b in pairwise(taus)], rotation=60)
    right.set(xlabel="Level of noise kept", ylabel="Share of images")
    right.set_xticks(np.arange(len(taus)), [str(each) for each in taus], rotation=60)
    right.set_xlim(-0.6, len(taus) - 0.4)
    for panel in (left, right):
        panel.tick_params(axis="x", labelsize=7)
        panel.grid(color="0.92", linewidth=0.7)
        panel.set_axisbelow(True)
    legend_below(figure, [left])
    set_title(figure, collected.spec)
    return figure


def abdiv_pixels(collected: Collected) -> Figure:
    """ABDiv of tokens at a border between segments and of those inside one, relative to its mean in the image.

    One panel per row whose own run is of method trace_attention. A token lies at a border when an edge of the ground
    truth crosses its cell.

    Raises:
        DataError: there is no such row, or a file of labels is damaged.
    """
    rows = [row for row in collected.rows if row.runs and (row.runs[0].predict / LABELS).is_dir()]
    if not rows:
        raise DataError(
            f"table '{collected.spec.table}': no row is scored on the edges of TRACE's first stage (method "
            f"trace_attention), whose files say what ABDiv is at each token."
        )
    rows, dataset, common = rows_on_images(collected, rows)
    ids = sorted(common)[:MOST_IMAGES]
    borders = {each: segment_edges(dataset.panoptic(each)[0]) for each in ids}
    figure, panels = panels_with_legend(len(rows), 3.3, 2.8)
    for panel, row in zip(panels, rows, strict=True):
        at_border, inside = _tokens(row.runs[0].predict, borders)
        bins = np.geomspace(0.05, 20, 50)
        for index, (values, label) in enumerate(((at_border, "at a border"), (inside, "inside"))):
            weights = np.full(len(values), 1 / max(len(values), 1))
            shown = np.clip(values, bins[0], bins[-1])
            panel.hist(shown, bins=list(bins), weights=weights, color=colour(index), alpha=0.55, label=label)
            panel.axvline(np.median(values), color=colour(index), linewidth=1.2)
        panel.set(xscale="log", xlabel="ABDiv / mean of the image", ylabel="Share of tokens")
        panel.set_title(textwrap.fill(row.label, 40), fontsize=9)
    legend_below(figure, panels)
    set_title(figure, collected.spec, f"vertical lines: medians; {len(ids)} images")
    return figure


def _tokens(folder: Path, borders: dict[str, NDArray[np.bool_]]) -> tuple[Floats, Floats]:
    """Relative ABDiv of tokens at a border and inside, over all images."""
    found: tuple[list[Floats], list[Floats]] = [], []
    for image, edges in borders.items():
        scores = _read(folder / LABELS / f"{image}.npz", "scores").astype(np.float64)
        crossed = _any_in_cells(edges, scores.shape)
        relative = scores / max(float(scores.mean()), 1e-12)
        found[0].append(relative[crossed])
        found[1].append(relative[~crossed])
    return np.concatenate(found[0]), np.concatenate(found[1])


def _any_in_cells(mask: NDArray[np.bool_], grid: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether any pixel of each cell of a grid (h, w) over a mask (H, W) is set."""
    rows = np.arange(mask.shape[0]) * grid[0] // mask.shape[0]
    columns = np.arange(mask.shape[1]) * grid[1] // mask.shape[1]
    counts = np.zeros(grid, np.int64)
    np.add.at(counts, (rows[:, None], columns[None, :]), mask)
    return counts > 0


def _sources(collected: Collected) -> dict[str, Path]:
    """Folders of runs with pseudo labels, by the labels of the rows that go back to them."""
    titles: dict[Path, list[str]] = {}
    for row in collected.rows:
        folder = _label_folder(row)
        if folder:
            titles.setdefault(folder, []).append(row.label)
    return {"; ".join(dict.fromkeys(labels)): folder for folder, labels in titles.items()}


def _label_folder(row: Row) -> Path | None:
    """The run that wrote the pseudo labels that a row goes back to, or None."""
    if not row.runs:
        return None
    folder, record = row.runs[0].predict, row.runs[0].record
    while not (folder / LABELS).is_dir():
        wanted = next((record["inputs"][name] for name in LEADS_TO_LABELS if name in record.get("inputs", {})), None)
        # Runs lie at results/runs/ROLE/LABEL-ID.
        found = next(folder.parents[1].glob(f"*/*-{wanted}"), None) if wanted else None
        if found is None or not (found / "run.json").is_file():
            return None
        folder, record = found, read_json(found / "run.json")
    return folder


def _curves(folder: Path) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Levels (T,), curves (n, T - 1) and kept levels (n,) of the first images of a run; no curves without a search."""
    files = _label_files(folder)
    taus = _read(files[0], "taus")
    if len(taus) < 2:
        return taus, np.zeros((0, 0)), np.zeros(0, np.int64)
    return (
        taus,
        np.stack([_read(each, "curve") for each in files]),
        np.array([int(_read(each, "kept")) for each in files]),
    )


def _label_files(folder: Path) -> Sequence[Path]:
    files = sorted((folder / LABELS).glob("*.npz"))[:MOST_IMAGES]
    if not files:
        raise DataError(f"{folder / LABELS}: holds no pseudo labels. Delete the run's folder and run snakemake.")
    return files


def _read(path: Path, key: str) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return file[key]
    except DAMAGED as error:
        raise DataError(
            f"{path}: no readable pseudo labels ({error}). Delete the run's folder and run it again."
        ) from None
