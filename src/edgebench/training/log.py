"""The log of a training: a CSV file that continues where the checkpoint was, and optionally TensorBoard."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgebench.errors import ConfigError, EdgebenchError


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn a failure to write at `path` into an `EdgebenchError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise EdgebenchError(
            f"{path}: could not be written ({error.strerror}). The last checkpoint, if any, is intact. "
            f"Free some space or choose another folder, then run the same command again."
        ) from error


class CsvLog:
    """A CSV file with one row per `log_every` steps, written as it goes.

    Args:
        path: The file.
        length: Its bytes at the checkpoint being resumed, 0 at the start. Rows written after that checkpoint
            belong to steps that will be done again, and are cut off.

    Raises:
        EdgebenchError: the file is shorter than `length`.
    """

    def __init__(self, path: Path, length: int) -> None:
        self.path = path
        if length and (not path.exists() or path.stat().st_size < length):
            raise EdgebenchError(
                f"{path}: shorter than its checkpoint says ({length} bytes). "
                f"Delete the folder {path.parent} to train from the start, and run the same command again."
            )
        self._file = open(path, "r+b" if length else "wb")  # noqa: SIM115 (held open for the whole training)
        self.columns = self._file.readline().decode().strip().split(",") if length else []
        self._file.truncate(length)
        self._file.seek(length)

    def write(self, row: dict[str, float]) -> None:
        """Append a row; the first one names the columns.

        Raises:
            ValueError: the row's names differ from the first row's.
        """
        if not self.columns:
            self.columns = list(row)
            self._append(self.columns)
        if list(row) != self.columns:
            raise ValueError(f"log columns changed from {self.columns} to {list(row)}")
        self._append(list(row.values()))

    def _append(self, cells: list[Any]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        with writable(self.path):
            self._file.write(line.getvalue().encode())
            self._file.flush()

    def position(self) -> int:
        """Bytes written, after they have reached the disk."""
        with writable(self.path):
            os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def last_row(path: Path) -> dict[str, float]:
    """The last row of a finished log."""
    with open(path, newline="") as file:
        *_, row = csv.DictReader(file)
    return {name: float(value) for name, value in row.items()}


def tensorboard_writer(folder: Path, first_step: int) -> Any:
    """A TensorBoard writer into `folder` whose earlier events from `first_step` on are hidden.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "training setting tensorboard = True: the package tensorboard is not installed. "
            "Type `pip install tensorboard`, or set tensorboard: false; log.csv holds the same numbers."
        ) from error
    return SummaryWriter(str(folder), purge_step=first_step)
