"""Calling DVC: one call at a time, since its own locks forbid more, and with its complaints as errors."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from edgebench.errors import EdgebenchError
from edgebench.plan.catalogue import Artifact

LOCK = ".dvc/tmp/edgebench.lock"
_TARGETS = 500
"""Files named in one call, so that a command line is never too long."""
# By a regular expression for what DVC says; digits alone also stand in the names of runs.
HINTS = {
    "no remote": "Name one: `dvc remote add --default NAME URL`.",
    "credentials": "Give DVC yours: docs/sharing.md, 'Access'.",
    "forbidden": "Give DVC credentials that may do this: docs/sharing.md, 'Access'.",
    r"\b403\b": "Give DVC credentials that may do this: docs/sharing.md, 'Access'.",
    "permission denied": "Give DVC credentials that may do this: docs/sharing.md, 'Access'.",
    "access denied": "Give DVC credentials that may do this: docs/sharing.md, 'Access'.",
    "no space left": "Free some space, then run the same command again.",
}


@dataclass(frozen=True)
class Dvc:
    """The repository's DVC, while nobody else calls it."""

    root: Path
    lock: int

    def call(self, command: str, targets: Sequence[str]) -> str:
        """Call DVC's `command` for files.

        Returns:
            What it complained of; empty when it did everything.

        Raises:
            EdgebenchError: DVC is not installed.
        """
        if importlib.util.find_spec("dvc") is None:
            raise EdgebenchError("DVC is not installed. Type `pip install 'edgebench[share]'`, or `make setup`.")
        complaints = []
        for start in range(0, len(targets), _TARGETS):
            done = subprocess.run(
                [sys.executable, "-m", "dvc", command, *targets[start : start + _TARGETS]],
                cwd=self.root,
                env={**os.environ, "DVC_NO_ANALYTICS": "1"},
                capture_output=True,
                text=True,
                pass_fds=[self.lock],  # when this process is killed, the lock lasts as long as DVC's call
            )
            if done.returncode:
                complaints.append(explain(done.stdout + done.stderr))
        return " ".join(complaints)


@contextmanager
def locked(root: Path) -> Iterator[Dvc]:
    """Wait until nobody else shares or pulls in this repository, and keep others waiting.

    Raises:
        EdgebenchError: the repository does not use DVC.
    """
    if not (root / ".dvc" / "config").is_file():
        raise EdgebenchError(
            f"{root}: holds no .dvc/config, so nothing can be shared from here. Work in a clone of the repository."
        )
    path = root / LOCK
    path.parent.mkdir(exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another call of edgebench publish or pull.", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield Dvc(root, file.fileno())


def cached(root: Path, artifact: Artifact) -> str:
    """Where DVC's cache holds the archive that a pointer means, unless the person moved the cache."""
    md5 = str(yaml.safe_load((root / artifact.pointer).read_text())["outs"][0].get("md5", ""))
    return f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}"


def explain(printed: str) -> str:
    """What DVC printed when it failed, as one paragraph that ends with what to do, where that is known."""
    _, found, error = printed.partition("ERROR: ")
    said = " ".join((error if found else printed).split("\n\n")[0].split())
    hint = next((hint for sign, hint in HINTS.items() if re.search(sign, said.lower())), "")
    return f"DVC says: {said.rstrip('.')}. {hint}".strip()
