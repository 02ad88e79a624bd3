"""Where everything stands: what is done, running, waiting, failed, damaged, and what no longer fits the plan."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from edgebench.errors import EdgebenchError
from edgebench.files import read_json
from edgebench.plan.attempts import Attempt, read_attempt, slurm_jobs, state_of
from edgebench.plan.freshness import recorded_id
from edgebench.plan.runs import Run
from edgebench.plan.tables import Plan, Table, runs_of
from edgebench.report.damage import damage
from edgebench.report.estimate import estimate

Map = dict[str, Any]
State = Literal["done", "running", "queued", "waiting", "unknown", "interrupted", "failed", "damaged", "stale"]
WRONG = ("failed", "interrupted", "damaged")
LOG_LINES = 6
MANY_CHANGES = 3
"""With more settings changed, a run is another one, not an outdated one."""
_LOG_BYTES = 8192
_MISTAKE = ("edgebench: ", "Traceback (most recent call last)")


@dataclass(frozen=True)
class Job:
    """A run, a table or a figure.

    Attributes:
        kind: Role of a run, `table` or `figure`.
        name: What it is called.
        target: The file that tells that it is finished; what Snakemake is asked for.
        state: `queued` waits for the cluster, `waiting` for other runs or for somebody to start it; `unknown` began
            on a machine that cannot be asked; a `stale` table or figure shows something else than planned.
        log: What it printed.
        reason: Why it is not done, where that is known.
        attempt: The last try.
        ready: Whether everything that it needs is done.
        job: Number of the SLURM job that waits or works.
    """

    kind: str
    name: str
    target: str
    state: State
    log: str
    reason: str = ""
    attempt: Attempt | None = None
    ready: bool = False
    job: str = ""


@dataclass(frozen=True)
class Left:
    """A run's folder or a table that the present plan does not need, why, and its size in bytes."""

    path: str
    reason: str
    bytes: int


@dataclass(frozen=True)
class Status:
    """What `look` found.

    Attributes:
        jobs: Runs in the order in which they could be carried out, then tables and figures.
        older: Folders of finished runs that other code made than the present one, by that code's revision.
        left: What the present plan does not need.
        records: Records of finished runs, by id.
        gpu_hours: `used` by what is done, `declared` for the same, and `to_do`.
        disk_bytes: Size of everything below `results/runs`.
        locked: Whether a workflow holds the folder, or was killed while it did.
    """

    jobs: list[Job]
    older: dict[str, list[str]]
    left: list[Left]
    records: dict[str, Map] = field(repr=False)
    gpu_hours: dict[str, float]
    disk_bytes: int
    locked: bool

    @cached_property
    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        found: dict[str, int] = {}
        for job in self.jobs:
            found[job.state] = found.get(job.state, 0) + 1
        return found

    @property
    def exit_status(self) -> int:
        """0 when everything is done, 1 when something went wrong, 3 when it is only not done yet."""
        if any(job.state in WRONG for job in self.jobs):
            return 1
        return 0 if set(self.counts) <= {"done"} else 3


def look(
    root: Path, plan: Plan, tables: Sequence[Table], fingerprint: str, fetched: Mapping[str, bool] | None = None
) -> Status:
    """Compare what lies below `results` with what is planned; reads records and logs, and changes nothing.

    Args:
        root: The repository.
        plan: The plan of a scale.
        tables: Those asked about.
        fingerprint: Digest of the present code.
        fetched: Whether a definition stands for what was fetched or converted into a folder, by its name.
    """
    folders = _folders(root)
    asked = slurm_jobs()
    states, comments = asked or ({}, {})
    known = states if asked else None
    sizes = {name: _size(path) for name, path in folders.items()}
    records: dict[str, Map] = {}
    jobs: dict[str, Job] = {}
    runs = runs_of(tables)
    for run in runs:
        folder = folders.get(f"{run.role}/{run.name}")
        jobs[run.id] = _run_job(root, run, folder, known, records, jobs)
    pending = {job: comment for job, comment in comments.items() if states[job] in ("PENDING", "CONFIGURING")}
    listed = [_queued(job, pending) for job in jobs.values()]
    for table in tables:
        ready = all(jobs[run.id].state == "done" for run in runs_of([table]))
        listed += [
            _table_job(root, table, ready),
            *(_figure_job(root, table, each, ready) for each in table.figure_files),
        ]
    done = [run for run in runs if jobs[run.id].state == "done"]
    declared = sum(run.resources["gpus"] * run.resources["minutes"] for run in done) / 60
    costs = estimate([run.spec() for run in runs], list(records.values()))
    return Status(
        jobs=listed,
        older=_older(done, records, fingerprint),
        left=[*_left_runs(folders, sizes, plan, fetched or {}), *_left_tables(root, plan)],
        records=records,
        gpu_hours={
            "used": sum(each.get("gpu_seconds") or 0.0 for each in records.values()) / 3600,
            "declared": declared,
            "to_do": costs.gpu_hours,
        },
        disk_bytes=sum(sizes.values()),
        locked=any((root / ".snakemake" / "locks").glob("*.lock")),
    )


