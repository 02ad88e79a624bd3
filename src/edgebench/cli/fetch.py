"""`edgebench fetch`: one data set, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.options import Root, workbench
from edgebench.errors import DataError


def fetch(
    name: Annotated[str, typer.Argument(help="A data set: a file below config/datasets.")],
    mirror: Annotated[
        str | None,
        typer.Option(help="Folder or address to try before the public ones.", metavar="PATH_OR_URL"),
    ] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="You have read the terms and accept them.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Files at a time.")] = 4,
    root: Root = Path("."),
) -> None:
    """Fetch a data set and check every file: size, SHA-256 and image header.

    It lands where the workflow looks for it, so that `snakemake` does not fetch it again. Interrupted, it
    goes on where it stood; damaged files are set aside and tried from the next mirror.

    Examples:
        edgebench fetch bsds500

        edgebench fetch bsds500 --mirror /data/BSDS500
    """
    from edgebench.stages.run import carry_out

    bench = workbench(root, None)
    definition = bench.dataset(name)
    run = bench.fetch_run(name)
    print(f"{definition.title}. Licence: {definition.licence}. {definition.terms}")
    if definition.source.local and Path(run.record).exists():
        # Its content is not known beforehand, so other files would pass for the same data set.
        raise DataError(
            f"{name}: was fetched already, into {run.folder}. To take other files, delete that folder and the "
            f"runs that were made from it."
        )
    bench.write_spec(run, own_mirror=mirror, accepted=accept_terms)
    folder = carry_out(Path(run.spec_file), jobs)
    print(f"{name}: complete and checked, in {folder}")
