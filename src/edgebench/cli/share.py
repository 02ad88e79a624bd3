"""`edgebench card` and `edgebench crate`: what goes beside weights and tables that are given to others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.options import Root, workbench


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