def _folders(root: Path) -> dict[str, Path]:
    """Folders of runs by `ROLE/NAME`; a hidden role is none, but what `edgebench pull` unpacks there."""
    found = sorted((root / "results" / "runs").glob("[!.]*/*/"))
    return {f"{path.parent.name}/{path.name}": path for path in found}


def _size(folder: Path) -> int:
    """Bytes of all files in a folder; what vanishes meanwhile does not count."""
    total, waiting = 0, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total


# Runs


def _run_job(
    root: Path,
    run: Run,
    folder: Path | None,
    states: dict[str, str] | None,
    records: dict[str, Map],
    jobs: dict[str, Job],
) -> Job:
    """Where a run stands; its record is added to `records`. What it needs stands in `jobs` already."""
    log = _log_of(run, folder)
    ready = all(jobs[each.id].state == "done" for each in run.inputs.values())

    def job(state: State, reason: str = "", attempt: Attempt | None = None) -> Job:
        number = attempt.job if attempt and state in ("running", "unknown") else ""
        return Job(run.role, run.name, run.record, state, log, reason, attempt, ready, number)

    attempt = read_attempt(folder) if folder else None
    at_work = state_of(attempt, states) if attempt else None
    if folder is not None and at_work != "running" and (folder / "run.json").exists():
        try:
            record = read_json(folder / "run.json")
        except EdgebenchError as error:
            return job("damaged", str(error))
        if fault := damage(folder, record, run.id):
            return job("damaged", fault)
        records[run.id] = record
        return job("done")
    if attempt and at_work:
        return job(at_work, attempt.reason, attempt)
    if words := _begun_badly(root / log):
        return job("failed", words)
    return job("waiting")


def _log_of(run: Run, folder: Path | None) -> str:
    """The log of a run; of one that several jobs share, that of the part that failed."""
    tries = {part: read_attempt(folder / "work" / part) for part in run.parts} if folder else {}
    failed = next((part for part, attempt in tries.items() if attempt and attempt.reason), None)
    return f"results/logs/{run.role}/{run.name}{f'/{failed}' if failed else ''}.log"


