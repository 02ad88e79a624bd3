"""Stage `fetch`: the definition of a data set or a checkpoint in, checked files in their original layout out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgebench.errors import ConfigError, EdgebenchError
from edgebench.files import read_json
from edgebench.stages.record import RECORD
from edgebench.stages.spec import RunSpec


def fetch(spec: RunSpec) -> dict[str, Any]:
    """Put the checked files of a data set or a checkpoint into the run's folder.

    Raises:
        ConfigError: a checkpoint holds another network than its definition states.
        EdgebenchError: the terms are not accepted yet, or files are missing or damaged at every mirror.
    """
    kind = "dataset" if spec.content["dataset"] else "checkpoint"
    definition = spec.content[kind]
    name = definition["name"]
    if not spec.content.get("accepted", True):
        raise EdgebenchError(
            f"config/{kind}s/{name}.yaml: the terms of '{definition['title']}' must be accepted first: "
            f"{definition['terms']} Then type `edgebench fetch {name} --accept-terms`."
        )
    return (_dataset if kind == "dataset" else _checkpoint)(spec, definition)


def _dataset(spec: RunSpec, definition: dict[str, Any]) -> dict[str, Any]:
    from edgebench.data.fetch import fetch as fetch_files
    from edgebench.data.manifest import read_manifest

    manifest = read_manifest(Path(definition["manifest_file"])) if "manifest_file" in definition else None
    report = fetch_files(definition, manifest, spec.folder, spec.content.get("mirrors", []), jobs=spec.threads)
    return {
        "n_images": sum(definition["images"].values()) if report.n_images is None else report.n_images,
        **({"n_failed": report.n_failed} if report.n_failed else {}),
        "files": report.n_files,
        "bytes": report.n_bytes,
        "origins": report.origins,
        **({"archives": report.archives} if report.archives else {}),
        "digest": report.digest,
    }


def _checkpoint(spec: RunSpec, definition: dict[str, Any]) -> dict[str, Any]:
    from edgebench.data.hub import fetch_checkpoint

    earlier = _earlier(spec.folder)
    if earlier and spec.content.get("mirrors", []) == definition["source"]["mirrors"]:
        return earlier
    fetched = fetch_checkpoint(definition, spec.folder, spec.content.get("mirrors", []), jobs=spec.threads)
    if definition["format"] == "memo_deepspeed":
        from edgebench.methods.memo.released import read_released

        # Before there is a record, so that a file that cannot be converted does not pass for fetched.
        found = read_released(spec.folder / fetched.files[0].path, device="meta").preset
        require_preset(definition["name"], definition["preset"], found)
    elif definition["format"] == "diffdis_diffusers":
        from edgebench.methods.diffdis.released import released_preset

        require_preset(definition["name"], definition["preset"], released_preset(spec.folder))
    return {
        "checkpoint": definition["name"],
        "files": fetched.report.n_files,
        "bytes": fetched.report.n_bytes,
        "origins": fetched.report.origins,
        "commit": fetched.commit,
        "contents": [{"path": each.path, "bytes": each.size, "sha256": each.sha256} for each in fetched.files],
    }


def require_preset(checkpoint: str, stated: str, found: str) -> None:
    """Raise a ConfigError where a checkpoint holds another network than its definition states."""
    if found != stated:
        raise ConfigError(
            f"config/checkpoints/{checkpoint}.yaml: preset is '{stated}', but the weights are those of '{found}'. "
            f"Correct it, or name the right file: `edgebench fetch {checkpoint} --mirror FILE`."
        )


def _earlier(folder: Path) -> dict[str, Any] | None:
    """What an earlier fetch recorded, when all its files are still what they were; the hub is not asked then."""
    from edgebench.data.checks import file_fault
    from edgebench.data.manifest import ManifestEntry

    if not (folder / RECORD).exists():
        return None
    record = read_json(folder / RECORD)
    for each in record["contents"]:
        file = folder / each["path"]
        if not file.is_file() or file_fault(file, ManifestEntry(each["path"], each["bytes"], each["sha256"])):
            return None
    return {key: record[key] for key in ("checkpoint", "files", "bytes", "origins", "commit", "contents")}
