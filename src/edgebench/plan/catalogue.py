"""What is shared: finished runs whose archives DVC keeps, as far as a plan must know of them.

A shared run is two small files in git, `artifacts/ROLE/NAME.json` (its manifest) and `artifacts/ROLE/NAME.tar.dvc`
(DVC's pointer to the archive), where ROLE/NAME is its folder below `results/runs`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgebench.plan.methods import settings_class
from edgebench.plan.runs import Run

FOLDER = "artifacts"
POINTER = ".tar.dvc"
Mode = Literal["build", "pull", "auto"]
State = Literal["done", "pull", "build", "refused"]
_NAME = re.compile(r"[A-Za-z0-9_.-]+-[0-9a-f]{10}")


@dataclass(frozen=True)
class Artifact:
    """Where a shared run lies; all paths are relative to the repository, with forward slashes."""

    role: str
    name: str

    @property
    def id(self) -> str:
        """Identity of the run."""
        return self.name[-10:]

    @property
    def folder(self) -> str:
        """The run's folder."""
        return f"results/runs/{self.role}/{self.name}"

    @property
    def manifest(self) -> str:
        """What the archive holds, and where it comes from."""
        return f"{FOLDER}/{self.role}/{self.name}.json"

    @property
    def archive(self) -> str:
        """The archive itself, which git does not hold."""
        return f"{FOLDER}/{self.role}/{self.name}.tar"

    @property
    def pointer(self) -> str:
        """DVC's file that says which archive is meant."""
        return f"{FOLDER}/{self.role}/{self.name}{POINTER}"


def read_catalogue(root: Path) -> dict[str, Artifact]:
    """All shared runs by their folder; one without manifest or pointer is not shared yet."""
    found: dict[str, Artifact] = {}
    for path in sorted((root / FOLDER).glob(f"*/*{POINTER}")):
        artifact = Artifact(path.parent.name, path.name.removesuffix(POINTER))
        if _NAME.fullmatch(artifact.name) and (root / artifact.manifest).is_file():
            found[artifact.folder] = artifact
    return found


def withheld(run: Run) -> str:
    """Whose property a run is a copy of, so that it is not shared; empty for none."""
    if run.stage == "fetch":
        return f"the {'data set' if run.dataset else 'weights'} that its owners give out"
    if run.stage == "evaluate":
        return ""
    return settings_class(run.stage, run.settings["method"], run.folder).COPIES


def pattern(catalogue: Iterable[str]) -> str:
    """A regular expression that matches the names of the shared runs, or nothing where there are none."""
    return "|".join(re.escape(folder.rpartition("/")[2]) for folder in catalogue) or "(?!)"


@dataclass(frozen=True)
class Outlook:
    """What becomes of the runs that something needs.

    Attributes:
        states: `done` lies there, `pull` is brought from where it is shared, `build` is made here, and `refused` is a
            training that mode `pull` does not start; by run id. Runs that none of these needs are not among them.
    """

    runs: dict[str, Run]
    states: dict[str, State]

    def of(self, state: State) -> list[Run]:
        """The runs in a state."""
        return [self.runs[each] for each, found in self.states.items() if found == state]


def outlook(wanted: Iterable[Run], catalogue: dict[str, Artifact], mode: Mode, root: Path = Path(".")) -> Outlook:
    """What becomes of `wanted` and of all runs that must be made for them.

    Args:
        wanted: Runs whose files are asked for.
        catalogue: What is shared.
        mode: The person's choice (`checkpoints`).
        root: Folder that the runs' folders are relative to.
    """
    runs: dict[str, Run] = {}
    states: dict[str, State] = {}

    def visit(run: Run) -> None:
        if run.id in runs:
            return
        runs[run.id] = run
        if (root / run.record).exists():
            states[run.id] = "done"
        elif mode != "build" and run.folder in catalogue:
            states[run.id] = "pull"
        else:
            states[run.id] = "refused" if mode == "pull" and run.trains else "build"
            for each in run.inputs.values():
                visit(each)

    for run in wanted:
        visit(run)
    return Outlook(runs, states)
