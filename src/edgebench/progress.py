"""Progress for people: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")

LOG_EVERY_SECONDS = 30.0


def track(items: Iterable[T], description: str, total: int | None = None, done: int = 0) -> Iterator[T]:
    """Yield `items` while showing how far they have come.

    In a terminal this is a rich progress bar on standard error. Elsewhere (a log file, a cluster) it is one
    line every 30 s, and nothing at all when EDGEBENCH_QUIET is set.

    Args:
        items: What to go through.
        description: What is being done, in a few words.
        total: Number of items including `done`; taken from `len(items)` when it has one.
        done: Items finished before this call, for work that resumes.
    """
    if total is None and isinstance(items, Sized):
        total = len(items) + done
    if os.environ.get("EDGEBENCH_QUIET"):
        yield from items
    elif sys.stderr.isatty():
        yield from _bar(items, description, total, done)
    else:
        yield from _lines(items, description, total, done)


def _bar(items: Iterable[T], description: str, total: int | None, done: int) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total, completed=done)
        for item in items:
            yield item
            progress.advance(task)


def _lines(items: Iterable[T], description: str, total: int | None, done: int) -> Iterator[T]:
    start = last = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_EVERY_SECONDS:
            last = now
            left = f", about {(now - start) / count * (total - done - count):.0f} s left" if total else ""
            print(f"{description}: {done + count} of {total or '?'}{left}", file=sys.stderr, flush=True)