def log_end(path: Path, lines: int = LOG_LINES) -> list[str]:
    """The last lines of a log that say something."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    shown = [line.rpartition("\r")[2].rstrip() for line in text.splitlines()]
    return [line for line in shown if line][-lines:]


def _begun_badly(log: Path) -> str:
    """What a job said that ended before its run began, such as a plan file that it could not read."""
    for line in reversed(end := log_end(log, 100)):
        if line.startswith(_MISTAKE):
            return line.removeprefix("edgebench: ") if line.startswith("edgebench: ") else end[-1]
    return ""


def _queued(job: Job, pending: Mapping[str, str]) -> Job:
    """A job that waits for the cluster, where its SLURM job names it."""
    number = next((number for number, comment in pending.items() if job.name in comment), "")
    if job.state not in ("waiting", "interrupted", "failed") or not number:
        return job
    return Job(job.kind, job.name, job.target, "queued", job.log, "", job.attempt, job.ready, number)


# Tables and figures


def _table_job(root: Path, table: Table, ready: bool) -> Job:
    missing = [file for file in table.files if not (root / file).is_file()]
    record = next(file for file in table.files if file.endswith(".json"))
    found = recorded_id(root / record)
    log = f"results/logs/table/{table.scale_name}/{table.name}.log"
    differs = _difference(root / record, table) if found is not None and found != table.id else ""
    return _output_job(root, "table", table.name, table.files[0], log, missing, differs, ready)


def _figure_job(root: Path, table: Table, file: str, ready: bool) -> Job:
    found = recorded_id(root / file)
    log = file.replace("results/figures/", "results/logs/figure/", 1).replace(".png", ".log")
    missing = [] if (root / file).is_file() else [file]
    differs = "" if missing or found == table.id else "it shows something else than planned"
    return _output_job(root, "figure", Path(file).stem, file, log, missing, differs, ready)


def _output_job(
    root: Path, kind: str, name: str, target: str, log: str, missing: list[str], differs: str, ready: bool
) -> Job:
    if not missing and not differs:
        return Job(kind, name, target, "done", log, ready=ready)
    if ready and (words := _begun_badly(root / log)):
        return Job(kind, name, target, "failed", log, words, ready=ready)
    if differs:
        return Job(kind, name, target, "stale", log, differs, ready=ready)
    return Job(kind, name, target, "waiting", log, "", ready=ready)


def _difference(record: Path, table: Table) -> str:
    """Which parts of a finished table are not as planned."""
    try:
        made_of, planned = read_json(record)["made_of"], table.spec()
        parts = [key for key in planned if key != "id" and made_of.get(key) != json.loads(json.dumps(planned[key]))]
    except (EdgebenchError, KeyError, TypeError, AttributeError):
        parts = []
    return f"it shows something else than planned{': ' if parts else ''}{', '.join(parts)}"


# What no longer fits


def _older(done: Iterable[Run], records: Mapping[str, Map], fingerprint: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for run in done:
        code = records[run.id].get("code") or {}
        if code.get("fingerprint") != fingerprint:
            revision = (code.get("git") or "no revision")[:12] + (" with changes" if code.get("uncommitted") else "")
            found.setdefault(revision, []).append(run.folder)
    return found


def _left_runs(
    folders: Mapping[str, Path], sizes: Mapping[str, int], plan: Plan, fetched: Mapping[str, bool]
) -> list[Left]:
    planned: dict[tuple[str, Any], list[Run]] = {}
    for run in plan.runs.values():
        planned.setdefault((run.role, run.settings["method"]), []).append(run)
    left = []
    for name, path in folders.items():
        role, _, last = name.partition("/")
        if last[-10:] in plan.runs or fetched.get(last):
            continue
        record = _content(path / "run.json")
        # An unfinished run has its plan file.
        scale = (record or _content(path.parents[2] / "plan" / "runs" / f"{last[-10:]}.json") or {}).get("scale")
        # What other scales made, or may share, is not this plan's to judge.
        if scale not in (None, plan.scale) and not (scale == "" and last in fetched):
            continue
        method = (record or {}).get("settings", {}).get("method")
        reason = _outdated(record, planned.get((role, method), []), plan.scale)
        left.append(Left(f"results/runs/{name}", reason, sizes[name]))
    return left


def _content(path: Path) -> Map | None:
    """A JSON file that holds a map; None where there is none."""
    try:
        content = read_json(path)
    except EdgebenchError:
        return None
    return content if isinstance(content, dict) else None


def _outdated(record: Map | None, alike: list[Run], scale: str) -> str:
    """Why no table needs a run that was made, beside the planned runs of its role and method."""
    if record is None:
        return "unfinished, and not of the present plan"
    settings = record.get("settings") or {}
    changes = {run.id: _changed(settings, run.settings) for run in alike}
    now = min(alike, key=lambda run: len(changes[run.id]), default=None)
    if now is None or len(changes[now.id]) > MANY_CHANGES:
        return f"no table of scale {scale} needs it" if record.get("scale") else "its definition has changed since"
    if record.get("version") != now.version:
        return f"version {record.get('version')} of its method; now {now.version}"
    if changes[now.id]:
        return "; ".join(_change(key, settings, now.settings) for key in changes[now.id])
    if record.get("inputs") != {name: run.id for name, run in now.inputs.items()}:
        return "made from other runs than planned now"
    return "its data, protocol or seed has changed since"


def _changed(before: Map, now: Map) -> list[str]:
    return [key for key in sorted(before.keys() | now) if key not in before or before[key] != now.get(key)]


def _change(key: str, before: Map, now: Map) -> str:
    if key not in before:
        return f"the setting {key} is new ({now[key]!r})"
    return f"{key} was {before[key]!r}" + (f", now {now[key]!r}" if key in now else ", which is gone")


def _left_tables(root: Path, plan: Plan) -> list[Left]:
    folder = root / "results" / "tables" / plan.scale
    known = {*plan.tables, *plan.impossible}
    found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.glob("*/*.json"))}
    return [
        Left(path.relative_to(root).as_posix(), "there is no such experiment any more", path.stat().st_size)
        for name, path in found.items()
        if name not in known
    ]
