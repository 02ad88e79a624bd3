"""`edgebench plan`: what would run, what it would cost, which data it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.options import ALL, Root, Set, tables_of, workbench
from edgebench.files import read_json

_SAID = {"done": "done", "build": "to do", "refused": "error", "pull": "pull", None: "–"}


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
        typer.Option(
            help="build, pull (released weights and shared runs alone) or auto (what is shared, the rest built).",
            show_default="that of config.yaml",
        ),
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

    from edgebench.plan.tables import by_paper, opened_by, runs_of
    from edgebench.report.estimate import estimate, render

    bench = workbench(root, changes, checkpoints)
    chosen = scale or bench.config.scale
    tables = tables_of(bench, chosen, target)
    wanted = runs_of(tables)
    # Of what is shared many a run is never made; without, everything behind the tables is counted.
    outlook = bench.outlook(wanted if bench.config.checkpoints == "build" else opened_by(tables), root)
    records = [read_json(path) for path in sorted((root / "results" / "runs").glob("*/*/run.json"))]
    console = Console()
    console.print(f"[bold]{target if target not in (None, ALL) else 'All tables'}[/bold] at scale {chosen}")
    if runs:
        for run in wanted:
            state = "done" if (root / run.record).exists() else outlook.states.get(run.id)
            console.print(f"  {_SAID[state]:5}  {run.role}: {run.name}", highlight=False)
    made = {run.id: run for run in wanted if outlook.states.get(run.id, "pull") != "pull"}
    papers = {paper: [run.id for run in runs_of(some) if run.id in made] for paper, some in by_paper(tables).items()}
    console.print(render(estimate([run.spec() for run in made.values()], records, papers)))
    if shared := outlook.of("pull"):
        console.print(f"{len(shared)} runs are shared and would be pulled (`edgebench pull`).", highlight=False)
    for run in outlook.of("refused"):
        console.print(
            f"[red]Error[/red]: checkpoints: pull starts no training, but {run.folder} is neither shared nor taken "
            f"from released weights. `checkpoints: auto` trains it.",
            highlight=False,
        )
