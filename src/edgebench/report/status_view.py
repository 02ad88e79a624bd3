"""What `edgebench status` prints: for people in the terminal, for machines as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.report.estimate import hours, megabytes
from edgebench.report.status import WRONG, Job, Left, Status, log_end

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

SHOWN = 10
"""Entries of a list, unless all are asked for."""
_STYLE = {
    "done": "green",
    "running": "cyan",
    "queued": "blue",
    "waiting": "",
    "unknown": "yellow",
    "stale": "yellow",
    "interrupted": "magenta",
    "failed": "red",
    "damaged": "red",
}


def repeat_command(job: Job, changes: dict[str, Any] | None = None) -> str:
    """What to type to have a job done (again); on a cluster where its last try was on one.

    Args:
        job: A run, a table or a figure.
        changes: What the command line changes, by dotted key.
    """
    where = ["--profile", "slurm"] if job.attempt and job.attempt.job else ["--cores", "1"]
    words = ["snakemake", *where, job.target]
    if changes:
        words += ["--config", f"set={{{', '.join(f'{key}: {value}' for key, value in changes.items())}}}"]
    remove = f"rm -r {shlex.quote(Path(job.target).parent.as_posix())} && " if job.state == "damaged" else ""
    return remove + shlex.join(words)


def as_data(status: Status, root: Path, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Everything as plain data, for JSON."""
    return {
        "exit_status": status.exit_status,
        "counts": status.counts,
        "jobs": [
            {
                **asdict(job),
                **({"log_end": log_end(root / job.log)} if job.state in WRONG else {}),
                **({"repeat": repeat_command(job, changes)} if job.state not in ("done", "running") else {}),
            }
            for job in status.jobs
        ],
        "made_by_other_code": status.older,
        "not_planned": [asdict(each) for each in status.left],
        "gpu_hours": status.gpu_hours,
        "disk_bytes": status.disk_bytes,
        "locked": status.locked,
    }


def render(
    status: Status, root: Path, changes: dict[str, Any] | None = None, everything: bool = False
) -> RenderableType:
    """The status as text and tables for the terminal."""
    from rich.console import Group

    groups = {state: [job for job in status.jobs if job.state == state] for state in _STYLE}
    parts: list[RenderableType] = [_summary(status), _by_kind(status)]
    parts += _running([*groups["running"], *groups["unknown"]], everything)
    for state in WRONG:
        parts += _wrong(state, groups[state], root, changes, everything)
    queue = [f"{each.kind}  {each.name}: job {each.job}" for each in groups["queued"]]
    stale = [f"{each.target}: {each.reason}" for each in groups["stale"]]
    parts += _listed("In the cluster's queue", queue, everything)
    parts += _listed("Tables and figures that are not as planned", stale, everything)
    parts += _left(status.left, everything)
    parts += _older(status, everything)
    return Group(*parts, *_costs(status), *_lock(status, groups))


def _summary(status: Status) -> Text:
    from rich.text import Text

    total = len(status.jobs)
    done = status.counts.get("done", 0)
    text = Text(f"{done} of {total} done", "green" if done == total else "bold")
    for state, style in _STYLE.items():
        if state != "done" and (count := status.counts.get(state)):
            text.append(f"   {count} {state}", style)
            ready = sum(job.state == state and job.ready for job in status.jobs)
            if state == "waiting" and ready:
                text.append(f" ({ready} could start now)", "dim")
    return text


