"""`edgebench plan`: what would run, what it would cost, which data it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.options import Root, Set, workbench
from edgebench.errors import ConfigError, nearest
from edgebench.files import read_json
from edgebench.plan.runs import Run
from edgebench.plan.tables import Table
from edgebench.plan.workbench import Workbench


def plan(
    target: Annotated[
        str | None,
        typer.Argument(help="A table (`memo/main_bsds`) or a paper (`memo`); all that the scale makes when left out."),
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
    wanted = _runs(bench, scale or bench.config.scale, target)
    records = [read_json(path) for path in sorted((root / "results" / "runs").glob("*/*/run.json"))]
    console = Console()
    console.print(f"[bold]{target or 'All tables'}[/bold] at scale {scale or bench.config.scale}")
    if runs:
        for run in wanted:
            state = "done" if (root / run.record).exists() else "to do"
            console.print(f"  {state:5}  {run.role}: {run.name}", highlight=False)
    console.print(render(estimate([run.spec() for run in wanted], records)))


def _runs(bench: Workbench, scale: str, target: str | None) -> list[Run]:
    if scale not in bench.names("scales"):
        raise ConfigError(f"--scale {scale}: there is no such scale.{nearest(scale, bench.names('scales'))}")
    planned = bench.plan(scale)
    if target is None:
        return _runs_of(planned.targets())
    known = bench.names("experiments")
    tables = [planned.table(name) for name in known if target in (name, name.split("/")[0])]
    if not tables:
        raise ConfigError(f"{target}: there is no such table or paper.{nearest(target, known)}")
    return _runs_of(tables)


def _runs_of(tables: list[Table]) -> list[Run]:
    runs = [run for table in tables for each in table.evaluations for run in [*each.upstream(), each]]
    return list({run.id: run for run in runs}.values())
