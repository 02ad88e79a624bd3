"""`edgebench status`: what is done, running, waiting, failed, and what no longer fits the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.options import ALL, Root, Set, tables_of, workbench


def status(
    target: Annotated[
        str | None,
        typer.Argument(help="A table (`memo/main_bsds`), a paper (`memo`) or `all`, as when left out."),
    ] = None,
    scale: Annotated[str | None, typer.Option(help="demo, mini or paper.", show_default="that of config.yaml")] = None,
    changes: Set = None,
    checkpoints: Annotated[
        str | None, typer.Option(help="As for `edgebench plan`.", show_default="that of config.yaml")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every entry of every list.")] = False,
    root: Root = Path("."),
) -> None:
    """Say where everything stands, during a workflow and after it; nothing is changed but `results/index.tsv`.

    Told are: what is at work (since when, where, how far), what failed, was killed or is damaged (with the end of its
    log and the command that repeats it), what waits, what is on disk but not as planned or planned no more, and the
    GPU-hours and disk used. Jobs on other machines are asked about through SLURM.

    Exit status: 0 all is done, 3 not yet, 1 something failed, was interrupted or is damaged, 2 a mistake in the call.

    Examples:
        edgebench status --scale demo

        edgebench status memo/main_bsds --json

        watch -n 10 edgebench status
    """
    from rich.console import Console

    from edgebench.files import pretty_json
    from edgebench.report import status_view
    from edgebench.report.index import write_index
    from edgebench.report.status import look
    from edgebench.stages.record import fingerprint

    bench = workbench(root, changes, checkpoints)
    chosen = scale or bench.config.scale
    tables = tables_of(bench, chosen, target)
    brought = [path.name for role in ("fetch", "released") for path in (root / "results/runs" / role).glob("*/")]
    fetched = {name: bench.find_fetched(name) is not None for name in brought}
    found = look(root, bench.plan(chosen), tables, fingerprint(), fetched)
    write_index(root)
    changed = bench.config.set if changes else None
    if json:
        asked = {"scale": chosen, "target": target or ALL}
        print(pretty_json(asked | status_view.as_data(found, root, changed)), end="")
    else:
        console = Console()
        console.print(f"[bold]{target if target not in (None, ALL) else 'All tables'}[/bold] at scale {chosen}")
        console.print(status_view.render(found, root, changed, everything), highlight=False, soft_wrap=True)
    raise typer.Exit(found.exit_status)
