"""A finished table in the terminal."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgebench.errors import DataError
from edgebench.plan.published import SEPARATOR

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

LOG_WIDTH = 220
LABEL_WIDTH = 32
BORDER = 3
"""Characters that a column takes beside its text."""
Letters = dict[str, str]
_STYLE = {"match": "green", "holds": "green", "differs": "red", "does not hold": "red"}


def print_table(path: str | Path, console: Console | None = None) -> None:
    """Print a table from its csv, with its claims when their csv lies beside it.

    Published numbers stand in brackets behind the reproduced ones. Columns that the terminal has no room for follow in
    further parts.

    Raises:
        DataError: the file is missing or is not a table of edgebench.
    """
    from rich.console import Console
    from rich.text import Text

    from edgebench.report.columns import footnote_letter

    # A log file has no width; 80 columns would break every number in two.
    console = console or Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    path = Path(path)
    cells = _read(path)
    if not cells or "scale_title" not in cells[0]:
        raise DataError(f"{path}: not a table of edgebench. Make tables with: snakemake tables")
    remarks = [remark for cell in cells for remark in _remarks(cell)]
    letters = {remark: footnote_letter(index) for index, remark in enumerate(dict.fromkeys(remarks))}
    heading = Text(cells[0]["title"], "bold")
    for columns in _parts(cells, letters, console.width):
        console.print(heading)
        console.print(_part(cells, columns, letters))
        heading = Text("Further columns", "bold")
    for remark, letter in letters.items():
        console.print(Text(f"{_raised(letter)} {remark}", "dim"))
    claims = path.with_suffix(".claims.csv")
    for line in _read(claims) if claims.is_file() else []:
        console.print(Text(f"{line['status']:>13}", _STYLE.get(line["status"], "dim")), Text(_claim(line)))
    seeds = max((cell["seeds"] for cell in cells), key=len).replace(";", ", ")
    counts = sorted({int(cell["n_images"]) for cell in cells if cell["n_images"]})
    images = " to ".join(dict.fromkeys(str(each) for each in (*counts[:1], *counts[-1:])))
    console.print(
        f"Scale {cells[0]['scale']} ({cells[0]['scale_title']}), {images} images, seeds {seeds}.", markup=False
    )
    if cells[0]["comparable"] == "no":
        console.print("The reproduced numbers are not comparable with the published ones.", style="yellow")


def _parts(cells: list[dict[str, str]], letters: Letters, width: int) -> list[list[str]]:
    """The columns of each part, as many as `width` holds beside the labels."""
    labels = min(LABEL_WIDTH, max(len(cell["label"]) for cell in cells))
    parts: list[list[str]] = []
    room = 0
    for column in dict.fromkeys(cell["column"] for cell in cells):
        texts = [_numbers(cell, letters) for cell in cells if cell["column"] == column]
        words = _heading(cells, column).split()  # headings and verdicts may be broken, numbers not
        needed = max(*(len(word) for word in words), *(text.cell_len for text in texts)) + BORDER
        if needed > room:
            parts.append([])
            room = max(width - labels - BORDER - 1, needed)
        parts[-1].append(column)
        room -= needed
    return parts


def _part(cells: list[dict[str, str]], columns: list[str], letters: Letters) -> RichTable:
    """Every row with some of its columns."""
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable()
    shown.add_column("Method", max_width=LABEL_WIDTH)
    for column in columns:
        shown.add_column(_heading(cells, column), justify="right")
    section = ""
    for row in dict.fromkeys(cell["row"] for cell in cells):
        of_row = {cell["column"]: cell for cell in cells if cell["row"] == row}
        first = next(iter(of_row.values()))
        if (title := first.get("group_title", "")) != section:
            section = title
            shown.add_section()
            shown.add_row(Text(title, "bold"))
        reproduced = any(cell["value"] for cell in of_row.values())
        texts = [_cell(of_row[column], letters) for column in columns]
        shown.add_row(Text(first["label"]), *texts, style="" if reproduced else "dim")
    return shown


def _heading(cells: list[dict[str, str]], column: str) -> str:
    from edgebench.report.columns import column_title

    printed = any(cell["published"] for cell in cells if cell["column"] == column)
    return column_title(column) + (" (paper)" if printed else "")


def _remarks(cell: dict[str, str]) -> list[str]:
    return list(filter(None, cell.get("footnotes", "").split(SEPARATOR)))


def _raised(letters: str) -> str:
    """Letters above the line; Unicode has no such q in most fonts."""
    return letters.translate(str.maketrans("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ"))


def _cell(cell: dict[str, str], letters: Letters) -> Text:
    text = _numbers(cell, letters)
    if cell["verdict"]:
        text.append(f" {cell['verdict']}", _STYLE.get(cell["verdict"], "dim"))
    return text


def _numbers(cell: dict[str, str], letters: Letters) -> Text:
    from rich.text import Text

    from edgebench.report.columns import number

    value, spread, published = (_number(cell[name]) for name in ("value", "spread", "published"))
    fine = cell.get("combined") == "spread"
    text = Text(number(value, cell["column"], fine=fine))
    if spread is not None:
        text.append(f" ±{number(spread, cell['column'], fine=fine)}")
    if published is not None:
        marks = _raised(",".join(sorted(letters[remark] for remark in _remarks(cell))))
        text.append(f" ({number(published, cell['column'])}){marks}", "dim")
    return text


def _claim(line: dict[str, str]) -> str:
    if not line["difference"]:
        return line["claim"]
    from edgebench.report.claims import decimals

    n = decimals(float(line["left"]), float(line["right"]))
    interval = f" [{float(line['low']):+.{n}f}, {float(line['high']):+.{n}f}]" if line["low"] else ""
    return f"{line['claim']}: {float(line['difference']):+.{n}f}{interval}"


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(f"{path}: no such table. Make it with: snakemake {path}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a table of edgebench. Make tables with: snakemake tables") from None


def _number(text: str) -> float | None:
    return float(text) if text else None
