"""`edgebench publish` and `edgebench pull`: finished runs for others, through DVC."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebench.cli.options import Root, Set, tables_of, workbench
from edgebench.errors import ConfigError, DataError, EdgebenchError

if TYPE_CHECKING:
    from edgebench.plan.runs import Run
    from edgebench.plan.tables import Table
    from edgebench.plan.workbench import Workbench

Target = Annotated[
    str, typer.Argument(help="A table (`memo/main_bsds`), a paper (`memo`) or a run (its name, folder or id).")
]
AtScale = Annotated[
    str | None, typer.Option("--scale", help="Of the table: demo, mini or paper.", show_default="that of config.yaml")
]
_ID = re.compile(r"(?:.*-)?([0-9a-f]{10})")


def publish(
    target: Target,
    scale: AtScale = None,
    push: Annotated[bool, typer.Option(help="Send the archives to DVC's remote.")] = True,
    changes: Set = None,
    root: Root = Path("."),
) -> None:
    """Share finished runs, so that others pull what took hours to make.

    Each run behind a table (or the one run that is named) becomes one archive, which DVC keeps and pushes, and a
    manifest with the SHA-256 of every file, the code and the terms that bear on it. The table's numbers are copied
    beside them. Data sets, annotations and the authors' weights are never among them: everybody fetches these from
    their owners. What to commit is said at the end.

    Examples:
        edgebench publish memo/main_bsds --scale paper

        edgebench publish finetune/memo-bsds500-8c17b5d2b1 --no-push
    """
    from edgebench.plan.catalogue import withheld
    from edgebench.report.estimate import megabytes
    from edgebench.share.publish import cautions
    from edgebench.share.publish import publish as share

    bench = workbench(root, changes)
    tables, runs = _resolve(bench, target, scale)
    for caution in cautions(run for run in runs if not withheld(run)):
        print(f"Consider: {caution}")
    done = share(bench.root, runs, tables, push)
    for run in done.added:
        print(f"published  {run.role}/{run.name}")
    size = megabytes(done.bytes / 1e6)
    print(f"{len(done.added)} runs are new in the catalogue ({size}), {len(done.known)} were in it.")
    for folder, whose in done.withheld.items():
        print(f"not shared: {folder}: {whose}.")
    for table in done.stale:
        print(f"not shared: the table {table.name}, which is not made of these runs: `snakemake {table.files[0]}`.")
    if done.not_pushed:
        raise EdgebenchError(
            f"everything is packed and in the catalogue, but not all of it was pushed. {done.not_pushed} Then type the "
            f"same command again."
        )
    print(
        ("Pushed. " if push else "Not pushed: `dvc push` does it. ")
        + f"For others to find it: `git add dvc.yaml artifacts && git commit -m 'Share {target}' && git push`."
    )


def pull(
    target: Target,
    scale: AtScale = None,
    changes: Set = None,
    root: Root = Path("."),
) -> None:
    """Bring shared runs here instead of making them, checked file by file.

    Says of each run whether it is pulled, here already, missing or a mismatch: another content than was shared, which
    is never used. Archives that a bare `dvc pull` brought are used without the network.

    Examples:
        edgebench pull memo/main_bsds --scale paper

        edgebench pull memo-bsds500-8c17b5d2b1
    """
    from edgebench.plan.catalogue import read_catalogue
    from edgebench.plan.tables import runs_of
    from edgebench.share.catalogue import is_restorable, restore_table
    from edgebench.share.pull import pull as bring

    bench = workbench(root, changes)
    catalogue = read_catalogue(bench.root)
    by_id = {artifact.id: artifact for artifact in catalogue.values()}
    tables: list[Table] = []
    missing: list[Run] = []
    if found := _ID.fullmatch(target.rstrip("/")):
        if found[1] not in by_id:
            raise ConfigError(f"{target}: no such run is shared (artifacts/). `edgebench pull TABLE` says which are.")
        wanted = [by_id[found[1]]]
    else:
        tables, runs = _resolve(bench, target, scale)
        wanted = [catalogue[run.folder] for run in runs if run.folder in catalogue]
        missing = [run for run in runs if run.folder not in catalogue and not (bench.root / run.record).exists()]
    failed, own = [], set()
    for outcome in bring(bench.root, wanted):
        line = f"{outcome.state:9}  {outcome.artifact.role}/{outcome.artifact.name}"
        print(f"{line}: {outcome.note}" if outcome.note else line)
        failed += [outcome] if outcome.failed else []
        own |= {outcome.artifact.folder} if outcome.state == "made here" else set()
    for run in missing:
        why = "data and released weights come from their owners" if run.stage == "fetch" else "not shared"
        print(f"{'missing':9}  {run.role}/{run.name}: {why}; snakemake brings or makes it when it is needed")
    if failed:
        raise DataError(
            f"{len(failed)} of {len(wanted)} shared runs did not come, the first is {failed[0].artifact.folder} "
            f"({failed[0].state}). Nothing of them is used. To make them here instead: `snakemake ... --config "
            f"checkpoints=build`."
        )
    for table in (each for each in tables if is_restorable(bench.root, each)):
        if any(run.folder in own for run in runs_of([table])):
            print(
                f"not pulled the table {table.files[0]}: some of its runs were made here; snakemake makes it of these"
            )
        else:
            restore_table(bench.root, table)
            print(f"{'pulled':9}  the table {table.files[0]}")


def _resolve(bench: Workbench, target: str, scale: str | None) -> tuple[list[Table], list[Run]]:
    """Tables and runs that a person names."""
    from edgebench.plan.tables import runs_of

    if found := _ID.fullmatch(target.rstrip("/")):
        return [], [bench.find_run(Path(target).name if "-" in target else found[1])]
    tables = tables_of(bench, scale or bench.config.scale, target)
    return tables, runs_of(tables)
