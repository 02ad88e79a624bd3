"""What a job knows about its run: the plan file, and where everything lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebench.errors import EdgebenchError
from edgebench.files import read_json

Map = dict[str, Any]
STAGES = ("fetch", "train", "predict", "evaluate")


@dataclass(frozen=True)
class RunSpec:
    """The plan file of one run.

    Attributes:
        content: All of it, as `edgebench.plan.runs.Run.spec` wrote it.
        threads: Processor cores that the job may use.
    """

    content: Map
    threads: int = 1

    @property
    def settings(self) -> Map:
        """Resolved settings of the method."""
        return self.content["settings"]

    @property
    def folder(self) -> Path:
        """Where the run writes."""
        return Path(self.content["folder"])

    @property
    def seed(self) -> int:
        """Seed of everything random in the run."""
        return self.content["seed"] or 0

    def input(self, name: str) -> Path:
        """Folder of a run that this one needs.

        Raises:
            EdgebenchError: it is not finished.
        """
        folder = Path(self.content["inputs"][name])
        if not (folder / "run.json").exists():
            raise EdgebenchError(
                f"{folder}: this run is needed first ({name}), but it is not finished. "
                f"Type `snakemake {folder}/run.json`."
            )
        return folder


def read_spec(path: Path, threads: int = 1) -> RunSpec:
    """Read a plan file.

    Raises:
        EdgebenchError: it is missing or is not a plan file.
    """
    content = read_json(path)
    needed = {"stage", "folder", "settings", "inputs", "label", "seed", "resources"}
    if not isinstance(content, dict) or not needed <= set(content) or content["stage"] not in STAGES:
        raise EdgebenchError(f"{path}: not the plan file of a run. They lie in results/plan/runs.")
    return RunSpec(content, threads)
