"""Who works on a run: the file `.unfinished` in its folder, from its start until its record is written."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from edgebench import progress
from edgebench.errors import EdgebenchError

UNFINISHED = ".unfinished"
_PART = f"{UNFINISHED}.part"
HEARTBEAT_SECONDS = 5.0


@dataclass(frozen=True)
class Attempt:
    """One try at a run.

    Attributes:
        number: 1 for the first try; every later one goes on where the one before stood.
        start: When it began, ISO 8601 with time zone; empty where nobody wrote it down.
        host: Machine.
        user: Whose process it is.
        pid: The process; 0 where nobody wrote it down.
        process: What tells the process from a later one with the same number.
        job: SLURM's job, `123` or `123_4` of an array; empty outside.
        done: Steps or images finished.
        total: Steps or images in all; None while nobody knows.
        doing: What they are.
        seen: When it last wrote to this file.
        reason: Why it ended; empty while it runs, and after a kill.
        stopped: Whether it ended as it was told to and goes on when it is asked for again.
    """

    number: int = 1
    start: str = ""
    host: str = ""
    user: str = ""
    pid: int = 0
    process: str = ""
    job: str = ""
    done: int = 0
    total: int | None = None
    doing: str = ""
    seen: str = ""
    reason: str = ""
    stopped: bool = False


def read_attempt(folder: Path) -> Attempt | None:
    """The last try at the run in `folder`; None where nobody began it, or where it is finished.

    An empty or damaged file, or one of an older edgebench, says only that somebody began. Of a run that several jobs
    share, each says in a folder of its own below `work` how it is; one that has not failed goes before one that has.
    """
    tries = [_read(each) for each in (folder, *(folder / "work").glob("[0-9]*of[0-9]*"))]
    told = [each for each in tries if each is not None]
    return max(told, key=lambda each: (bool(each.host) and not each.reason, each.seen), default=None)


def _read(folder: Path) -> Attempt | None:
    try:
        content: Any = json.loads((folder / UNFINISHED).read_text())
        return Attempt(**{name: content[name] for name in asdict(Attempt()) if name in content})
    except (FileNotFoundError, NotADirectoryError):  # `3of8.json` is a file, the marker of a part that is done
        return None
    except (OSError, ValueError, TypeError):
        return Attempt()


@contextmanager
def attempted(folder: Path) -> Iterator[None]:
    """Say in `folder` that this process works on it, how far it is and, when the body raises, why it ended.

    Once the body succeeded nothing of it is left.
    """
    before = _read(folder)
    now = _now()
    own = Attempt(
        number=before.number + 1 if before else 1,
        start=now,
        host=platform.node(),
        user=_user(),
        pid=os.getpid(),
        process=_process(os.getpid()),
        job=_job(),
        seen=now,
    )
    _write(folder, own)
    latest = [own]
    try:
        with progress.told(_heart(folder, latest)):
            yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt) or getattr(error, "exit_status", None) == os.EX_TEMPFAIL
        reason = str(error).strip() or type(error).__name__
        if not isinstance(error, (EdgebenchError, KeyboardInterrupt)):
            reason = f"{type(error).__name__}: {reason}"
        # On a full disk the reason that counts is the one on its way up.
        with suppress(OSError):
            _write(folder, replace(latest[0], seen=_now(), reason=reason, stopped=stopped))
        raise
    for name in (UNFINISHED, _PART):
        (folder / name).unlink(missing_ok=True)


def _heart(folder: Path, latest: list[Attempt]) -> Callable[[str, int, int | None], None]:
    """What is told how far the work has come; it writes that down now and then."""
    last = -HEARTBEAT_SECONDS

    def beat(doing: str, done: int, total: int | None) -> None:
        nonlocal last
        latest[0] = replace(latest[0], doing=doing, done=done, total=total, seen=_now())
        if time.monotonic() - last >= HEARTBEAT_SECONDS:
            last = time.monotonic()
            with suppress(OSError):
                _write(folder, latest[0])

    return beat


def _write(folder: Path, attempt: Attempt) -> None:
    # One fixed temporary name, so that a kill leaves nothing that the next try does not replace; not flushed to the
    # disk, because an empty file after a power cut says enough.
    temporary = folder / _PART
    temporary.write_text(json.dumps(asdict(attempt)))
    os.replace(temporary, folder / UNFINISHED)


def state_of(attempt: Attempt, jobs: dict[str, str] | None) -> Literal["running", "failed", "interrupted", "unknown"]:
    """What became of a try.

    Args:
        attempt: What it wrote.
        jobs: States of this person's SLURM jobs by their number; None where SLURM is not here or does not answer.

    Returns:
        `failed` with a reason; `interrupted` when it stopped as told or was killed without a word; `unknown` when
        it began on a machine that cannot be asked.
    """
    if attempt.reason:
        return "interrupted" if attempt.stopped else "failed"
    if attempt.host == platform.node() and attempt.pid:
        return "running" if _process(attempt.pid) == attempt.process else "interrupted"
    if attempt.job and jobs is not None and attempt.user == _user():
        return "running" if jobs.get(attempt.job) in ("RUNNING", "COMPLETING", "SUSPENDED") else "interrupted"
    return "unknown" if attempt.host else "interrupted"


def slurm_jobs() -> tuple[dict[str, str], dict[str, str]] | None:
    """States of this person's SLURM jobs by number, and what each says of itself; None where SLURM does not answer."""
    command = ["squeue", "--me", "--noheader", "--states=all", "--format=%i|%T|%k"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    lines = [line.split("|", 2) for line in done.stdout.splitlines() if line.count("|") >= 2]
    return {job: state for job, state, _ in lines}, {job: comment for job, _, comment in lines}


def _process(pid: int) -> str:
    """Boot and start of a living process, which together tell it from all others; empty when there is none."""
    try:
        # Behind the name, which may hold anything: the state is the first word, the start the twentieth.
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return "" if words[0] in "ZX" else f"{boot} {words[19]}"
    except (FileNotFoundError, ProcessLookupError):
        if sys.platform == "linux":
            return ""
    except (OSError, IndexError):
        pass
    with suppress(OSError):  # no /proc: whether any process has this number
        os.kill(pid, 0)
        return "alive"
    return ""


def _job() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
