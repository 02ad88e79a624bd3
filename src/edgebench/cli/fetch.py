"""`edgebench fetch`: one data set or released checkpoint, checked."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path
from typing import Annotated, Any

import typer

from edgebench.cli.options import Root, workbench
from edgebench.errors import ConfigError, DataError, nearest
from edgebench.files import read_json
from edgebench.plan.definitions import Checkpoint, Dataset
from edgebench.plan.runs import is_pinned


def fetch(
    name: Annotated[str, typer.Argument(help="A file below config/datasets or config/checkpoints.")],
    mirror: Annotated[
        str | None,
        typer.Option(help="Folder, address or single file to try before the public ones.", metavar="PATH_OR_URL"),
    ] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="You have read the terms and accept them.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Files at a time.")] = 4,
    root: Root = Path("."),
) -> None:
    """Fetch a data set or a released checkpoint and check every file: size, SHA-256 and image header.

    It lands where the repository's workflow looks for it, so that `snakemake` does not fetch it again. Interrupted,
    it goes on where it stood; damaged files are set aside and tried from the next mirror. MEMO's released weights
    are converted to a file that `edgebench predict` reads. Of a checkpoint whose definition does not say which
    content it means, the lines that pin it are printed.

    Examples:
        edgebench fetch bsds500

        edgebench fetch bsds500 --mirror /data/BSDS500

        edgebench fetch memo_bsds_early
    """
    from edgebench.stages.run import carry_out

    bench = workbench(root, None)
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
        unknown = definition.source.local if isinstance(definition, Dataset) else mirror is not None
        if unknown and Path(run.record).exists():
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
    if isinstance(definition, Checkpoint) and not is_pinned(definition.model_dump()):
        print(f"{name}: not pinned, its owners may change it. To have these very files everywhere, write into")
        print(f"config/checkpoints/{name}.yaml\n\n{_pinning(definition, record)}")
        print(f"and type `edgebench fetch {name} --mirror {folder}`, which takes them from here.")


def _pinning(definition: Checkpoint, record: dict[str, Any]) -> str:
    """The lines of a definition that admit only the files that were fetched."""
    import yaml

    source = definition.source.model_dump(exclude_none=True, exclude_defaults=True)
    if "hub" in source and record["commit"]:
        source["hub"]["revision"] = record["commit"]
    files = {each["path"]: {"sha256": each["sha256"], "bytes": each["bytes"]} for each in record["contents"]}
    return str(yaml.safe_dump({"source": source, "files": files}, sort_keys=False, width=1000))
