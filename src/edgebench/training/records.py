"""What a training leaves on disk as it goes: its log and its checkpoints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgebench.training import checkpoint
from edgebench.training.log import CsvLog, tensorboard_writer, writable
from edgebench.training.settings import LoopSettings
from edgebench.training.state import TrainingState

LOG, WORK = "log.csv", "work"


class Records:
    """The log, the clock and the checkpoints of a training; only the first process writes."""

    def __init__(
        self,
        folder: Path,
        settings: LoopSettings,
        identity: dict[str, Any],
        found: checkpoint.Checkpoint | None,
        is_main: bool,
    ) -> None:
        self.work, self.settings, self.identity = folder / WORK, settings, identity
        self.seconds_before = found.state["seconds"] if found else 0.0
        self.began = self.saved = time.monotonic()
        self.log: CsvLog | None = None
        self.writer = None
        if is_main:
            start = found.step if found else 0
            with writable(self.work):
                self.work.mkdir(parents=True, exist_ok=True)
                usable = [step for step in checkpoint.steps(self.work) if step <= start]
                checkpoint.remove_others(self.work, usable)
                self.log = CsvLog(self.work / LOG, found.state["log_bytes"] if found else 0)
            if settings.tensorboard:
                self.writer = tensorboard_writer(folder / "tensorboard", start + 1)

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self.log, self.writer):
            if file:
                file.close()

    def at_limit(self) -> bool:
        """Whether the time limit of this call is over."""
        limit = self.settings.time_limit_minutes
        return limit is not None and time.monotonic() - self.began >= 60 * limit

    def due(self, step: int) -> bool:
        """Whether a checkpoint should be saved after `step` steps."""
        every = self.settings.checkpoint_steps
        late = time.monotonic() - self.saved >= 60 * self.settings.checkpoint_minutes
        return late or (every is not None and step % every == 0)

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.began

    def row(self, step: int, rate: float, means: dict[str, float]) -> None:
        """Log the `means` of the steps up to `step`, with the learning rate of the last one."""
        first = {"step": step, "loss": means.pop("loss"), "lr": rate, "grad_norm": means.pop("grad_norm")}
        row = first | {"seconds": round(self._seconds(), 3)} | means
        if self.log:
            self.log.write(row)
        if self.writer:
            for name, value in row.items():
                self.writer.add_scalar(name, value, step)

    def save(self, step: int, state: TrainingState) -> None:
        """Save a checkpoint after `step` steps."""
        if self.log:
            facts = {"identity": self.identity, "log_bytes": self.log.position(), "seconds": self._seconds()}
            checkpoint.save(self.work, step, state.tensors(), facts)
        self.saved = time.monotonic()
