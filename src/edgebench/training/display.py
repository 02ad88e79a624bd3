"""Progress of a training with its loss: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from edgebench.progress import LOG_EVERY_SECONDS

if TYPE_CHECKING:
    from rich.progress import Progress


class Display:
    """Shows steps done, the loss and the time left on standard error, as `edgebench.progress` does for items.

    Args:
        description: What is trained, in a few words.
        done: Steps done before.
        total: Steps in all.
        shown: False keeps it quiet, for all processes but the first.
    """

    def __init__(self, description: str, done: int, total: int, shown: bool = True) -> None:
        self.description, self.first, self.total = description, done, total
        self.shown = shown and not os.environ.get("EDGEBENCH_QUIET")
        self.bar = self._bar(done) if self.shown and sys.stderr.isatty() else None
        self.start = self.last = time.monotonic()

    def _bar(self, done: int) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeRemainingColumn(),
        )
        bar = Progress(*columns, console=Console(stderr=True))
        bar.add_task(self.description, total=self.total, completed=done, loss="-")
        return bar

    def __enter__(self) -> Display:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, done: int, loss: float) -> None:
        """Say that `done` steps are finished, the last with `loss`."""
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=done, loss=f"{loss:.4g}")
        elif self.shown and time.monotonic() - self.last >= LOG_EVERY_SECONDS:
            self.last = time.monotonic()
            left = (self.last - self.start) / (done - self.first) * (self.total - done)
            text = f"{self.description}: step {done} of {self.total}, loss {loss:.4g}, about {left:.0f} s left"
            print(text, file=sys.stderr, flush=True)
