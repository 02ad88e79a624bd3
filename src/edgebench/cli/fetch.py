"""`edgebench fetch`: one data set or released checkpoint, checked."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgebench.cli.options import Root, workbench
from edgebench.errors import ConfigError, DataError, nearest
from edgebench.files import read_json
from edgebench.plan.runs import is_pinned

if TYPE_CHECKING:
    from edgebench.plan.definitions import Checkpoint, Dataset
    from edgebench.plan.workbench import Workbench


def fetch(
    name: Annotated[str | None, typer.Argument(help="A file below config/datasets or config/checkpoints.")] = None,
    mirror: Annotated[
        str | None,
        typer.Option(help="Folder, address or single file to try before the public ones.", metavar="PATH_OR_URL"),
    ] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="You have read the terms and accept them.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Files at a time; of one server at most four.")] = 4,
    listing: Annotated[
        bool, typer.Option("--list", help="List all data sets and checkpoints: size, licence, whether they are here.")
    ] = False,
    root: Root = Path("."),
) -> None:
    """Fetch a data set or a released checkpoint and check every file: size, SHA-256 and image header.

    It lands where the repository's workflow looks for it, so that `snakemake` does not fetch it again. Interrupted,
    it goes on where it stood; damaged files are set aside and tried from the next mirror. Archives are unpacked; a
    folder given for them holds the archives or what was unpacked from them. MEMO's released weights are converted to
    a file that `edgebench predict` reads. Where a definition does not say which content it means, the lines that pin
    it are printed.

    Examples:
        edgebench fetch --list

        edgebench fetch bsds500

        edgebench fetch bsds500 --mirror /data/BSDS500

        edgebench fetch memo_bsds_early
    """
    from edgebench.plan.definitions import Checkpoint
    from edgebench.stages.run import carry_out

    bench = workbench(root, None)
    if listing:
        return print_list(bench)
    if name is None:
        raise ConfigError(
            "Name a data set or a checkpoint: `edgebench fetch NAME`. `edgebench fetch --list` shows all."
        )
    definition: Dataset | Checkpoint
    if name in bench.names("checkpoints"):
        definition, runs = bench.checkpoint(name), bench.checkpoint_runs(name)
    elif name in bench.names("datasets"):
        definition, runs = bench.dataset(name), [bench.fetch_run(name)]
    else:
        known = [*bench.names("datasets"), *bench.names("checkpoints")]
        raise ConfigError(f"{name}: neither a data set nor a released checkpoint.{nearest(name, known)}")
    print(f"{definition.title}. Licence: {definition.licence}. {definition.terms}")
    if mirror is not None and "://" not in mirror:
        mirror = str(Path(mirror).absolute())  # the person's own, wherever the repository is
    with chdir(bench.root):  # folders of runs are named from there
        run = runs[0]
        if _is_unknown(definition, mirror) and Path(run.record).exists():
            # Its content is not known beforehand, so other files would pass for the same run.
            raise DataError(
                f"{name}: was fetched already, into {root / run.folder}. To take other files, delete that folder and "
                f"the runs that were made from it."
            )
        bench.write_spec(run, own_mirror=mirror, accepted=accept_terms)
        record = read_json(carry_out(Path(run.spec_file), jobs) / "run.json")
        folder = root / run.folder
        if failed := record.get("n_failed"):
            print(
                f"{name}: {record['n_images']} images checked, in {folder}; {failed} failed, see failures.jsonl there"
            )
        else:
            print(f"{name}: complete and checked, in {folder}")
        for converted in runs[1:]:
            bench.write_spec(converted)
            carry_out(Path(converted.spec_file), jobs)
            print(f"{name}: converted, in {root / converted.folder}")
    kind = "checkpoints" if isinstance(definition, Checkpoint) else "datasets"
    if not is_pinned(definition.model_dump()) and ("contents" in record or "archives" in record):
        print(f"{name}: not pinned, its owners may change it. To have these very files everywhere, write into")
        print(f"config/{kind}/{name}.yaml\n\n{_pinning(definition, record)}")
        print(f"and type `edgebench fetch {name} --mirror {folder}`, which takes them from here.")


def _is_unknown(definition: Dataset | Checkpoint, mirror: str | None) -> bool:
    """Whether a fetch may bring what the definition does not tell from other content."""
    from edgebench.plan.definitions import Checkpoint

    if isinstance(definition, Checkpoint):
        return mirror is not None
    return definition.source.local or (bool(definition.source.archives) and mirror is not None)


def print_list(bench: Workbench) -> None:
    """Print all data sets and checkpoints with their size, licence and gate, and whether they are here."""
    from rich.console import Console
    from rich.table import Table

    from edgebench.plan.definitions import Dataset
    from edgebench.report.estimate import megabytes

    console = Console()
    for title, kind in (("Data sets", "datasets"), ("Released checkpoints", "checkpoints")):
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for column in ("name", "size", "here", "content", "before", "licence"):
            table.add_column(column, justify="right" if column == "size" else "left", no_wrap=column != "licence")
        for name in bench.names(kind):
            definition: Dataset | Checkpoint
            if kind == "datasets":
                definition, run = bench.dataset(name), bench.fetch_run(name)
            else:
                definition, run = bench.checkpoint(name), bench.checkpoint_run(name)
            if (bench.root / run.record).exists():
                here = "yes"
            else:
                here = "in part" if (bench.root / run.folder).exists() else "no"
            own = isinstance(definition, Dataset) and definition.source.local
            content = "your folder" if own else "pinned" if is_pinned(definition.model_dump()) else "not pinned"
            size = megabytes(definition.bytes / 1e6) if definition.bytes else "?"
            before = {"none": "", "accept": "accept", "manual": "get it"}[definition.gate]
            licence = definition.licence.partition(";")[0].partition(" (")[0]  # the rest is printed by `fetch NAME`
            table.add_row(name, size, here, content, before, licence)
        console.print(table)
    console.print(
        "pinned: the definition admits one content only. accept: read the terms, which `edgebench fetch NAME` prints, "
        "and accept them with --accept-terms. get it: its owners give it to people; then name its folder with --mirror."
    )


def _pinning(definition: Dataset | Checkpoint, record: dict[str, Any]) -> str:
    """The lines of a definition that admit only the files that were fetched."""
    import yaml

    source = definition.source.model_dump(exclude_none=True, exclude_defaults=True)
    if "archives" in source:
        found = {each["file"]: each for each in record["archives"]}
        for archive in source["archives"]:
            archive["bytes"] = found[archive["file"]]["bytes"]
            if archive.pop("unpinned", None):
                archive["sha256"] = found[archive["file"]]["sha256"]
        return str(yaml.safe_dump({"source": source}, sort_keys=False, width=1000))
    if "hub" in source and record["commit"]:
        source["hub"]["revision"] = record["commit"]
    files = {each["path"]: {"sha256": each["sha256"], "bytes": each["bytes"]} for each in record["contents"]}
    return str(yaml.safe_dump({"source": source, "files": files}, sort_keys=False, width=1000))
