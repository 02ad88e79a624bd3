"""Stage `fetch`: a data set's definition in, checked files in their original layout out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgebench.errors import EdgebenchError
from edgebench.stages.spec import RunSpec


def fetch(spec: RunSpec) -> dict[str, Any]:
    """Put the checked files of a data set into the run's folder.

    Raises:
        EdgebenchError: the terms are not accepted yet, or files are missing or damaged at every mirror.
    """
    from edgebench.data.fetch import fetch as fetch_files
    from edgebench.data.manifest import read_manifest

    definition = spec.content["dataset"]
    name = definition["name"]
    if not spec.content.get("accepted", True):
        raise EdgebenchError(
            f"config/datasets/{name}.yaml: the terms of '{definition['title']}' must be accepted first: "
            f"{definition['terms']} Then type `edgebench fetch {name} --accept-terms`."
        )
    manifest = read_manifest(Path(definition["manifest_file"])) if "manifest_file" in definition else None
    report = fetch_files(definition, manifest, spec.folder, spec.content.get("mirrors", []), jobs=spec.threads)
    return {
        "n_images": sum(definition["images"].values()),
        "files": report.n_files,
        "bytes": report.n_bytes,
        "origins": report.origins,
        "digest": report.digest,
    }
