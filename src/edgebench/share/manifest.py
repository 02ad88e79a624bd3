"""The manifest of a shared run: what its archive holds, and what it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from edgebench.errors import DataError
from edgebench.files import pretty_json, read_json
from edgebench.plan.catalogue import Artifact
from edgebench.plan.reading import validate
from edgebench.plan.runs import Run
from edgebench.plan.settings import Strict
from edgebench.share.archive import Content, stays_inside

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Origin(Strict):
    """A data set or checkpoint that a run derives from, with its owners' terms."""

    kind: Literal["dataset", "checkpoint"]
    name: str
    title: str
    licence: str
    terms: str
    gate: Literal["none", "accept", "manual"]


class Archive(Strict):
    """The archive as a whole."""

    bytes: int
    sha256: Sha256


class Code(Strict):
    """What made the run: version of edgebench, fingerprint of its sources, git revision."""

    edgebench: str
    fingerprint: str
    git: str | None


class Manifest(Strict):
    """What stands in `artifacts/ROLE/NAME.json`.

    Attributes:
        id: Identity of the run.
        inputs: Ids of the runs that it was made from, by what they were for.
        derived_from: Whose terms bear on it.
        files: `SHA256 SIZE` of each file, by its path below the run's folder.
    """

    id: Annotated[str, Field(pattern="^[0-9a-f]{10}$")]
    stage: Literal["train", "predict", "evaluate"]
    role: str
    label: str
    method: str
    scale: str
    seed: int | None
    inputs: dict[str, str]
    code: Code
    derived_from: list[Origin]
    archive: Archive
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64} \d+$")]]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if not stays_inside(name):
                raise ValueError(f"'{name}' leads out of the run's folder or is hidden")
        if "run.json" not in files:
            raise ValueError("the run's record, run.json, is not among them")
        return files

    @property
    def contents(self) -> dict[str, Content]:
        """Size and digest of each file."""
        return {name: Content(int(line[65:]), line[:64]) for name, line in self.files.items()}

    def text(self) -> str:
        """As it is written."""
        return pretty_json(self.model_dump())


def make_manifest(run: Run, record: dict[str, Any], files: dict[str, Content], archive: Archive) -> Manifest:
    """The manifest of a finished run.

    Args:
        run: As it is planned; what it derives from is told by the definitions of today.
        record: Its `run.json`.
        files: What the archive holds.
        archive: The archive as a whole.
    """
    return Manifest(
        id=run.id,
        stage=run.stage,  # type: ignore[arg-type]
        role=run.role,
        label=run.label,
        method=run.settings["method"],
        scale=run.scale,
        seed=run.seed,
        inputs=record["inputs"],
        code=Code(**{key: record["code"][key] for key in ("edgebench", "fingerprint", "git")}),
        derived_from=origins(run),
        archive=archive,
        files={name: f"{each.sha256} {each.size}" for name, each in files.items()},
    )


def origins(run: Run) -> list[Origin]:
    """Data sets and checkpoints that a run derives from, each once."""
    found: dict[tuple[str, str], Origin] = {}
    for each in [*run.upstream(), run]:
        for kind, definition in (("dataset", each.dataset), ("checkpoint", each.checkpoint)):
            if definition is not None:
                terms = {key: definition[key] for key in ("name", "title", "licence", "terms")}
                gate = definition.get("gate", "none")
                found[kind, definition["name"]] = Origin(kind=kind, gate=gate, **terms)  # type: ignore[arg-type]
    return list(found.values())


def read_manifest(root: Path, artifact: Artifact) -> Manifest:
    """The manifest of a shared run.

    Raises:
        EdgebenchError: it is missing, damaged, or speaks of another run than its name says.
    """
    path = root / artifact.manifest
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: not the manifest of a shared run. Restore it with git.")
    manifest = validate(Manifest, content, artifact.manifest)
    if (manifest.role, f"{manifest.label}-{manifest.id}") != (artifact.role, artifact.name):
        raise DataError(
            f"{path}: speaks of {manifest.role}/{manifest.label}-{manifest.id}, not of the run that it is named after. "
            f"Restore it with git."
        )
    return manifest
