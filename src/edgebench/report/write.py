"""A finished table as csv, Markdown, LaTeX and HTML."""

from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path

from edgebench.files import canonical_json, write_text
from edgebench.report.claims import explain
from edgebench.report.tables import Cell, Table, column_title, facts, number, protocols, warning

CSV_COLUMNS = (
    "row", "label", "column", "value", "spread", "low", "high", "n_images", "seeds", "published",
    "difference", "verdict", "run_ids", "paper", "table", "title", "scale", "scale_title", "comparable",
    "stand_ins", "overrides", "protocol", "notes",
)  # fmt: skip
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
        "html": to_html(table, Path(base).parent),
    }
    paths = {suffix: Path(f"{base}.{suffix}") for suffix in contents}
    for suffix, path in paths.items():
        write_text(path, contents[suffix])
    return list(paths.values())


def to_csv(table: Table) -> str:
    """One line per row and column; what holds for the whole table is repeated in every line.

    Lists are joined by `;`, maps are JSON, numbers have full precision, nothing is an empty field.
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
            own = {name: getattr(cell, name) for name in CSV_COLUMNS if hasattr(cell, name)}
            joined = {"seeds": ";".join(map(str, cell.seeds)), "run_ids": ";".join(cell.run_ids)}
            lines.append({**whole, **own, **joined, "label": row.label})
    return _csv(CSV_COLUMNS, lines)


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
    spread = "" if cell.spread is None else f"±{number(cell.spread, cell.column)}"
    return spread, "" if cell.low is None else f"[{number(cell.low)}, {number(cell.high)}]"


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
    for row in table.rows:
        line = [row.label]
        for column in spec.columns:
            cell = table.cells[row.key, column]
            line.append(" ".join(filter(None, [number(cell.value, column), *_uncertainty(cell)])))
            if table.has_published(column):
                gap = f"({_difference(cell)})" if cell.difference is not None else ""
                line.append(" ".join(filter(None, [number(cell.published, column), gap, cell.verdict])))
        lines.append(line)
    parts = [f"# {spec.title}"]
    if text := warning(spec):
        parts.append(f"> **{text}**")
    rule = ["---", *["---:"] * (len(head) - 1)]
    parts.append("\n".join("| " + " | ".join(map(_cell_text, line)) + " |" for line in [head, rule, *lines]))
    if table.claims:
        claims = [f"- **{each.status}**: `{each.claim.text}` ({explain(each)})" for each in table.claims]
        parts.append("## What the paper concludes, on these numbers\n\n" + "\n".join(claims))
    parts.append("\n".join(f"- {name}: {text}" for name, text in facts(table)))
    return "\n\n".join(parts) + "\n"


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
    r"""A `table` environment with booktabs rules; needs `\usepackage{booktabs}`."""
    spec, tex = table.spec, latex_escape
    groups, rules, second, place = [""], [], ["Method"], 2
    for column in spec.columns:
        names = ["repr.", "paper"] if table.has_published(column) else ["repr."]
        groups.append(rf"\multicolumn{{{len(names)}}}{{c}}{{{tex(column_title(column))}}}")
        rules.append(rf"\cmidrule(lr){{{place}-{place + len(names) - 1}}}")
        second += names
        place += len(names)
    body = []
    for row in table.rows:
        line = [tex(row.label)]
        for column in spec.columns:
            cell = table.cells[row.key, column]
            uncertainty = " ".join(filter(None, _uncertainty(cell)))
            small = rf" {{\scriptsize {tex(uncertainty)}}}" if uncertainty else ""
            line.append(tex(number(cell.value, column)) + small)
            if table.has_published(column):
                gap = f"({_difference(cell)})" if cell.difference is not None else ""
                beside = " ".join(filter(None, [gap, cell.verdict]))
                mark = rf" {{\scriptsize {tex(beside)}}}" if beside else ""
                line.append(tex(number(cell.published, column)) + mark)
        body.append(" & ".join(line) + r" \\")
    caption = " ".join(filter(None, [f"{spec.title}.", warning(spec)]))
    small_print = [f"{name}: {text.rstrip('.')}." for name, text in facts(table)]
    small_print += [f"Claim {each.claim.text}: {each.status} ({explain(each)})." for each in table.claims]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{tex(caption)}}}",
            rf"\label{{tab:{spec.paper}-{spec.table.replace('_', '-')}-{spec.scale}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(second) - 1)}}}",
            r"\toprule",
            " & ".join(groups) + r" \\",
            " ".join(rules),
            " & ".join(second) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\smallskip",
            r"\begin{minipage}{\linewidth}\footnotesize",
            *[tex(text) + r"\\" for text in small_print],
            r"\end{minipage}",
            r"\end{table}",
            "",
        ]
    )


def to_html(table: Table, folder: Path) -> str:
    """A page of its own without anything loaded from elsewhere.

    Args:
        table: The table.
        folder: Where the page will lie; links to the runs' records are relative to it.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgebench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    runs = [
        (row.label, run.seed, _link(run.predict, folder), run.record["id"],
         [(each.name, _link(each.folder, folder), each.run_id) for each in run.evaluations.values()])
        for row in table.rows
        for run in row.runs
    ]  # fmt: skip
    return environment.get_template("table.html.j2").render(
        table=table, spec=table.spec, warning=warning(table.spec), facts=facts(table), runs=runs,
        column_title=column_title, number=number, uncertainty=_uncertainty, difference=_difference,
        explain=explain,
    )  # fmt: skip


def _link(run: Path, folder: Path) -> str:
    return Path(os.path.relpath(run / "run.json", folder)).as_posix()
