"""A run and its identity."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from edgebench.files import digest

Map = dict[str, Any]

# Raised by hand when a score changes; methods have a VERSION in their settings instead.
EVALUATE_VERSION = {
    "edges": 1,
    "crispness": 1,
    "perceptual": 1,
    "masks": 1,
    "outlines": 1,
    "instances": 1,
    "panoptic": 1,
    "instance_edges": 1,
}

START_MINUTES = 5
"""What a job that shares a run may take before its first image: it starts and loads what the others load too."""

# Parts of a definition that say who made it, where it lies and how it is scored, not what it holds.
_NOT_CONTENT = {"edge_tolerance", "title", "licence", "terms", "citation", "files", "bytes", "gate", "manifest_file"}
_NOT_OF_SOURCE = {"mirrors", "archives"}
_NOT_OF_ARCHIVE = {"urls", "bytes", "unpinned"}


@dataclass(frozen=True)
class Run:
    """A stage applied to resolved settings and to other runs.

    Attributes:
        stage: `fetch`, `train`, `predict` or `evaluate`.
        role: What the run is for in its recipe (`pretrain`, `finetune`, ...); a folder below `results/runs`.
        version: VERSION of the stage and method.
        scale: Name of the scale; empty for runs that every scale shares.
        seed: Seed, or None where nothing is random.
        settings: Resolved settings without resources and without references to other runs.
        inputs: Runs that this one needs, by the name of the setting that names them.
        words: Readable words of the label.
        dataset: Definition of the data set.
        checkpoint: Definition of the checkpoint that a fetch run brings.
        stands_for: Data set of the recipe that the scale replaced by `dataset`; no part of the identity.
        does_without: Checkpoints that the recipe names and the scale leaves out; no part of the identity.
        protocol: Definition of the protocol of an evaluation.
        resources: What it asks of a machine; no part of the identity.
    """

    stage: str
    role: str
    version: int
    scale: str
    seed: int | None
    settings: Map
    inputs: dict[str, Run]
    words: tuple[str, ...]
    dataset: Map | None = None
    protocol: Map | None = None
    checkpoint: Map | None = None
    stands_for: str | None = None
    does_without: tuple[str, ...] = ()
    resources: Map = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """10 hex digits over everything that decides the run's result."""
        return digest(
            {
                "stage": self.stage,
                "version": self.version,
                "scale": self.scale,
                "seed": self.seed,
                "settings": self.settings,
                "inputs": {name: run.id for name, run in self.inputs.items()},
                "dataset": definition_digest(self.dataset),
                "protocol": definition_digest(self.protocol),
                "checkpoint": checkpoint_digest(self.checkpoint),
            },
            length=10,
        )

    @property
    def label(self) -> str:
        """Readable words of the settings, fit for a file name."""
        words = [*self.words, *([f"seed{self.seed}"] if self.seed else [])]
        return re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(words)).strip("-")[:80]

    @property
    def name(self) -> str:
        """Label and id: the last part of the folder."""
        return f"{self.label}-{self.id}"

    @property
    def folder(self) -> str:
        """The run's folder, relative to the working folder, with forward slashes."""
        return f"results/runs/{self.role}/{self.name}"

    @property
    def record(self) -> str:
        """The file that is written last: the run is finished when it exists."""
        return f"{self.folder}/run.json"

    @property
    def spec_file(self) -> str:
        """Where the plan writes what the job needs to know."""
        return f"results/plan/runs/{self.id}.json"

    @property
    def parts(self) -> list[str]:
        """Names of the jobs that share the run (`1of4`, `2of4`, ...); empty where one job does all of it."""
        shards = self.resources.get("shards", 1)
        return [f"{number}of{shards}" for number in range(1, shards + 1)] if shards > 1 else []

    def job_resources(self, part: bool = False) -> Map:
        """What one job of the run asks of a machine.

        Args:
            part: Whether it is one of those that share the run; of a shared run, the other one is the job that gathers
                what they made, which computes nothing and so needs no GPU.
        """
        if not self.parts:
            return self.resources
        asked = self.resources | {"minutes": START_MINUTES + self.resources["minutes"] / len(self.parts)}
        return asked if part else asked | {"gpus": 0, "vram_gb": 0}

    @property
    def trains(self) -> bool:
        """Whether it trains a network; to convert the weights that somebody released is none."""
        return self.stage == "train" and "checkpoint" not in self.inputs

    def spec(self) -> Map:
        """What the job needs to know, as plain data."""
        return {
            "id": self.id,
            "stage": self.stage,
            "role": self.role,
            "label": self.label,
            "folder": self.folder,
            "version": self.version,
            "scale": self.scale,
            "seed": self.seed,
            "settings": self.settings,
            "inputs": {name: run.folder for name, run in self.inputs.items()},
            "input_ids": {name: run.id for name, run in self.inputs.items()},
            "dataset": self.dataset,
            "protocol": self.protocol,
            "checkpoint": self.checkpoint,
            "resources": self.resources,
        }

    def upstream(self) -> list[Run]:
        """All runs that this one needs, each once, in an order in which they could be carried out."""
        ordered: dict[str, Run] = {}

        def visit(run: Run) -> None:
            for each in run.inputs.values():
                visit(each)
                ordered.setdefault(each.id, each)

        visit(self)
        return list(ordered.values())


def all_gpus(resources: Map) -> int:
    """Number of GPUs that a run holds, over all its nodes."""
    gpus: int = resources.get("gpus", 0) * resources.get("nodes", 1)
    return gpus


def definition_digest(definition: Map | None) -> str | None:
    """Digest of a definition's content; titles, terms, mirrors and addresses do not count."""
    if definition is None:
        return None
    content = {key: value for key, value in definition.items() if key not in _NOT_CONTENT}
    if "source" in content:
        content["source"] = {key: value for key, value in content["source"].items() if key not in _NOT_OF_SOURCE}
        if archives := definition["source"].get("archives"):  # an empty list would change the ids of all others
            content["source"]["archives"] = [
                {key: value for key, value in archive.items() if key not in _NOT_OF_ARCHIVE} for archive in archives
            ]
    return digest(content)


def is_pinned(definition: Map) -> bool:
    """Whether a definition admits one content only.

    A checkpoint's names a commit of the hub, or digests of all files; a data set's has a manifest, digests of all
    archives, or is drawn. What a folder of one's own holds nobody knows beforehand.
    """
    if "format" not in definition:  # a data set's
        archives = definition["source"].get("archives")
        by_archives = bool(archives) and all(each.get("sha256") or each.get("md5") for each in archives)
        return by_archives or bool(definition["source"].get("manifest") or definition["source"].get("draw"))
    checkpoint = definition
    hub = checkpoint["source"].get("hub")
    digests = [path for path, known in checkpoint["files"].items() if known.get("sha256")]
    patterns = hub["patterns"] if hub else checkpoint["files"]
    by_digest = all(any(fnmatchcase(path, pattern) for path in digests) for pattern in patterns)
    if checkpoint["format"] == "memo_deepspeed":  # always one file, under whichever name
        by_digest = bool(digests)
    return by_digest or (hub is not None and re.fullmatch("[0-9a-f]{40}", hub["revision"]) is not None)


def checkpoint_digest(definition: Map | None) -> str | None:
    """Digest of what decides a checkpoint's files: format, place on the hub and SHA-256 digests."""
    if definition is None:
        return None
    files = {path: known.get("sha256") for path, known in definition["files"].items()}
    return digest({"format": definition["format"], "hub": definition["source"].get("hub"), "files": files})
