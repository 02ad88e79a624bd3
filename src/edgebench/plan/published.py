"""Numbers that the papers print, read from `config/published/<paper>.csv`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from edgebench.errors import ConfigError, nearest

COLUMNS = ("paper", "table", "method", "variant", "dataset", "metric", "value", "source", "note")
SEPARATOR = " | "  # between several remarks on one number


@dataclass(frozen=True)
class Published:
    """One printed number.

    Attributes:
        method: Method, as the table names it.
        variant: Setting of the method, or empty.
        dataset: Data set and split, or empty.
        metric: Column of edgebench that measures the same (`seval_ods`, `ac`, ...).
        value: The number; None where the paper says it in words only.
        source: Paper and table it is printed in.
        note: What a reader must know to use it, or empty; several remarks are separated by ` | `.
    """

    method: str
    variant: str
    dataset: str
    metric: str
    value: float | None
    source: str
    note: str

    @property
    def row(self) -> str:
        """The printed row that it stands in: method and variant."""
        return f"{self.method} {self.variant}".strip()

    @property
    def remarks(self) -> list[str]:
        """The single remarks of `note`."""
        return [each.strip() for each in self.note.split(SEPARATOR) if each.strip()]


def published_rows(path: str | Path, table: str) -> list[Published]:
    """The printed numbers of one table, in file order.

    Raises:
        ConfigError: the file is missing, lacks a column, holds a value that is not a number, or has no such
            table.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise ConfigError(f"{path}: column '{missing[0]}' is missing from the first line.")
            lines = [(reader.line_num, line) for line in reader]
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path}: no such file of published numbers.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text.") from None
    tables = {line["table"] for _, line in lines}
    if table not in tables:
        raise ConfigError(f"{path}: has no table '{table}'.{nearest(table, tables)}")
    return [
        Published(
            method=line["method"],
            variant=line["variant"],
            dataset=line["dataset"],
            metric=line["metric"],
            value=_number(line["value"], path, number),
            source=line["source"],
            note=line["note"] or "",
        )
        for number, line in lines
        if line["table"] == table
    ]


def printed_row(printed: list[Published], chosen: dict[str, str], where: str) -> list[Published]:
    """The printed numbers of one row.

    Args:
        printed: Those of the table, or of a section.
        chosen: `method`, `variant` or `dataset` of the row; nothing for none.
        where: What messages begin with.

    Raises:
        ConfigError: nothing is printed for the choice, or several numbers of one column.
    """
    if not chosen:
        return []
    keys = ["method", "variant", "dataset"]
    for key in chosen:
        if key not in keys:
            raise ConfigError(f"{where}: published: unknown key '{key}'.{nearest(key, keys)}")
    rows = [row for row in printed if all(getattr(row, key) == value for key, value in chosen.items())]
    if not rows:
        known = sorted({f"{row.method} / {row.variant}" for row in printed})
        raise ConfigError(f"{where}: no printed row is {chosen}. Printed: {'; '.join(known)}.")
    numbers = [row for row in rows if row.value is not None]
    for metric in {row.metric for row in numbers}:
        if len({row.value for row in numbers if row.metric == metric}) > 1:
            raise ConfigError(f"{where}: {chosen} has several printed numbers for '{metric}'. Add a 'dataset'.")
    return numbers


def values(printed: list[Published]) -> dict[str, float]:
    """The numbers by column."""
    return {row.metric: row.value for row in printed if row.value is not None}


def footnotes(printed: list[Published]) -> dict[str, list[str]]:
    """What a reader must know to use them, by column."""
    return {row.metric: row.remarks for row in printed if row.remarks}


def _number(text: str, path: Path, line: int) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise ConfigError(f"{path}, line {line}: value '{text}' is not a number.") from None