def _by_kind(status: Status) -> RenderableType:
    """Jobs by role and state, without the states that nothing is in."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    kinds: dict[str, list[Job]] = {}
    for job in status.jobs:
        kinds.setdefault(job.kind, []).append(job)
    states = [state for state in _STYLE if state in status.counts]
    shown = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    shown.add_column("role", no_wrap=True)
    for state in states:
        shown.add_column(state, justify="right")
    for kind, jobs in kinds.items():
        counts = {state: sum(job.state == state for job in jobs) for state in states}
        cells = [Text(str(count), _STYLE[state]) if count else Text("–", "dim") for state, count in counts.items()]
        shown.add_row(kind, *cells)
    return shown


def _heading(text: str) -> Text:
    from rich.text import Text

    return Text(f"\n{text}", "bold")


def _cut(lines: list[Any], everything: bool) -> tuple[list[Any], str]:
    """The lines that are shown, and what is said of the others."""
    if everything or len(lines) <= SHOWN:
        return lines, ""
    return lines[:SHOWN], f"  and {len(lines) - SHOWN} more: --all shows them."


def _listed(title: str, lines: list[str], everything: bool) -> list[RenderableType]:
    from rich.text import Text

    if not lines:
        return []
    shown, more = _cut(lines, everything)
    return [_heading(title), *(Text(f"  {line}") for line in shown), *([Text(more, "dim")] if more else [])]


def _running(jobs: list[Job], everything: bool) -> list[RenderableType]:
    from rich.text import Text

    if not jobs:
        return []
    shown, more = _cut(jobs, everything)
    parts: list[RenderableType] = [_heading("At work")]
    for job in shown:
        parts.append(Text.assemble(("  " + job.kind, _STYLE[job.state]), f"  {job.name}"))
        parts.append(Text(f"      {_where(job)}", "dim" if job.state == "running" else "yellow"))
    return [*parts, *([Text(more, "dim")] if more else [])]


def _where(job: Job) -> str:
    """How far a job is, since when, and where."""
    attempt = job.attempt
    assert attempt is not None
    parts = []
    if attempt.total or attempt.done:
        percent = f" ({100 * attempt.done // attempt.total} %)" if attempt.total else ""
        parts.append(f"{attempt.done} of {attempt.total or '?'}{percent}")
    if attempt.start:
        parts.append(f"since {attempt.start[:16].replace('T', ' ')} UTC ({_ago(attempt.start)})")
    parts.append(f"on {attempt.host}, process {attempt.pid}")
    if attempt.job:
        parts.append(f"SLURM job {attempt.job}")
    if attempt.number > 1:
        parts.append(f"try {attempt.number}")
    if job.state == "unknown":
        parts.append(f"that machine cannot be asked; last sign of life {_ago(attempt.seen)} ago")
    return ", ".join(parts)


def _ago(moment: str) -> str:
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):
        return "an unknown time"
    minutes = round(max(0.0, seconds) / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _wrong(
    state: str, jobs: list[Job], root: Path, changes: dict[str, Any] | None, everything: bool
) -> list[RenderableType]:
    from rich.text import Text

    if not jobs:
        return []
    shown, more = _cut(jobs, everything)
    parts: list[RenderableType] = [_heading(state.capitalize())]
    for job in shown:
        parts.append(Text.assemble(("  " + job.kind, _STYLE[state]), f"  {job.name}"))
        reason = job.reason or (_killed(job) if state == "interrupted" else "")
        parts += [Text(f"      {line}") for line in reason.splitlines()[:3]]
        if state == "failed" and (end := log_end(root / job.log)):
            parts.append(Text(f"      {job.log} ends with", "dim"))
            parts += [Text(f"        {line}", "dim") for line in end]
        parts.append(Text.assemble("      again: ", (repeat_command(job, changes), "bold")))
    return [*parts, *([Text(more, "dim")] if more else [])]


def _killed(job: Job) -> str:
    seen = job.attempt.seen if job.attempt else ""
    return f"killed without a word; last sign of life {_ago(seen)} ago" if seen else "killed without a word"


def _left(left: list[Left], everything: bool) -> list[RenderableType]:
    size = f" ({megabytes(total / 1e6)})" if (total := sum(each.bytes for each in left)) >= 1e6 else ""
    lines = [f"{each.path}: {each.reason}" for each in left]
    return _listed(f"Not needed by the present plan, and free to be deleted{size}", lines, everything)


def _older(status: Status, everything: bool) -> list[RenderableType]:
    from rich.text import Text

    if not status.older:
        return []
    count = sum(map(len, status.older.values()))
    text = (
        f"\n{count} finished {'run was' if count == 1 else 'runs were'} made by other code than the present "
        f"({', '.join(f'{len(runs)} by {code}' for code, runs in status.older.items())}). Their methods' versions are "
        f"the present ones, so they count."
    )
    lines = [Text(f"  {folder}", "dim") for runs in status.older.values() for folder in runs] if everything else []
    return [Text(text, "yellow"), *lines]


def _costs(status: Status) -> Iterable[Text]:
    from rich.text import Text

    spent = status.gpu_hours
    yield Text(
        f"\nGPU-hours: {hours(spent['used'])} used by what is done, for which {hours(spent['declared'])} were planned; "
        f"{hours(spent['to_do'])} to do. On disk below results/runs: {megabytes(status.disk_bytes / 1e6)}."
    )


def _lock(status: Status, groups: dict[str, list[Job]]) -> Iterable[Text]:
    from rich.text import Text

    if status.locked and not groups["running"]:
        yield Text(
            "Snakemake holds this folder, or was killed while it did: if none is running, type `snakemake --unlock`.",
            "yellow",
        )
