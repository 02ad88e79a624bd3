"""A finished table in the terminal."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from edgebench.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

_STYLE = {"match": "green", "holds": "green", "differs": "red", "does not hold": "red"}


def print_table(path: str | Path, console: Console | None = None) -> None:
    """Print a table from its csv, with its claims when their csv lies beside it.

    Raises:
        DataError: the file is missing or is not a table of edgebench.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = console or Console()
    path = Path(path)
    lines = _read(path)
    if not lines or "scale_title" not in lines[0]:
        raise DataError(f"{path}: not a table of edgebench. Make tables with: snakemake tables")
    from edgebench.report.tables import column_title, number

    columns = list(dict.fromkeys(line["column"] for line in lines))
    published = {column for column in columns if any(x["published"] for x in lines if x["column"] == column)}
    shown = Table(title=Text(lines[0]["title"], style="bold"), title_justify="left")
    shown.add_column("Method")
    for column in columns:
        shown.add_column(column_title(column), justify="right")
        if column in published:
            shown.add_column("paper", justify="right", style="dim")
    by_row: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        by_row.setdefault(line["row"], []).append(line)
    for cells in by_row.values():
        texts = [Text(cells[0]["label"])]
        for cell in cells:
            value, spread = _number(cell["value"]), _number(cell["spread"])
            text = number(value, cell["column"])
            texts.append(Text(f"{text} ±{number(spread, cell['column'])}" if spread is not None else text))
            if cell["column"] in published:
                paper = Text(number(_number(cell["published"]), cell["column"]))
                texts.append(paper.append(f" {cell['verdict']}", _STYLE.get(cell["verdict"], "dim")))
        shown.add_row(*texts)
    console.print(shown)
    for line in _read(claims) if (claims := path.with_suffix(".claims.csv")).is_file() else []:
        console.print(Text(f"{line['status']:>13}", _STYLE.get(line["status"], "dim")), Text(line["claim"]))
    seeds = max((line["seeds"] for line in lines), key=len).replace(";", ", ")
    images = "-".join(dict.fromkeys(sorted((line["n_images"] for line in lines if line["n_images"]), key=int)))
    console.print(
        f"Scale {lines[0]['scale']} ({lines[0]['scale_title']}), {images} images, seeds {seeds}.",
        markup=False,
    )
    if lines[0]["comparable"] == "no":
        console.print("The reproduced numbers are not comparable with the published ones.", style="yellow")


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
