"""Figures of the same runs as the tables."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from edgebench.errors import ConfigError, DataError, nearest
from edgebench.files import atomic_path
from edgebench.plan.freshness import PNG_KEY
from edgebench.report.attention_plots import abdiv_pixels, divergence_curves
from edgebench.report.bootstrap import Bootstrap, Floats, interval, read_counts
from edgebench.report.collect import SECONDS, Collected, Evaluation, Row, collect
from edgebench.report.columns import column_title
from edgebench.report.curves import e_curves, f_curves
from edgebench.report.emergence import emergence
from edgebench.report.mask_pictures import mask_grid
from edgebench.report.pictures import guidance_strip, image_grid, reveal_frames, settings_of
from edgebench.report.segment_pictures import segment_grid
from edgebench.report.spread import determinism
from edgebench.report.style import (
    COLOURS,
    DASHES,
    MARKERS,
    STYLE,
    colour,
    legend_below,
    panels_with_legend,
    sections,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


PICTURES = {
    "image_grid": image_grid,
    "guidance_strip": guidance_strip,
    "reveal_frames": reveal_frames,
    "mask_grid": mask_grid,
    "segment_grid": segment_grid,
}


def write_figure(spec_path: str | Path, name: str, base: str | Path, root: str | Path = ".") -> list[Path]:
    """Draw one figure of a table; writes `<base>.png` and, for plots, `<base>.svg`; returns their paths.

    The same runs give the same bytes.

    Args:
        spec_path: The table's plan file.
        name: One of `edgebench.plan.tables.FIGURES`.
        base: Path of the figure without its suffix.
        root: Folder that the plan's run folders are relative to.

    Raises:
        ConfigError: there is no such figure.
        DataError: a run is missing or damaged, or no row has what the figure shows.
    """
    draw = {
        **PICTURES,
        "precision_recall": precision_recall,
        "quality_against_time": quality_against_time,
        "quality_against_steps": quality_against_steps,
        "f_curves": f_curves,
        "e_curves": e_curves,
        "determinism": determinism,
        "divergence_curves": divergence_curves,
        "abdiv_pixels": abdiv_pixels,
        "emergence": emergence,
    }
    if name not in draw:
        raise ConfigError(f"figure '{name}': unknown.{nearest(name, draw)}")
    with matplotlib.rc_context(STYLE):
        collected = collect(spec_path, root)
        figure = draw[name](collected)
        paths = [Path(f"{base}.{suffix}") for suffix in (("png",) if name in PICTURES else ("png", "svg"))]
        for path in paths:
            metadata: dict[str, Any] = {"Date": None, "Creator": None}
            if path.suffix == ".png":
                metadata = {"Software": None, PNG_KEY: collected.spec.id}
            with atomic_path(path) as temporary:
                figure.savefig(temporary, dpi="figure", metadata=metadata, bbox_inches="tight")
    return paths


# Precision against recall ----------------------------------------------------------------------------


def precision_recall(collected: Collected) -> Figure:
    """Precision against recall of all rows, one panel per protocol; counts are added over seeds.

    Raises:
        DataError: no row was scored by such a protocol.
    """
    rows = [row for row in collected.rows if row.runs]
    matched = [
        each for each in collected.evaluations() if each.protocol.get("method", "edges") in ("edges", "instance_edges")
    ]
    protocols = list(dict.fromkeys(each.name for each in matched if (each.folder / "counts.npz").is_file()))
    if not protocols:
        raise DataError(f"table '{collected.spec.table}': no evaluation with counts.npz, so no curve to draw.")
    figure = Figure(figsize=(4.6 * len(protocols) + 2.2, 4.4), layout="constrained")
    axes = figure.subplots(1, len(protocols), squeeze=False)[0]
    for panel, protocol in zip(axes, protocols, strict=True):
        _iso_f(panel)
        for index, row in enumerate(rows):
            evaluations = [run.evaluations[protocol] for run in row.distinct_runs if protocol in run.evaluations]
            if evaluations:
                _curve(panel, evaluations, row.label, index)
        panel.set(xlim=(0, 1), ylim=(0, 1), xlabel="Recall", ylabel="Precision", aspect="equal")
        panel.set_title(textwrap.fill(_protocol_title(collected, protocol), 48))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", title="Method", alignment="left")
    set_title(figure, collected.spec)
    return figure


def _protocol_title(collected: Collected, name: str) -> str:
    title: str = next(each.protocol.get("title", name) for each in collected.evaluations() if each.name == name)
    return title


def _iso_f(axes: Axes) -> None:
    for f in np.arange(1, 10) / 10:
        recall = np.linspace(f / (2 - f), 1, 200)
        axes.plot(recall, f * recall / (2 * recall - f), color="0.85", linewidth=0.7, zorder=0)
        axes.annotate(
            f"{f:.1f}", (1, f / (2 - f)), xytext=(2, 0), textcoords="offset points",
            fontsize=6.5, color="0.55", va="center", annotation_clip=False,
        )  # fmt: skip


def pooled_curve(evaluations: Sequence[Evaluation]) -> tuple[Floats, Floats]:
    """Precision and recall (T,) of counts added over all images of `evaluations`, without empty points."""
    totals = np.sum([[count.sum(axis=0) for count in read_counts(each.folder)[2]] for each in evaluations], axis=0)
    cntR, sumR, cntP, sumP = totals
    found = sumP > 0
    return cntP[found] / sumP[found], cntR[found] / np.maximum(sumR[found], 1)


def _curve(axes: Axes, evaluations: Sequence[Evaluation], label: str, index: int) -> None:
    P, R = pooled_curve(evaluations)
    axes.plot(R, P, DASHES[index // len(COLOURS) % len(DASHES)], color=colour(index), linewidth=1.5, label=label)
    ods = [each.scores["ods"] for each in evaluations if "ods" in each.scores]
    if ods:
        recall, precision = (np.mean([each[name] for each in ods]) for name in ("recall", "precision"))
        axes.plot(recall, precision, "o", color=colour(index), markersize=5, markeredgecolor="white")


# Quality against time --------------------------------------------------------------------------------


def quality_against_time(collected: Collected) -> Figure:
    """Quality (`quality_columns`) against seconds per image, with 95 % bootstrap intervals over images.

    One panel per section of the table and column; sections that show a spread have none.

    Raises:
        DataError: no row has both a time and a score.
    """
    columns = quality_columns(collected)
    timed = [row for row in collected.rows if row.values(SECONDS) and row.combines != "spread"]
    shown = [
        (title, column, rows)
        for title, members in sections(collected, timed)
        for column in columns
        if (rows := [row for row in members if row.values(column)])
    ]
    if not shown:
        raise DataError(f"table '{collected.spec.table}': no row has both a time per image and a score to draw.")
    labels = list(dict.fromkeys(row.label for row in timed))
    seconds = [second for row in timed for second in row.values(SECONDS)]
    fastest, slowest = min(seconds), max(seconds)
    bootstrap = Bootstrap()
    figure, panels = panels_with_legend(len(shown), 3.2, 2.9)
    for panel, (title, column, rows) in zip(panels, shown, strict=True):
        for row in rows:
            _point(panel, row, column, labels.index(row.label), bootstrap)
        names = filter(None, [textwrap.fill(title, 40), column_title(column)])
        panel.set(xscale="log", xlabel="Seconds per image", title="\n".join(names))
        # One range for all panels; so wide that a tick at 1, 2 or 5 falls into it.
        panel.set_xlim(fastest / 1.6, slowest * 1.6)
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if slowest < 30 * fastest else (1,)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.grid(color="0.92", linewidth=0.7)
        panel.set_axisbelow(True)
    legend_below(figure, panels)
    set_title(figure, collected.spec)
    return figure


def quality_columns(collected: Collected) -> list[str]:
    """What stands for the quality of a table's rows, as far as it was measured.

    Of edges `ac`, and CEval ODS, because crisp maps are what time is spent on, or else the first ODS; of masks the
    first protocol's greatest F; of instances AP.
    """
    measured = list(dict.fromkeys(column for each in collected.evaluations() for column in each.columns))
    ods = [column for column in ("ceval_ods", *measured) if column in measured and column.endswith("_ods")]
    max_f = [column for column in measured if column.endswith("max_f")]
    ap = [column for column in measured if column == "ap" and not ods]
    return [column for column in ("ac", *ods[:1], *max_f[:1], *ap) if column in measured]


def _point(axes: Axes, row: Row, column: str, index: int, bootstrap: Bootstrap) -> None:
    seconds, value = np.mean(row.values(SECONDS)), np.mean(row.values(column))
    resampled = bootstrap.row(row, column)
    tint = colour(index)
    if resampled:
        axes.plot([seconds, seconds], interval(resampled[1]), color=tint, linewidth=1.2, alpha=0.7)
    marker = MARKERS[index % len(MARKERS)]
    axes.plot(seconds, value, marker, color=tint, markersize=6, label=row.label, linestyle="none")


# Quality against the number of steps -----------------------------------------------------------------


def quality_against_steps(collected: Collected) -> Figure:
    """Crispness and F against the number of reveal steps, one line per order, with 95 % bootstrap intervals.

    Raises:
        DataError: no row was revealed in steps and scored.
    """
    columns = quality_columns(collected)
    lines: dict[str, list[tuple[float, Row]]] = {}
    rows = [row for row in collected.rows if row.runs and "reveal" in settings_of(row)]
    several = len({settings_of(row)["guidance"] for row in rows}) > 1
    for row in rows:
        settings = settings_of(row)
        label = f"{settings['reveal']}, guidance {settings['guidance']:g}" if several else settings["reveal"]
        lines.setdefault(label, []).append((_rounds(row), row))
    if not lines or not columns:
        raise DataError(f"table '{collected.spec.table}': no row was revealed in steps and scored.")
    bootstrap = Bootstrap()
    figure = Figure(figsize=(3.9 * len(columns) + 2.2, 3.8), layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    places = sorted({place for points in lines.values() for place, _ in points})
    for panel, column in zip(panels, columns, strict=True):
        for index, (label, points) in enumerate(lines.items()):
            _steps_line(panel, sorted(points, key=lambda each: each[0]), column, label, index, bootstrap)
        panel.set(xscale="log", xlabel="Reveal steps", title=column_title(column))
        panel.margins(x=0.1)
        panel.xaxis.set_major_locator(FixedLocator(_apart(places)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda steps, _: f"{steps:.3g}"))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.grid(color="0.92", linewidth=0.7)
        panel.set_axisbelow(True)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", title="Order", alignment="left")
    set_title(figure, collected.spec)
    return figure


def _rounds(row: Row) -> float:
    """Rounds that a reveal took, on average over seeds and images; the steps allowed where none were counted."""
    counted = [run.record.get("rounds") or run.record["settings"]["steps"] for run in row.distinct_runs]
    unknown = next((each for each in counted if isinstance(each, str)), None)
    if unknown:
        raise DataError(
            f"{row.runs[0].predict / 'run.json'}: does not say how many rounds `steps: {unknown}` took. "
            f"Delete the run's folder and run snakemake again."
        )
    return float(np.mean(counted))


def _apart(places: Sequence[float], factor: float = 1.25) -> list[float]:
    """Those of ascending `places` whose labels do not run into the one before on a logarithmic axis."""
    kept: list[float] = []
    for place in places:
        if not kept or place >= factor * kept[-1]:
            kept.append(place)
    return kept


def _steps_line(
    axes: Axes, points: Sequence[tuple[float, Row]], column: str, label: str, index: int, bootstrap: Bootstrap
) -> None:
    points = [(place, row) for place, row in points if row.values(column)]
    tint, marker = colour(index), MARKERS[index % len(MARKERS)]
    values = [float(np.mean(row.values(column))) for _, row in points]
    axes.plot([place for place, _ in points], values, color=tint, marker=marker, linewidth=1.5, label=label)
    for (place, row), value in zip(points, values, strict=True):
        resampled = bootstrap.row(row, column)
        if resampled:
            axes.plot([place, place], interval(resampled[1]), color=tint, linewidth=1.2, alpha=0.7)
        if settings_of(row)["steps"] == "full":
            axes.plot(place, value, "o", color=tint, markersize=11, markerfacecolor="none", linestyle="none")
