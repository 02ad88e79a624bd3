"""`edgebench plan`: what would run, what it would cost, which data it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.options import ALL, Root, Set, tables_of, workbench
from edgebench.files import read_json
from edgebench.plan.tables import by_paper, runs_of


def plan(
    target: Annotated[
        str | None,
        typer.Argument(
            help="A table (`memo/main_bsds`), a paper (`memo`) or `all` that the scale makes, as when left out."
        ),
    ] = None,
    scale: Annotated[str | None, typer.Option(help="demo, mini or paper.", show_default="that of config.yaml")] = None,
    changes: Set = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(help="build or pull: train, or take released weights.", show_default="that of config.yaml"),
    ] = None,
    runs: Annotated[bool, typer.Option("--runs", help="List every run.")] = False,
    root: Root = Path("."),
) -> None:
    """Say what would run before anything runs: runs, GPU-hours, disk, downloads; data and checkpoints with terms.

    Totals stand by role and by paper; runs that papers share count once in the last line.

    GPU-hours come from the records of finished runs where there are any, otherwise from the estimates that
    the recipes declare; the basis is printed with each number.

    Examples:
        edgebench plan all --scale paper

        edgebench plan memo/main_bsds --scale mini --set finetune.steps=500

        edgebench plan memo/main_bsds --checkpoints pull
    """
    from rich.console import Console

    from edgebench.report.estimate import estimate, render

    bench = workbench(root, changes, checkpoints)
    chosen = scale or bench.config.scale
    tables = tables_of(bench, chosen, target)
    wanted = runs_of(tables)
    records = [read_json(path) for path in sorted((root / "results" / "runs").glob("*/*/run.json"))]
    console = Console()
    console.print(f"[bold]{target if target not in (None, ALL) else 'All tables'}[/bold] at scale {chosen}")
    if runs:
        for run in wanted:
            state = "done" if (root / run.record).exists() else "to do"
            console.print(f"  {state:5}  {run.role}: {run.name}", highlight=False)
    papers = {paper: [run.id for run in runs_of(of_paper)] for paper, of_paper in by_paper(tables).items()}
    console.print(render(estimate([run.spec() for run in wanted], records, papers)))
