"""What stands below each table and figure in the Snakemake report, as reStructuredText."""

from __future__ import annotations

from edgebench.report.claims import explain
from edgebench.report.collect import TableSpec
from edgebench.report.tables import Table, facts, warning

FIGURES = {
    "precision_recall": "Precision against recall over all thresholds. Grey lines join points of equal "
    "F; a dot marks the best F over the data set (ODS).",
    "image_grid": "Input, mean of the annotators, and each method's map; dark is edge. The images are "
    "evenly spaced in the list of all, not picked by hand.",
    "quality_against_time": "Crispness (AC) and F against seconds per image. Bars are 95 % bootstrap "
    "intervals over images.",
}


def table_caption(table: Table) -> str:
    """Title, scale, settings, protocol, and the claims in words."""
    parts = [f"**{_rst(table.spec.title)}**"]
    if text := warning(table.spec):
        parts.append(f"*{_rst(text)}*")
    parts.append("\n".join(f"- {name}: {_rst(text)}" for name, text in facts(table)))
    if table.claims:
        parts.append("What the paper concludes, on these numbers:")
        parts.append(
            "\n".join(
                f"- **{each.status}**: ``{each.claim.text}`` ({_rst(explain(each))})" for each in table.claims
            )
        )
    return "\n\n".join(parts) + "\n"


def figure_caption(spec: TableSpec, figure: str) -> str:
    """What the figure shows, and at which scale."""
    parts = [f"**{_rst(spec.title)}**", FIGURES[figure], f"Scale {spec.scale}: {_rst(spec.scale_title)}"]
    if text := warning(spec):
        parts.append(f"*{_rst(text)}*")
    return "\n\n".join(parts) + "\n"


def _rst(text: str) -> str:
    for mark in ("\\", "*", "`", "|", "_"):
        text = text.replace(mark, "\\" + mark)
    return text
