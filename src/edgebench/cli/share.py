"""`edgebench card` and `edgebench crate`: what goes beside weights and tables that are given to others."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.options import Root, Set, known_scale, workbench


def card(
    run: Annotated[str, typer.Argument(help="A finished training: its folder, its name or its id.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; printed when left out.", metavar="README.md")
    ] = None,
    root: Root = Path("."),
) -> None:
    """Write the model card of a finished training: what it is, its numbers, settings, cost, terms and citations.

    Everything is taken from the records of runs, the numbers from all finished evaluations that used the weights.

    Example: `edgebench card results/runs/finetune/memo-bsds500-... -o README.md`
    """
    from edgebench.files import write_text
    from edgebench.report.card import model_card
    from edgebench.report.lineage import find_finished

    found, runs = find_finished(root, run)
    text = model_card(found.record, runs, workbench(root, None), root / found.folder)
    if output is None:
        print(text, end="")
    else:
        write_text(output, text)


def crate(
    table: Annotated[str, typer.Argument(help="A finished table, such as `memo/main_bsds`.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder or a .zip file; must not exist.", metavar="FOLDER_OR_ZIP")
    ],
    scale: Annotated[str | None, typer.Option(help="demo, mini or paper.", show_default="that of config.yaml")] = None,
    full: Annotated[bool, typer.Option("--full", help="Copy weights and predictions, too.")] = False,
    author: Annotated[str, typer.Option(help="Who ran the workflow.", show_default="git's user.name")] = "",
    changes: Set = None,
    root: Root = Path("."),
) -> None:
    """Pack a finished table as a Workflow Run RO-Crate: numbers, definitions, records, and an action for each run.

    What is large is named by SHA-256 and size; data sets and released weights are never copied, nor
    runs that keep either in another form.

    Example: `edgebench crate memo/main_bsds --scale demo -o main_bsds.zip`
    """
    from edgebench.report.crate import write_crate
    from edgebench.report.lineage import finished_runs

    bench = workbench(root, changes)
    planned = bench.find_table(known_scale(bench, scale or bench.config.scale), table)
    who = author or _git_user(root)
    print(f"{write_crate(bench.root, planned, finished_runs(bench.root), output, full, who)}: written")


def _git_user(root: Path) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "config", "user.name"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
