"""A finished table as csv, Markdown, LaTeX and HTML."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from edgebench.files import canonical_json, write_text
from edgebench.plan.published import SEPARATOR
from edgebench.report.claims import explain
from edgebench.report.collect import Row
from edgebench.report.columns import column_title, number
from edgebench.report.records import Records
from edgebench.report.tables import Cell, Table
from edgebench.report.words import facts, protocols, warning

CSV_COLUMNS = (
    "row", "label", "column", "value", "spread", "low", "high", "n_images", "seeds", "published",
    "difference", "verdict", "run_ids", "paper", "table", "title", "scale", "scale_title", "comparable",
    "stand_ins", "overrides", "protocol", "notes",
)  # fmt: skip
# Written where any line has them.
OPTIONAL_COLUMNS = ("group", "group_title", "combined", "footnotes")
LATEX_COLUMNS = 12
"""What the width of a page holds."""
CLAIM_COLUMNS = (
    "claim", "status", "left", "right", "margin", "difference", "low", "high", "n_images", "paired",
    "published_left", "published_right",
)  # fmt: skip


def write_table(table: Table, base: str | Path) -> list[Path]:
    """Write `<base>.csv`, `.claims.csv`, `.md`, `.tex` and `.html`, each atomically; return their paths."""
    contents = {
        "csv": to_csv(table),
        "claims.csv": claims_to_csv(table),
        "md": to_markdown(table),
        "tex": to_latex(table),
        "html": to_html(table),
    }
    paths = {suffix: Path(f"{base}.{suffix}") for suffix in contents}
    for suffix, path in paths.items():
        write_text(path, contents[suffix])
    return list(paths.values())


def to_csv(table: Table) -> str:
    """One line per row and column; what holds for the whole table is repeated in every line.

    Lists are joined by `;` (footnotes by ` | `), maps are JSON, numbers have full precision, nothing is an empty
    field. The columns of sections and footnotes stand at the end, in tables that have any.
    """
    spec = table.spec
    whole = {
        "paper": spec.paper,
        "table": spec.table,
        "title": spec.title,
        "scale": spec.scale,
        "scale_title": spec.scale_title,
        "comparable": "yes" if spec.comparable else "no",
        "stand_ins": canonical_json(spec.stand_ins),
        "overrides": canonical_json(spec.overrides),
        "protocol": "; ".join(protocols(table)),
        "notes": "; ".join(spec.notes),
    }
    lines = []
    for row in table.rows:
        for column in spec.columns:
            cell = table.cells[row.key, column]
            own = {name: getattr(cell, name) for name in (*CSV_COLUMNS, "combined") if hasattr(cell, name)}
            joined = {
                "seeds": ";".join(map(str, cell.seeds)),
                "run_ids": ";".join(cell.run_ids),
                "footnotes": SEPARATOR.join(cell.footnotes),
            }
            section = {"group": row.group, "group_title": spec.groups.get(row.group, "")}
            lines.append({**whole, **own, **joined, **section, "label": row.label})
    used = [name for name in OPTIONAL_COLUMNS if any(line[name] for line in lines)]
    unused = set(OPTIONAL_COLUMNS) - set(used)
    kept = [{name: value for name, value in line.items() if name not in unused} for line in lines]
    return _csv((*CSV_COLUMNS, *used), kept)


def claims_to_csv(table: Table) -> str:
    """One line per claim."""
    lines = []
    for checked in table.claims:
        own = {name: getattr(checked, name) for name in CLAIM_COLUMNS if hasattr(checked, name)}
        lines.append({**own, "claim": checked.claim.text, "margin": checked.claim.margin})
    return _csv(CLAIM_COLUMNS, lines)


def _csv(columns: tuple[str, ...], lines: list[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _uncertainty(cell: Cell) -> tuple[str, str]:
    """Spread and interval as text, each empty when there is none."""
    low, high, spread = (number(each, cell.column, fine=cell.fine) for each in (cell.low, cell.high, cell.spread))
    return "" if cell.spread is None else f"±{spread}", "" if cell.low is None else f"[{low}, {high}]"


def _difference(cell: Cell) -> str:
    sign = "+" if (cell.difference or 0) >= 0 else "−"
    return "" if cell.difference is None else sign + number(abs(cell.difference), cell.column)


def to_markdown(table: Table) -> str:
    """The table for a README or a discussion; published numbers in a column of their own."""
    spec = table.spec
    head = ["Method"]
    for column in spec.columns:
        head += [column_title(column), *(["paper"] if table.has_published(column) else [])]
    lines = []
    for title, rows in table.sections():
        if title:
            lines.append([f"**{_cell_text(title)}**", *[""] * (len(head) - 1)])
        lines += [_markdown_row(table, row) for row in rows]
    parts = [f"# {spec.title}"]
    if text := warning(spec):
        parts.append(f"> **{text}**")
    rule = ["---", *["---:"] * (len(head) - 1)]
    parts.append("\n".join("| " + " | ".join(line) + " |" for line in [list(map(_cell_text, head)), rule, *lines]))
    if table.footnotes:
        parts.append("  \n".join(f"<sup>{letter}</sup> {_cell_text(text)}" for text, letter in table.footnotes.items()))
    if table.claims:
        claims = [f"- **{each.status}**: `{each.claim.text}` ({explain(each)})" for each in table.claims]
        parts.append("## Claims, checked on these numbers\n\n" + "\n".join(claims))
    parts.append("\n".join(f"- {name}: {text}" for name, text in facts(table)))
    return "\n\n".join(parts) + "\n"


def _markdown_row(table: Table, row: Row) -> list[str]:
    line = [_cell_text(row.label)]
    for column in table.spec.columns:
        cell = table.cells[row.key, column]
        line.append(" ".join(filter(None, [number(cell.value, column, fine=cell.fine), *_uncertainty(cell)])))
        if table.has_published(column):
            marks = table.marks(cell)
            printed = number(cell.published, column) + (f"<sup>{marks}</sup>" if marks else "")
            gap = f"({_difference(cell)})" if cell.difference is not None else ""
            line.append(" ".join(filter(None, [printed, gap, cell.verdict])))
    return line


def _cell_text(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}",
    "<": r"$<$", ">": r"$>$", "±": r"$\pm$", "−": "$-$", "–": "--", "×": r"$\times$",
    "≥": r"$\geq$", "≤": r"$\leq$",
}  # fmt: skip


def latex_escape(text: str) -> str:
    """`text` as LaTeX prints it."""
    return re.sub("|".join(map(re.escape, _LATEX)), lambda match: _LATEX[match[0]], text)


def to_latex(table: Table) -> str:
    r"""A `table` environment with booktabs rules; needs `\usepackage{booktabs}`.

    A table of more than 12 columns is scaled to the width of the text, which needs `\usepackage{graphicx}`.
    """
    spec, tex = table.spec, latex_escape
    groups, rules, second, place = [""], [], ["Method"], 2
    for column in spec.columns:
        names = ["repr.", "paper"] if table.has_published(column) else ["repr."]
        groups.append(rf"\multicolumn{{{len(names)}}}{{c}}{{{tex(column_title(column))}}}")
        rules.append(rf"\cmidrule(lr){{{place}-{place + len(names) - 1}}}")
        second += names
        place += len(names)
    body = []
    for index, (title, rows) in enumerate(table.sections()):
        if title:
            heading = rf"\multicolumn{{{len(second)}}}{{l}}{{\textbf{{{tex(title)}}}}} \\"
            body += [*([r"\midrule"] if index else []), heading]
        body += [" & ".join(_latex_row(table, row)) + r" \\" for row in rows]
    caption = " ".join(filter(None, [f"{spec.title}.", warning(spec)]))
    small_print = [f"{name}: {text.rstrip('.')}." for name, text in facts(table)]
    wide = len(second) > LATEX_COLUMNS
    small_print += [f"Claim {each.claim.text}: {each.status} ({explain(each)})." for each in table.claims]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{tex(caption)}}}",
            rf"\label{{tab:{spec.paper}-{spec.table.replace('_', '-')}-{spec.scale}}}",
            *([r"\resizebox{\linewidth}{!}{% needs \usepackage{graphicx}"] if wide else []),
            rf"\begin{{tabular}}{{l{'r' * (len(second) - 1)}}}",
            r"\toprule",
            " & ".join(groups) + r" \\",
            " ".join(rules),
            " & ".join(second) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}" + ("}" if wide else ""),
            r"\par\smallskip",
            r"\begin{minipage}{\linewidth}\footnotesize",
            *[rf"\textsuperscript{{{letter}}}{tex(text)}\\" for text, letter in table.footnotes.items()],
            *[tex(text) + r"\\" for text in small_print],
            r"\end{minipage}",
            r"\end{table}",
            "",
        ]
    )


def _latex_row(table: Table, row: Row) -> list[str]:
    tex, line = latex_escape, [latex_escape(row.label)]
    for column in table.spec.columns:
        cell = table.cells[row.key, column]
        uncertainty = " ".join(filter(None, _uncertainty(cell)))
        small = rf" {{\scriptsize {tex(uncertainty)}}}" if uncertainty else ""
        line.append(tex(number(cell.value, column, fine=cell.fine)) + small)
        if table.has_published(column):
            marks = table.marks(cell)
            marks = rf"\textsuperscript{{{marks}}}" if marks else ""
            gap = f"({_difference(cell)})" if cell.difference is not None else ""
            beside = " ".join(filter(None, [gap, cell.verdict]))
            mark = rf" {{\scriptsize {tex(beside)}}}" if beside else ""
            line.append(tex(number(cell.published, column)) + marks + mark)
    return line


def to_html(table: Table) -> str:
    """A page of its own without anything loaded from elsewhere; the records of all runs behind it are in it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgebench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    records = Records(table.collected)
    anchors = {row.key: f"row-{index}" for index, row in enumerate(table.rows) if records.of(row)}
    width = 1 + sum(2 if table.has_published(column) else 1 for column in table.spec.columns)
    return environment.get_template("table.html.j2").render(
        width=width, table=table, spec=table.spec, warning=warning(table.spec), facts=facts(table), records=records,
        anchors=anchors, column_title=column_title, number=number, uncertainty=_uncertainty, difference=_difference,
        explain=explain,
    )  # fmt: skip
