"""Progress for people: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

LOG_EVERY_SECONDS = 30.0

Listener = Callable[[str, int, int | None], None]
_listeners: list[Listener] = []


@contextmanager
def told(listener: Listener) -> Iterator[None]:
    """Within the body, tell `listener` of every step: what is being done, how much is done, and of how much."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Display:
    """Shows on standard error how far some work has come.

    In a terminal this is a rich progress bar. Elsewhere (a log file, a cluster) it is one line every 30 s, and
    nothing at all when EDGEBENCH_QUIET is set.

    Args:
        description: What is being done, in a few words.
        total: Items in all, including `done`; None when nobody knows.
        done: Items finished before, for work that resumes.
        shown: False keeps it quiet, for all processes but the first.
    """

    def __init__(self, description: str, total: int | None, done: int = 0, shown: bool = True) -> None:
        self.description, self.total, self.first = description, total, done
        self.shown = shown and not os.environ.get("EDGEBENCH_QUIET")
        self.bar = self._bar() if self.shown and sys.stderr.isatty() else None
        self.start = self.last = time.monotonic()

    def _bar(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        text, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
        bar = Progress(
            text, BarColumn(), MofNCompleteColumn(), note, TimeRemainingColumn(), console=Console(stderr=True)
        )
        bar.add_task(self.description, total=self.total, completed=self.first, note="")
        return bar

    def __enter__(self) -> Display:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, done: int, note: str = "") -> None:
        """Say that `done` items are finished; `note` is what else there is to say, such as the loss."""
        for listener in _listeners:
            listener(self.description, done, self.total)
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=done, note=note)
        elif self.shown and time.monotonic() - self.last >= LOG_EVERY_SECONDS:
            self.last = time.monotonic()
            parts = [f"{self.description}: {done} of {self.total or '?'}", note]
            if self.total and done > self.first:
                left = (self.last - self.start) / (done - self.first) * (self.total - done)
                parts.append(f"about {left:.0f} s left")
            print(", ".join(filter(None, parts)), file=sys.stderr, flush=True)


def track(items: Iterable[T], description: str, total: int | None = None, done: int = 0) -> Iterator[T]:
    """Yield `items` while a `Display` shows how far they have come.

    Args:
        items: What to go through.
        description: What is being done, in a few words.
        total: Number of items including `done`; taken from `len(items)` when it has one.
        done: Items finished before this call, for work that resumes.
    """
    if total is None and isinstance(items, Sized):
        total = len(items) + done
    with Display(description, total, done) as display:
        for count, item in enumerate(items, start=done + 1):
            yield item
            display.update(count)
