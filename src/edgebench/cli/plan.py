"""`edgebench plan`: what would run, what it would cost, which data it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.options import Root, Set, tables_of, workbench
from edgebench.files import read_json
from edgebench.plan.runs import Run
from edgebench.plan.tables import Table

_SAID = {"done": "done", "build": "to do", "refused": "error", "pull": "pull", None: "–"}


def plan(
    target: Annotated[
        str | None,
        typer.Argument(help="A table (`memo/main_bsds`) or a paper (`memo`); all that the scale makes when left out."),
    ] = None,
    scale: Annotated[str | None, typer.Option(help="demo, mini or paper.", show_default="that of config.yaml")] = None,
    changes: Set = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            help="build, pull (released weights and shared runs alone) or auto (shared runs, else built).",
            show_default="that of config.yaml",
        ),
    ] = None,
    runs: Annotated[bool, typer.Option("--runs", help="List every run.")] = False,
    root: Root = Path("."),
) -> None:
    """Say what would run before anything runs: runs by role, GPU-hours, disk; data and checkpoints with terms.

    GPU-hours come from the records of finished runs where there are any, otherwise from the estimates that
    the recipes declare; the basis is printed with each number.

    Examples:
        edgebench plan --scale paper

        edgebench plan memo/main_bsds --scale mini --set finetune.steps=500

        edgebench plan memo/main_bsds --checkpoints pull
    """
    from rich.console import Console

    from edgebench.report.estimate import estimate, render

    bench = workbench(root, changes, checkpoints)
    tables = tables_of(bench, scale or bench.config.scale, target)
    wanted = list({run.id: run for table in tables for run in table.runs}.values())
    # With what is shared, many a run need not be made; without, everything behind the tables is counted.
    outlook = bench.outlook(wanted if bench.config.checkpoints == "build" else _opened(tables), root)
    records = [read_json(path) for path in sorted((root / "results" / "runs").glob("*/*/run.json"))]
    console = Console()
    console.print(f"[bold]{target or 'All tables'}[/bold] at scale {scale or bench.config.scale}")
    if runs:
        for run in wanted:
            state = "done" if (root / run.record).exists() else outlook.states.get(run.id)
            console.print(f"  {_SAID[state]:5}  {run.role}: {run.name}", highlight=False)
    made = [run for run in wanted if outlook.states.get(run.id) in ("done", "build", "refused")]
    console.print(render(estimate([run.spec() for run in made], records)))
    if shared := outlook.of("pull"):
        console.print(f"{len(shared)} runs are shared and would be pulled (`edgebench pull`).", highlight=False)
    for run in outlook.of("refused"):
        console.print(
            f"[red]An error[/red] with checkpoints: pull, which starts no training: {run.folder} is neither shared nor "
            f"taken from released weights. `checkpoints: auto` trains it.",
            highlight=False,
        )


def _opened(tables: list[Table]) -> list[Run]:
    """Runs whose files the tables and their figures open."""
    figures = [(table, figure) for table in tables for figure in [None, *table.experiment.figures]]
    return [run for table, figure in figures for run in table.reads(figure)]

