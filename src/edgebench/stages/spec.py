"""What a job knows about its run: the plan file, and where everything lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgebench.errors import EdgebenchError
from edgebench.files import read_json, sha256_file
from edgebench.stages.parts import WORK, Item, Part

Map = dict[str, Any]
STAGES = ("fetch", "train", "predict", "evaluate")


@dataclass(frozen=True)
class RunSpec:
    """The plan file of one run.

    Attributes:
        content: All of it, as `edgebench.plan.runs.Run.spec` wrote it.
        threads: Processor cores that the job may use.
        part: Which part of the run the job works on; None where it does all of it.
    """

    content: Map
    threads: int = 1
    part: Part | None = None

    @property
    def settings(self) -> Map:
        """Resolved settings of the method."""
        return self.content["settings"]

    @property
    def folder(self) -> Path:
        """Where the run writes."""
        return Path(self.content["folder"])

    @property
    def title(self) -> str:
        """What the work is called while it goes on."""
        return f"{self.content['label']}, {self.part}" if self.part else self.content["label"]

    @property
    def work(self) -> Path:
        """Where the job keeps what only an interrupted one still needs."""
        return self.folder / WORK / (str(self.part) if self.part else "")

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Those of the run's items that the job works on."""
        return self.part.share(items) if self.part else list(items)

    @property
    def seed(self) -> int:
        """Seed of everything random in the run."""
        return self.content["seed"] or 0

    def input(self, name: str) -> Path:
        """Folder of a run that this one needs.

        Raises:
            EdgebenchError: it is not finished, its record is damaged, or its weights are not what it recorded.
        """
        folder = Path(self.content["inputs"][name])
        if not (folder / "run.json").exists():
            raise EdgebenchError(
                f"{folder}: this run is needed first ({name}), but it is not finished. "
                f"Type `snakemake {folder}/run.json`."
            )
        record = read_json(folder / "run.json")  # where that was cut short, the files beside it are not to be trusted
        if record.get("stage") == "train":
            for each in record.get("contents", []):
                _require_unchanged(folder / each["path"], each["bytes"], each["sha256"])
        return folder


def _require_unchanged(file: Path, size: int, sha256: str) -> None:
    if not file.is_file() or file.stat().st_size != size or _digest(file, file.stat().st_mtime_ns) != sha256:
        raise EdgebenchError(
            f"{file}: missing, cut short or changed since its run was finished. Delete the folder {file.parent} and "
            f"run snakemake again."
        )


@cache
def _digest(file: Path, written: int) -> str:
    """SHA-256 of a file that was `written` then; a run may ask for its weights several times."""
    return sha256_file(file)


def read_spec(path: Path, threads: int = 1, part: Part | None = None) -> RunSpec:
    """Read a plan file.

    Raises:
        EdgebenchError: it is missing or is not a plan file.
    """
    content = read_json(path)
    needed = {"stage", "folder", "settings", "inputs", "label", "seed", "resources"}
    if not isinstance(content, dict) or not needed <= set(content) or content["stage"] not in STAGES:
        raise EdgebenchError(f"{path}: not the plan file of a run. They lie in results/plan/runs.")
    return RunSpec(content, threads, part)
