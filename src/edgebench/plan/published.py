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


def _number(text: str, path: Path, line: int) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise ConfigError(f"{path}, line {line}: value '{text}' is not a number.") from None
