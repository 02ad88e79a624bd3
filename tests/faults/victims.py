"""Commands in processes of their own that may be killed at any moment, with all that they started.

They are forked from a process that has imported everything, so that a start costs a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Hazard = Callable[[], None]
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "os.truncate"}

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["pytest", "tests.faults.warm", "tests.faults.victims"])


@dataclass
class Ending:
    """How a command ended.

    Attributes:
        code: Exit status; minus the number of a signal.
        said: What it printed.
        seconds: How long it ran.
        work: Steps, images or files that it got done, as its progress display counts them.
        operations: Operations on files below the watched folder.
    """

    code: int
    said: str
    seconds: float
    work: int
    operations: int

    @property
    def killed(self) -> bool:
        """Whether it died of SIGKILL."""
        return self.code == -signal.SIGKILL


@dataclass
class Command:
    """A running `edgebench` command in a session of its own.

    Attributes:
        process: The process.
        notes: Folder of what it says and counts; outside of all that is compared.
    """

    process: Any
    notes: Path
    begun: float = field(default_factory=time.monotonic)

    def kill_after(self, seconds: float) -> Ending:
        """Kill it and all that it started, unless it ends before."""
        self.process.join(seconds)
        self.signal(signal.SIGKILL)
        return self.end()

    def signal(self, number: int) -> None:
        """Send a signal to it and all that it started, if it still runs."""
        if self.process.is_alive():
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:  # not yet in a session of its own
                os.kill(self.process.pid, number)

    def end(self, timeout: float = 300) -> Ending:
        """Wait for its end.

        Raises:
            AssertionError: it hangs.
        """
        self.process.join(timeout)
        seconds = time.monotonic() - self.begun
        said = (self.notes / "said").read_text(errors="replace") if (self.notes / "said").exists() else ""
        if self.process.is_alive():
            self.signal(signal.SIGKILL)
            raise AssertionError(f"still running after {seconds:.0f} s: {said}")
        work, operations = (_size(self.notes / name) for name in ("work", "operations"))
        return Ending(self.process.exitcode, said, seconds, work, operations)


def warm_up() -> None:
    """Start the process that all commands are forked from; from the repository, which it imports the tests from.

    Raises:
        AssertionError: it could not import what it should; every start would then take seconds.
    """
    process = _context.Process(target=_look)
    process.start()
    process.join()
    assert process.exitcode == 0, "tests/faults/warm.py could not be imported"


def _look() -> None:
    sys.exit("tests.faults.warm" not in sys.modules)


def start(
    repository: Path,
    *arguments: str,
    notes: Path,
    watched: Path | None = None,
    strike_at: int | None = None,
    hazard: Hazard | None = None,
) -> Command:
    """Start `edgebench ARGUMENTS` in a repository.

    Args:
        repository: Working folder.
        arguments: As typed.
        notes: Folder for what it says and counts, emptied first.
        watched: Folder whose file operations are counted, relative to `repository`.
        strike_at: Die just before this one of them, counted from 1.
        hazard: Called in the process before anything else; picklable.
    """
    notes.mkdir(parents=True, exist_ok=True)
    for name in ("said", "work", "operations"):
        (notes / name).unlink(missing_ok=True)
    given = (str(repository), arguments, str(notes), watched and str(watched), strike_at, hazard)
    process = _context.Process(target=_obey, args=given, daemon=False)
    process.start()
    return Command(process, notes)


def _obey(
    repository: str,
    arguments: Sequence[str],
    notes: str,
    watched: str | None,
    strike_at: int | None,
    hazard: Hazard | None,
) -> None:
    os.setsid()
    os.chdir(repository)
    said, work, operations = (
        os.open(f"{notes}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ("said", "work", "operations")
    )
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.update(EDGEBENCH_QUIET="1", OMP_NUM_THREADS="1")
    _count_work(work)
    if watched:
        _count_operations(os.path.abspath(watched), operations, strike_at)
    if hazard:
        hazard()
    from edgebench.cli import main

    sys.argv = ["edgebench", *arguments]
    main()


def _count_work(counter: int) -> None:
    """Write a byte per step, image or file that is done; a file outlives a kill."""
    from edgebench.progress import Display

    update = Display.update

    def counted(self: Display, done: int, note: str = "") -> None:
        os.write(counter, b".")
        update(self, done, note)

    Display.update = counted  # type: ignore[method-assign]


def _count_operations(folder: str, counter: int, strike_at: int | None) -> None:
    """Write a byte per operation on files below `folder`; die before number `strike_at`."""
    done = 0

    def watch(event: str, details: tuple[Any, ...]) -> None:
        nonlocal done
        if event != "open" and event not in _CHANGES:
            return
        path = details[0]
        if not isinstance(path, str | bytes | os.PathLike) or not os.path.abspath(os.fsdecode(path)).startswith(folder):
            return
        done += 1
        if done == strike_at:
            os.killpg(0, signal.SIGKILL)
        os.write(counter, b".")

    sys.addaudithook(watch)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
