"""Commands for people, and those that the workflow calls (`run`, `table`, ...)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.doctor import doctor
from edgebench.cli.evaluate import app as evaluate_app
from edgebench.cli.export import app as export_app
from edgebench.cli.fetch import fetch
from edgebench.cli.options import Root
from edgebench.cli.plan import plan
from edgebench.cli.predict import app as predict_app
from edgebench.cli.publish import publish, pull
from edgebench.cli.refine import refine
from edgebench.cli.share import card, crate
from edgebench.cli.status import status
from edgebench.cli.web import app as web_app

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    help="""Rebuild MEMO, DiffDIS and TRACE from data to printed table.

    First steps: `edgebench doctor` checks this machine, `make demo` makes every table on drawn scenes in
    minutes, `edgebench plan --scale paper` says what the real thing costs. Tables are made by Snakemake:
    `snakemake -n tables --config scale=mini` shows what would run.
    """,
)
app.command()(doctor)
app.command()(fetch)
app.command()(plan)
app.command()(publish)
app.command()(pull)
app.command()(status)
app.command()(card)
app.command()(crate)
app.add_typer(predict_app, name="predict")
app.command()(refine)
app.command("app")(web_app)
app.add_typer(export_app, name="export")
app.add_typer(evaluate_app, name="evaluate", help="Score edges, masks and objects of any method as the papers do.")

SpecFile = Annotated[Path, typer.Argument(help="Plan file below results/plan, written by Snakemake.")]


@app.command()
def show(
    tables: Annotated[list[Path], typer.Argument(help="Tables (.csv files) or folders of them, below results/tables.")],
) -> None:
    """Print finished tables, reproduced beside published, and whether the paper's claims hold.

    Example: `edgebench show results/tables/demo`
    """
    from edgebench.errors import DataError
    from edgebench.report.terminal import print_table

    for given in tables:
        files = [file for file in sorted(given.rglob("*.csv")) if not file.name.endswith(".claims.csv")]
        if given.is_dir() and not files:
            raise DataError(f"{given}: holds no table. Make them with `snakemake tables`.")
        for table in files if given.is_dir() else [given]:
            print_table(table)


@app.command(rich_help_panel="Called by Snakemake")
def run(
    spec: SpecFile,
    threads: Annotated[int, typer.Option(min=1, help="Processor cores to use.")] = 1,
    part: Annotated[
        str | None,
        typer.Option(help="For jobs that share a run: `begin`, then `1of4` to `4of4` side by side, then `gather`."),
    ] = None,
) -> None:
    """Carry out one planned run; an interrupted one goes on where it stood."""
    from edgebench.stages.parts import Part
    from edgebench.stages.run import begin, carry_out, carry_out_part, gather_parts, keep_quiet

    keep_quiet(spec)
    if part is None:
        carry_out(spec, threads)
    elif part == "begin":
        begin(spec)
    elif part == "gather":
        gather_parts(spec, threads)
    else:
        carry_out_part(spec, Part.read(part), threads)


@app.command(rich_help_panel="Called by Snakemake")
def table(spec: SpecFile) -> None:
    """Make a table in all formats from finished runs."""
    from edgebench.stages.report import make_table

    make_table(spec)


@app.command(rich_help_panel="Called by Snakemake")
def figure(
    name: Annotated[
        str, typer.Argument(help="One of the figures that its experiment names, such as precision_recall.")
    ],
    spec: SpecFile,
) -> None:
    """Draw a figure from finished runs."""
    from edgebench.stages.report import make_figure

    make_figure(name, spec)


@app.command(rich_help_panel="Called by Snakemake")
def page(
    collected: Annotated[Path, typer.Argument(help="Page of Snakemake's HTML report.")],
    report: Annotated[Path, typer.Argument(help="The finished page, below results/report.")],
) -> None:
    """Make a page of the HTML report light enough to mail."""
    from edgebench.report.page import finish_page

    finish_page(collected, report)


@app.command(rich_help_panel="Called by Snakemake")
def index(root: Root = Path(".")) -> None:
    """Write `results/index.tsv`: one line per finished run."""
    from edgebench.report.index import write_index

    write_index(root)
