"""One process at a time on a run, however it was started."""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgebench.errors import EdgebenchError
from edgebench.files import require_writable
from edgebench.plan.attempts import read_attempt

WAIT_SECONDS = 150.0
"""A job that was told to end needs a while to save; a network file system frees a dead machine's locks after 90 s."""
POLL_SECONDS = 0.5


@contextmanager
def alone(lock: Path, folder: Path, shared: bool = False) -> Iterator[bool]:
    """Hold a run, which no other process can hold meanwhile; yields whether one had to be waited for.

    What is locked is a file of its own (`flock`), so that the lock ends with the process, however that ends. On a
    network file system it holds between machines where the system has such locks (NFS from version 4, Lustre mounted
    with `flock`); where it has none this is said, and nothing is locked.

    Args:
        lock: The file; made when it is missing, and left there.
        folder: The run's folder, for messages.
        shared: Whether others may hold it so, too; none that wants it alone does meanwhile.

    Raises:
        EdgebenchError: another process still holds the run after `WAIT_SECONDS`, or the file cannot be written.
    """
    if not lock.exists():
        require_writable(lock)
    try:
        file = lock.open("a+")  # NFS wants a file that can be read for a shared lock
    except OSError as error:
        raise EdgebenchError(f"{lock}: cannot be opened ({error.strerror}). Make it yours, or delete it.") from None
    with file:
        yield _acquired(file.fileno(), folder, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def _acquired(handle: int, folder: Path, kind: int) -> bool:
    """Lock an open file; whether another process had it before."""
    begun, waited = time.monotonic(), False
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return waited
        except BlockingIOError:
            if time.monotonic() - begun >= WAIT_SECONDS:
                raise EdgebenchError(
                    f"{folder}: {_holder(folder)} works on this run. When it has ended, or you ended it, run the same "
                    f"command again; what is done so far is kept."
                ) from None
        except OSError as error:
            _say(f"{folder}: no locks here ({error.strerror}). See that no other process works on this run.")
            return False
        if not waited:
            _say(f"{folder}: waiting for {_holder(folder)}, which works on this run.")
            waited = True
        time.sleep(POLL_SECONDS)


def _holder(folder: Path) -> str:
    attempt = read_attempt(folder)
    if attempt is None or not attempt.pid:
        return "another process"
    job = f", job {attempt.job}" if attempt.job else ""
    return f"process {attempt.pid} on {attempt.host}{job}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
