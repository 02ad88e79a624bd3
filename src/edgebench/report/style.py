"""How figures look: colours, lines, sections as panels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgebench.report.collect import Collected, Row, TableSpec

# Okabe & Ito, Color universal design (2008), without the yellow that vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "figure.dpi": 150,
    "legend.frameon": False,
    "svg.hashsalt": "edgebench",
}
MOST_ACROSS = 3
"""Panels side by side; more stand below one another, so that a page's width keeps them readable."""


def colour(index: int) -> str:
    """The colour of row number `index`."""
    return COLOURS[index % len(COLOURS)]


def set_title(figure: Figure, spec: TableSpec, subtitle: str = "", **place: Any) -> None:
    """What every figure says above: the table, a line of its own, the scale and how far to trust it."""
    across = min(110, max(40, int(13 * figure.get_size_inches()[0])))
    lines = [spec.title, subtitle, f"scale {spec.scale}: {spec.scale_title}"]
    if not spec.comparable:
        lines.append("not comparable with the published numbers")
    figure.suptitle("\n".join(textwrap.fill(line, across) for line in lines if line), fontsize=10, **place)


def sections(collected: Collected, rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Title and rows of each section of the table that has any of `rows`; without sections one of no title."""
    groups = collected.spec.groups or {"": ""}
    found = [(title, [row for row in rows if row.group == key]) for key, title in groups.items()]
    return [(title, members) for title, members in found if members]


def panels_with_legend(
    count: int, width: float, height: float, most_across: int = MOST_ACROSS
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, at most `most_across` side by side; `legend_below` adds what it needs.

    Args:
        count: Number of panels.
        width: Of one panel, inches.
        height: Of one panel, inches.
        most_across: Panels side by side.
    """
    across = min(count, most_across)
    down = -(-count // across)
    figure = Figure(figsize=(max(width * across, 4.5), height * down + 0.6), layout="constrained")
    panels = list(np.ravel(figure.subplots(down, across, squeeze=False)))
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def legend_below(figure: Figure, panels: Sequence[Axes]) -> None:
    """One legend for all panels; a label that several have stands once."""
    entries: dict[str, Artist] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(textwrap.fill(label, 40), handle)
    width, height = figure.get_size_inches()
    across = max(1, int(width // 2.6))
    figure.set_figheight(height + 0.2 * -(-len(entries) // across))
    figure.legend(handles=list(entries.values()), labels=list(entries), loc="outside lower center", ncols=across)
