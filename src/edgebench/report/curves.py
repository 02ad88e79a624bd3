"""F and E of masks at every threshold."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from edgebench.data.npz import DAMAGED
from edgebench.errors import DataError
from edgebench.metrics.masks import PROTOCOLS, image_curves
from edgebench.report.bootstrap import LEVEL, Floats, draw_weights, weighted_mean
from edgebench.report.collect import Collected, Evaluation, Row
from edgebench.report.style import DASHES, MOST_ACROSS, colour, legend_below, panels_with_legend, sections, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Letter = Literal["f", "e"]


def f_curves(collected: Collected) -> Figure:
    """F averaged over the images at every threshold, one panel per section with runs and protocol of masks.

    Seeds are averaged. The band is the 95 % bootstrap interval over images, the dot the maximum, in the middle where
    several thresholds share it. Where a protocol binarises masks first, each curve is a step: the lowest threshold
    takes every pixel, all others the same mask.

    Raises:
        DataError: no row was scored by such a protocol, or a run's counts are damaged.
    """
    return _draw(collected, "f")


def e_curves(collected: Collected) -> Figure:
    """E averaged over the images at every threshold; see `f_curves`.

    Raises:
        DataError: no row was scored by such a protocol, or a run's counts are damaged.
    """
    return _draw(collected, "e")


def _draw(collected: Collected, letter: Letter) -> Figure:
    scored = [each for each in collected.evaluations() if each.protocol.get("method") == "masks"]
    protocols = {each.name: each.protocol for each in scored}
    shown = [
        (section, name, rows)
        for section, members in sections(collected, collected.rows)
        for name in protocols
        if (rows := [row for row in members if any(name in run.evaluations for run in row.runs)])
    ]
    if not shown:
        raise DataError(f"table '{collected.spec.table}': no row was scored by a protocol of masks: no curve to draw.")
    labels = list(dict.fromkeys(row.label for _, _, rows in shown for row in rows))
    # Protocols stand beside one another, so that a section's panels are a line.
    figure, panels = panels_with_legend(len(shown), 3.2, 2.7, len(protocols) if len(protocols) > 1 else MOST_ACROSS)
    for panel, (section, name, rows) in zip(panels, shown, strict=True):
        for row in rows:
            _line(panel, row, name, letter, labels.index(row.label))
        rule = PROTOCOLS[protocols[name]["rule"]]
        title = [section, f"protocol {rule.name}{', masks cut at one half' if rule.binarise else ''}"]
        panel.set_title("\n".join(textwrap.fill(each, 40) for each in title if each), fontsize=9)
        panel.set(xlabel="Threshold (grey level)", ylabel=f"{letter.upper()}-measure", xlim=(-4, 259))
        panel.xaxis.set_major_locator(FixedLocator([0, 64, 128, 192, 255]))
        panel.grid(color="0.92", linewidth=0.7)
        panel.set_axisbelow(True)
    legend_below(figure, panels)
    set_title(figure, collected.spec)
    return figure


def _line(axes: Axes, row: Row, protocol: str, letter: Letter, index: int) -> None:
    evaluations = [run.evaluations[protocol] for run in row.distinct_runs if protocol in run.evaluations]
    curve, band = set_curve(evaluations, letter)
    levels = np.arange(len(curve))
    style, tint = DASHES[index % len(DASHES)], colour(index)
    if band is not None:
        axes.fill_between(levels, *band, color=tint, alpha=0.15, linewidth=0)
    axes.plot(levels, curve, style, color=tint, linewidth=1.4, label=row.label)
    best = np.flatnonzero(np.isclose(curve, curve.max(), rtol=0, atol=1e-9))
    middle = best[len(best) // 2]
    axes.plot(middle, curve[middle], "o", color=tint, markersize=5, markeredgecolor="white", clip_on=False)


def set_curve(evaluations: Sequence[Evaluation], letter: Letter) -> tuple[Floats, Floats | None]:
    """The curve of a set of images, averaged over seeds.

    Args:
        evaluations: Evaluate runs of masks, one per seed, by one protocol.
        letter: `f` or `e`.

    Returns:
        Mean over the images that count (L,), and its 95 % bootstrap interval (2, L); None where the seeds were scored
        on different images.

    Raises:
        DataError: the counts of a run are missing or damaged.
    """
    ids, curves = zip(*(_image_curves(each, letter) for each in evaluations), strict=True)
    means = [weighted_mean(each, np.ones((1, len(each))))[0] for each in curves]
    if any(each != ids[0] for each in ids):
        return np.mean(means, axis=0), None
    resampled = weighted_mean(np.mean(curves, axis=0), draw_weights(ids[0]))
    tail = 100 * (1 - LEVEL) / 2
    return np.mean(means, axis=0), np.nanpercentile(resampled, [tail, 100 - tail], axis=0)


def _image_curves(evaluation: Evaluation, letter: Letter) -> tuple[list[str], Floats]:
    path = evaluation.folder / "counts.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            ids, histograms = [str(each) for each in file["ids"]], file["histograms"]
    except DAMAGED as error:
        raise DataError(
            f"{path}: not the counts of masks ({error}). Delete the run's folder and run snakemake."
        ) from None
    return ids, image_curves(histograms, PROTOCOLS[evaluation.protocol["rule"]])[letter]
