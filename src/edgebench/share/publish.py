"""Sharing finished runs: packed, described, handed to DVC and pushed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edgebench.errors import DataError, EdgebenchError
from edgebench.files import read_json, sha256_file, write_text
from edgebench.plan.attempts import UNFINISHED
from edgebench.plan.catalogue import FOLDER, Artifact, read_catalogue, withheld
from edgebench.plan.runs import Run
from edgebench.plan.tables import Table
from edgebench.share.archive import differences, pack, remove_parts
from edgebench.share.catalogue import share_table, write_catalogue
from edgebench.share.dvc import Dvc, cached, locked
from edgebench.share.manifest import Archive, make_manifest, origins, read_manifest


@dataclass
class Published:
    """What a call of `publish` did.

    Attributes:
        added: Runs that were not shared before.
        known: Runs that were.
        withheld: Runs that are not shared, and whose copies they are.
        tables: Tables whose numbers were copied.
        stale: Tables that are not made, or not of these runs.
        bytes: Size of the archives of `added`.
        not_pushed: Why the archives did not get to the remote; empty when they did.
    """

    added: list[Run] = field(default_factory=list)
    known: list[Run] = field(default_factory=list)
    withheld: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    stale: list[Table] = field(default_factory=list)
    bytes: int = 0
    not_pushed: str = ""


def cautions(runs: Iterable[Run]) -> list[str]:
    """What a person should consider before giving runs to others: terms of owners, and work of somebody else."""
    gated: dict[str, str] = {}
    brought: list[str] = []
    for run in runs:
        for origin in origins(run):
            if origin.gate != "none":
                gated[origin.name] = f"{origin.title}. Licence: {origin.licence}. {origin.terms}"
        if str(run.settings.get("method", "")).startswith("brought"):
            brought.append(run.folder)
    lines = [f"These runs derive from {name}, which has terms: {terms}" for name, terms in gated.items()]
    return lines + [f"{folder} holds what somebody else computed." for folder in dict.fromkeys(brought)]


def publish(root: Path, runs: list[Run], tables: list[Table], push: bool = True) -> Published:
    """Share finished runs and the numbers of tables.

    Each step can be taken again: what is packed, described and known to DVC stays so, whenever the call is killed.

    Args:
        root: The repository.
        runs: What is shared, but for copies of what belongs to others.
        tables: Tables whose numbers are copied into git.
        push: Whether the archives go to DVC's remote.

    Raises:
        DataError: a run is not finished, or was shared before with other bytes. Nothing was changed then.
        EdgebenchError: an archive cannot be written, or DVC is not there.
    """
    done = Published(withheld={run.folder: whose for run in runs if (whose := withheld(run))})
    shared = read_catalogue(root)
    wanted = [run for run in runs if run.folder not in done.withheld]
    # What was pulled by others only in part is shared as it is.
    here = [run for run in wanted if (root / run.record).exists() or run.folder not in shared]
    _require_finished(root, here)
    with locked(root) as dvc:
        shared = read_catalogue(root)
        _require_unchanged(root, [(run, shared[run.folder]) for run in here if run.folder in shared])
        for run in wanted:
            artifact = Artifact(run.role, run.name)
            if run in here:
                size = _prepare(root, run, artifact, shared=run.folder in shared)
            if run.folder in shared:
                done.known.append(run)
            else:
                done.added.append(run)
                done.bytes += size
        archives = [Artifact(run.role, run.name) for run in here]
        write_catalogue(root)  # before DVC reads it, which after a conflict it could not
        _track(dvc, archives)
        for table in tables:
            (done.tables if share_table(root, table) else done.stale).append(table)
        write_catalogue(root)
        if push:
            done.not_pushed = dvc.call("push", [each.pointer for each in archives])
    return done


def _require_finished(root: Path, runs: Iterable[Run]) -> None:
    unfinished = [run for run in runs if not (root / run.record).exists() or (root / run.folder / UNFINISHED).exists()]
    if unfinished:
        more = f" and {len(unfinished) - 1} more" if len(unfinished) > 1 else ""
        raise DataError(
            f"{unfinished[0].folder}{more}: not finished, so it cannot be shared. Make it with "
            f"`snakemake {unfinished[0].record}`."
        )


def _require_unchanged(root: Path, known: Iterable[tuple[Run, Artifact]]) -> None:
    """Check that runs which are shared already are still what was shared."""
    for run, artifact in known:
        found = differences(root / run.folder, read_manifest(root, artifact).contents)
        if found:
            raise DataError(
                f"mismatch: {run.folder} was shared with other bytes ({found[0]}). A run that is made again differs in "
                f"times at least. To keep what is shared, delete the folder and type `edgebench pull {run.name}`; to "
                f"share this one instead: `rm {artifact.manifest} {artifact.pointer}`, and publish again."
            )


def _prepare(root: Path, run: Run, artifact: Artifact, shared: bool) -> int:
    """See to it that the archive of a run and its manifest are there.

    Args:
        root: The repository.
        run: A finished run.
        artifact: Where its archive belongs.
        shared: Whether it was shared before, so that the folder is known to be what the manifest says.

    Returns:
        Size of the archive in bytes.
    """
    archive, folder = root / artifact.archive, root / run.folder
    remove_parts(archive.parent)
    known = read_manifest(root, artifact) if (root / artifact.manifest).is_file() else None
    # Not by the size alone: DVC would take a damaged archive for another one, and point to that.
    packed_before = known and archive.is_file() and _describe(archive) == known.archive
    if known and archive.is_file() and not packed_before and (root / artifact.pointer).is_file():
        (root / cached(root, artifact)).unlink(missing_ok=True)  # often the same file, which DVC would not take again
    if known and packed_before and (shared or not differences(folder, known.contents)):
        return known.archive.bytes
    record = read_json(root / run.record)
    if record.get("id") != run.id:
        raise DataError(f"{run.record}: is the record of run {record.get('id')}. Delete the folder and make it again.")
    files = pack(folder, archive)
    packed = _describe(archive)
    if not shared:
        write_text(root / artifact.manifest, make_manifest(run, record, files, packed).text())
    elif known and packed != known.archive:
        archive.unlink()
        raise DataError(f"{artifact.manifest}: the same files give another archive now. Restore it with git.")
    return packed.bytes


def _describe(archive: Path) -> Archive:
    return Archive(bytes=archive.stat().st_size, sha256=sha256_file(archive))


def _track(dvc: Dvc, artifacts: list[Artifact]) -> None:
    failed = dvc.call("add", [each.archive for each in artifacts])
    if failed:
        raise EdgebenchError(f"{FOLDER}: the archives are packed, but DVC did not take them. {failed}")
