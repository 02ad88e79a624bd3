"""Finished runs on disk, and which was made from which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebench.errors import DataError, EdgebenchError, nearest
from edgebench.files import read_json

Map = dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder, relative to the repository, and its record."""

    folder: str
    record: Map


def finished_runs(root: Path) -> dict[str, Finished]:
    """Finished runs below `results/runs` by id, by role and name; damaged records are left to `edgebench status`."""
    found = {}
    for path in sorted((root / "results" / "runs").glob("*/*/run.json")):
        try:
            record = read_json(path)
        except EdgebenchError:
            continue
        if isinstance(record, dict) and record.get("id") == path.parent.name[-10:]:
            found[record["id"]] = Finished(path.parent.relative_to(root).as_posix(), record)
    return found


def find_finished(root: Path, name: str) -> tuple[Finished, dict[str, Finished]]:
    """The finished run that a person names by its folder, its name or its id, and all others.

    Raises:
        DataError: there is no such finished run; names the nearest.
    """
    runs = finished_runs(root)
    last = Path(name).name
    run = runs.get(last[-10:])
    if run is None or (len(last) > 10 and Path(run.folder).name != last):
        known = [Path(each.folder).name for each in runs.values()]
        raise DataError(
            f"{name}: no finished run has this name.{nearest(last, known) if known else ' There is none yet.'} "
            f"`edgebench status` lists what is not finished; results/index.tsv lists what is."
        )
    return run, runs


def upstream(record: Mapping[str, Any], runs: Mapping[str, Finished]) -> Iterator[Finished]:
    """Runs that a run was made from, each once, the nearest first, as far as they are still on disk."""
    seen, waiting = set(), list((record.get("inputs") or {}).values())
    while waiting:
        id = waiting.pop(0)
        if id not in seen and id in runs:
            seen.add(id)
            yield runs[id]
            waiting += (runs[id].record.get("inputs") or {}).values()


def users(id: str, runs: Mapping[str, Finished], stage: str) -> list[Finished]:
    """Finished runs of a stage that were made directly from run `id`."""
    return [
        run
        for run in runs.values()
        if run.record.get("stage") == stage and id in (run.record.get("inputs") or {}).values()
    ]
