"""When a table or figure must be made again: when it shows something else than planned, whatever the clock says.

Snakemake compares time stamps, which mean nothing after a clone, a pull or a copy. Every table and figure
carries the identity of what it shows; only when that differs from the plan is its plan file made newer.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from edgebench.files import pretty_json, write_text_if_changed
from edgebench.plan.tables import Table

PNG_KEY = "edgebench-id"
_HEAD_BYTES = 4096  # the text chunks of a PNG stand before its pixels


def recorded_id(path: Path) -> str | None:
    """Identity that a finished table (its `.json`) or figure (its `.png`) carries; None without one."""
    try:
        if path.suffix == ".json":
            return str(json.loads(path.read_text())["id"])
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        _, found, rest = head.partition(PNG_KEY.encode() + b"\0")
        return rest[:10].decode() if found else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def leave_the_future(paths: Iterable[str]) -> None:
    """Give files whose time lies in the future the present one.

    Clocks are set back, and machines disagree; Snakemake fails a job one of whose inputs seems newer than its output,
    also an input whose age it was told to ignore.
    """
    now = time.time()
    for path in paths:
        try:
            if os.stat(path).st_mtime > now + 1:
                os.utime(path, (now, now))
        except OSError:  # not there yet, or not ours to change: then Snakemake says what it must
            continue


def siblings(output: Path) -> list[Path]:
    """Files of the same job: those beside `output` that differ only in the suffix."""
    return list(output.parent.glob(f"{output.stem}.*"))


def plan_input(table: Table, output: Path) -> tuple[str, bool]:
    """Write the table's plan file and say whether `output` shows something else.

    Args:
        table: What is planned.
        output: The file that carries the identity; written last by its job.

    Returns:
        The plan file, and whether `output` must be made again. In that case the plan file is made newer.
    """
    plan = Path(table.spec_file)
    write_text_if_changed(plan, pretty_json(table.spec()))
    changed = recorded_id(output) != table.id
    if changed:
        leave_the_future(map(str, siblings(output)))
        newest = max([time.time(), *(path.stat().st_mtime + 1 for path in siblings(output))])
        os.utime(plan, (newest, newest))
    return str(plan), changed
