"""Bringing shared runs here, each whole and as it was shared, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from edgebench.errors import EdgebenchError
from edgebench.files import sha256_file
from edgebench.plan.attempts import UNFINISHED
from edgebench.plan.catalogue import Artifact
from edgebench.share.archive import differences, unpack
from edgebench.share.dvc import Dvc, cached, locked
from edgebench.share.manifest import Manifest, read_manifest
from edgebench.stages.alone import alone
from edgebench.stages.record import RECORD

State = Literal["pulled", "here", "made here", "missing", "mismatch"]


@dataclass(frozen=True)
class Outcome:
    """What became of one shared run.

    Attributes:
        state: `pulled` now; `here` already; `made here`, so that it was left alone; `missing` from the remote; or
            `mismatch`: not what was shared, and not used.
        note: Why, and what to type.
    """

    artifact: Artifact
    state: State
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether the run is not here."""
        return self.state in ("missing", "mismatch")


def pull(root: Path, artifacts: list[Artifact]) -> Iterator[Outcome]:
    """Bring shared runs to where the workflow looks for them.

    Archives that lie there already are used without asking DVC. Nothing that differs from its manifest is unpacked.

    Yields:
        What became of each run, as soon as it is known.

    Raises:
        EdgebenchError: the repository does not use DVC, or DVC is not installed.
    """
    with locked(root) as dvc:
        wanted: list[tuple[Artifact, Manifest]] = []
        for artifact in artifacts:
            try:
                manifest = read_manifest(root, artifact)
                if (root / artifact.folder / RECORD).exists():
                    yield _present(root, artifact, manifest)
                    continue
                _check_pointer(root, artifact, manifest)
                wanted.append((artifact, manifest))
            except EdgebenchError as error:
                yield Outcome(artifact, "mismatch", str(error))
        complaint = _download(dvc, (artifact for artifact, _ in wanted))
        for artifact, manifest in wanted:
            yield _unpacked(root, artifact, manifest, complaint)


def _present(root: Path, artifact: Artifact, manifest: Manifest) -> Outcome:
    """Whether a run that is here is the shared one."""
    found = differences(root / artifact.folder, manifest.contents)
    if not found:
        return Outcome(artifact, "here")
    if any(each.startswith(f"{RECORD} ") for each in found):
        return Outcome(artifact, "made here", "it is not the shared one, and was left alone.")
    return Outcome(
        artifact,
        "mismatch",
        f"{artifact.folder} was pulled, but is damaged: {found[0]}. Type `rm -r {artifact.folder}` and pull again.",
    )


def _check_pointer(root: Path, artifact: Artifact, manifest: Manifest) -> None:
    """Check before a download that DVC's pointer means the archive of the manifest.

    Raises:
        EdgebenchError: it does not.
    """
    path = root / artifact.pointer
    try:
        (out,) = yaml.safe_load(path.read_text())["outs"]
        name, size = out["path"], out["size"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise EdgebenchError(f"{path}: not DVC's pointer to one file ({error!r}). Restore it with git.") from None
    if (name, size) != (Path(artifact.archive).name, manifest.archive.bytes):
        raise EdgebenchError(
            f"{path}: points to '{name}' of {size} bytes, but {artifact.manifest} speaks of {manifest.archive.bytes} "
            f"bytes. The two were not committed together; restore them with git."
        )


def _download(dvc: Dvc, artifacts: Iterable[Artifact]) -> str:
    """Let DVC bring the archives that are not here; returns its complaints."""
    absent = [artifact.pointer for artifact in artifacts if not (dvc.root / artifact.archive).exists()]
    # Not verified by DVC, which would delete a damaged object from the remote and call it missing.
    return dvc.call("pull", absent) if absent else ""


def _unpacked(root: Path, artifact: Artifact, manifest: Manifest, complaint: str) -> Outcome:
    archive = root / artifact.archive
    if not archive.exists():
        return Outcome(artifact, "missing", f"the remote lacks it, or DVC found it damaged there. {complaint}")
    if archive.stat().st_size != manifest.archive.bytes or sha256_file(archive) != manifest.archive.sha256:
        return Outcome(
            artifact,
            "mismatch",
            f"{artifact.archive} is not the archive that was shared (SHA-256). Type `rm -f {artifact.archive} "
            f"{cached(root, artifact)}` and pull again. If that brings the same, the remote holds a damaged object: "
            f"whoever shared it deletes that and publishes again.",
        )
    folder = root / artifact.folder
    try:
        with alone(root / f"results/plan/runs/{artifact.id}.lock", folder):  # as the job that would make it
            if (folder / RECORD).exists():
                return _present(root, artifact, manifest)
            replaced = (folder / UNFINISHED).exists()
            unpack(archive, manifest.contents, folder)
    except EdgebenchError as error:
        return Outcome(artifact, "mismatch", str(error))
    return Outcome(artifact, "pulled", "an unfinished attempt that lay there was replaced." if replaced else "")
