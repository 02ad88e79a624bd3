"""Tables: the printed number beside the reproduced one, with what it takes to judge the two."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from edgebench.report.bootstrap import Bootstrap, interval
from edgebench.report.claims import Checked, check_claims
from edgebench.report.collect import TIMES, Collected, Row, TableSpec, collect
from edgebench.report.columns import footnote_letter, kind_of

Verdict = Literal["match", "differs", "incomplete", ""]

SMALLEST_TOLERANCE = 0.005
MAE_TOLERANCE = 0.002


@dataclass(frozen=True)
class Cell:
    """One column of one row.

    Attributes:
        row: Key of the row.
        column: Name of the column.
        value: Mean over seeds; None when no run gave it.
        spread: Standard deviation over seeds; None with one seed or without randomness.
        low: Lower end of the 95 % bootstrap interval over images; None without per-image numbers.
        high: Its upper end.
        n_images: Images behind the number; the fewest of all seeds.
        seeds: Seeds behind the number.
        published: What the paper prints.
        difference: Reproduced minus published.
        verdict: See `verdict`.
        run_ids: Predict and evaluate runs behind the number.
        footnotes: What a reader must know to use the printed number.
        combined: Whether the number is the `mean` or the `spread` (standard deviation) of other rows'.
    """

    row: str
    column: str
    value: float | None = None
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    n_images: int | None = None
    seeds: tuple[int, ...] = ()
    published: float | None = None
    difference: float | None = None
    verdict: Verdict = ""
    run_ids: tuple[str, ...] = ()
    footnotes: tuple[str, ...] = ()
    combined: str = ""

    @property
    def fine(self) -> bool:
        """Whether the number is too small for the decimals of its column."""
        return self.combined == "spread"


@dataclass(frozen=True)
class Table:
    """A finished table.

    Attributes:
        collected: The plan and what the runs recorded.
        cells: By row key and column, for every row and column.
        claims: Checked claims.
    """

    collected: Collected
    cells: dict[tuple[str, str], Cell]
    claims: list[Checked]

    @property
    def spec(self) -> TableSpec:
        """What the plan says about the table."""
        return self.collected.spec

    @property
    def rows(self) -> list[Row]:
        """Rows in order."""
        return self.collected.rows

    def has_published(self, column: str) -> bool:
        """Whether the paper prints any number for `column`."""
        return any(self.cells[row.key, column].published is not None for row in self.rows)

    def sections(self) -> list[tuple[str, list[Row]]]:
        """Heading and rows of each section; one without heading when the table has none."""
        groups = self.spec.groups or {"": ""}
        return [(title, [row for row in self.rows if row.group == key]) for key, title in groups.items()]

    @cached_property
    def footnotes(self) -> dict[str, str]:
        """Letter by remark, in reading order."""
        remarks = [remark for cell in self.cells.values() for remark in cell.footnotes]
        return {remark: footnote_letter(index) for index, remark in enumerate(dict.fromkeys(remarks))}

    def marks(self, cell: Cell) -> str:
        """Letters of a printed number's remarks, such as `a, b`; empty without."""
        return ", ".join(sorted(self.footnotes[remark] for remark in cell.footnotes))


def build_table(spec_path: str | Path, root: str | Path = ".") -> Table:
    """Make a table of finished runs.

    Args:
        spec_path: The table's plan file.
        root: Folder that the plan's run folders are relative to.

    Raises:
        DataError: a run is missing or damaged, or metric versions are mixed.
        ConfigError: a claim names an unknown row or column.
    """
    collected = collect(spec_path, root)
    bootstrap = Bootstrap()
    claims = check_claims(collected, bootstrap)
    cells = {
        (row.key, column): _cell(row, column, collected.spec, bootstrap)
        for row in collected.rows
        for column in collected.spec.columns
    }
    return Table(collected, cells, claims)


def _cell(row: Row, column: str, spec: TableSpec, bootstrap: Bootstrap) -> Cell:
    published = row.published.get(column)
    footnotes = tuple(row.footnotes.get(column, ()))
    values = row.values(column)
    if not values:
        missing = spec.comparable and published is not None and not row.published_only
        return Cell(row.key, column, published=published, verdict="incomplete" if missing else "", footnotes=footnotes)
    value = float(np.mean(values))
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    resampled = bootstrap.row(row, column)
    low, high = interval(resampled[1]) if resampled else (None, None)
    return Cell(
        row=row.key,
        column=column,
        value=value,
        spread=spread,
        low=low,
        high=high,
        n_images=row.n_images(column),
        seeds=tuple(dict.fromkeys(run.seed for run in row.all_runs)),
        published=published,
        difference=value - published if published is not None else None,
        verdict=verdict(value, spread, published, column, spec, complete=_complete(row, column, spec)),
        run_ids=tuple(dict.fromkeys(each for run in row.all_runs for each in run.run_ids(column))),
        footnotes=footnotes,
        combined=row.combines,
    )


def verdict(
    value: float,
    spread: float | None,
    published: float | None,
    column: str,
    spec: TableSpec,
    *,
    complete: bool,
) -> Verdict:
    """Whether a reproduced number is the printed one; only at scale `paper` and never for times.

    `match` when they differ by at most 0.005 (0.002 for MAE), 0.5 % of the printed number, or twice the spread over
    seeds, whichever is largest: papers print three digits, and training again moves the third. `incomplete` when
    images or seeds are missing or settings were overridden, because then the numbers answer another question.

    Args:
        value: Reproduced number.
        spread: Standard deviation over seeds.
        published: Printed number.
        column: Name of the column.
        spec: The table's plan.
        complete: Whether all images and seeds are there.
    """
    if published is None or column in TIMES or not spec.comparable:
        return ""
    if not complete or spec.overrides:
        return "incomplete"
    smallest = MAE_TOLERANCE if kind_of(column) == "mae" else SMALLEST_TOLERANCE
    tolerance = max(smallest, 0.005 * abs(published), 2 * (spread or 0.0))
    # The sum of decimals such as 0.8 + 0.005 must not fall on the wrong side of the line.
    return "match" if abs(value - published) <= tolerance + 1e-12 else "differs"


def _complete(row: Row, column: str, spec: TableSpec) -> bool:
    if row.members:
        return all(_complete(member, column, spec) for member in row.members)
    if set(spec.seeds) - {run.seed for run in row.runs}:
        return False
    pairs = [(run.covers(column), run.expected_images()) for run in row.runs]
    return all(run.value(column) is not None for run in row.runs) and all(
        n is None or expected is None or n >= expected for n, expected in pairs
    )
