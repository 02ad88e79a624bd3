"""Released checkpoints: which files they are, on the Hugging Face hub or elsewhere, and bringing them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from edgebench.data.download import TIMEOUT_SECONDS, UnavailableError, open_session, remote_size
from edgebench.data.manifest import ManifestEntry, stays_inside
from edgebench.data.mirrors import FetchReport, fetch_files
from edgebench.errors import DataError
from edgebench.files import sha256_file

SHOWN = 10  # files of a repository that an error lists


@dataclass(frozen=True)
class CheckpointFiles:
    """What a fetch of a checkpoint brought.

    Attributes:
        report: What the fetch did.
        files: The files with their full SHA-256.
        commit: Commit of the hub's repository; None when the files came from elsewhere.
    """

    report: FetchReport
    files: list[ManifestEntry]
    commit: str | None


def fetch_checkpoint(
    definition: Mapping[str, Any], destination: str | Path, mirrors: Sequence[str] = (), jobs: int = 4
) -> CheckpointFiles:
    """Put a checkpoint's files into `destination`, each one whole and checked, or not at all.

    What the definition knows of a file is checked, and so are the size and the digest that the hub states. A local
    mirror serves without any network. `HF_ENDPOINT` names another hub.

    Args:
        definition: The checkpoint's definition.
        destination: Folder to fill; files keep their paths.
        mirrors: A local file or folder, or base URLs, tried before the definition's own source.
        jobs: Files at a time.

    Raises:
        ConfigError: a mirror is of no known kind.
        DataError: the files cannot be obtained or are not what they should be; says what to do next.
        EdgebenchError: the disk is full.
    """
    destination, commit = Path(destination), None
    public = list(definition["source"]["mirrors"])
    own = [mirror for mirror in mirrors if mirror not in public]
    if own and "://" not in own[0]:
        own, entries = _in_folder(definition, Path(own[0]))
    elif definition["source"].get("hub"):
        try:
            base, commit, entries = _on_hub(definition)
            public = [base]
        except UnavailableError as error:
            # Without the hub a mirror can still serve, if the files' names are known; less is then checked.
            if not own or any("*" in pattern for pattern in _patterns(definition)):
                raise DataError(
                    f"{error}. Try again on a machine with internet, {_otherwise(definition['name'])}."
                ) from None
            entries = _listed(definition, own)
    else:
        entries = _listed(definition, [*own, *public])
    entries = [_with_known(definition, entry, alone=len(entries) == 1) for entry in entries]
    report = fetch_files(definition["name"], entries, destination, [*own, *public], jobs)
    files = [replace(entry, sha256=sha256_file(destination / entry.path)) for entry in entries]
    return CheckpointFiles(report, files, commit)


def _otherwise(name: str) -> str:
    return f"or bring the files yourself: `edgebench fetch {name} --mirror FILE_OR_FOLDER`"


def _patterns(definition: Mapping[str, Any]) -> list[str]:
    hub = definition["source"].get("hub")
    return list(hub["patterns"]) if hub else list(definition["files"])


def _in_folder(definition: Mapping[str, Any], given: Path) -> tuple[list[str], list[ManifestEntry]]:
    """A folder of the person's own as the mirror, and the checkpoint's files in it, or the one file that was named."""
    name, patterns = definition["name"], _patterns(definition)
    if not given.exists():
        raise DataError(f"{given}: no such file or folder. Name another one: `edgebench fetch {name} --mirror PATH`.")
    if given.is_file():
        if len(patterns) > 1:
            raise DataError(
                f"{given}: {name} has several files ({', '.join(patterns)}). Name the folder that holds them."
            )
        return [str(given.parent)], [ManifestEntry(given.name, given.stat().st_size, sha256_file(given))]
    paths = sorted(file.relative_to(given).as_posix() for file in given.rglob("*") if file.is_file())
    chosen = []
    for pattern in patterns:
        # In a folder of one's own the file may also lie at the top: mp_rank_00_model_states.pt, for all of MEMO's.
        plain = PurePosixPath(pattern).name
        found = [path for path in paths if fnmatchcase(path, pattern)] or [p for p in paths if fnmatchcase(p, plain)]
        if not found:
            raise DataError(
                f"{given}: holds no file {pattern} or {plain}, which {name} needs. Name the file itself or another "
                f"folder: `edgebench fetch {name} --mirror PATH`."
            )
        chosen += found
    _check_single(definition, chosen, str(given))
    return [str(given)], [
        ManifestEntry(path, (given / path).stat().st_size, sha256_file(given / path)) for path in dict.fromkeys(chosen)
    ]


def _on_hub(definition: Mapping[str, Any]) -> tuple[str, str, list[ManifestEntry]]:
    """Base URL, commit and files of the hub's repository that match the patterns."""
    from huggingface_hub import HfApi, constants, hf_hub_url
    from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError, RevisionNotFoundError

    hub, name = definition["source"]["hub"], definition["name"]
    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
    place = f"{endpoint}/{hub['repo']}"
    correct = f"Correct `source.hub` in config/checkpoints/{name}.yaml, {_otherwise(name)}"
    try:
        # Without the person's token: everything here is public, and a stale token would be refused.
        info = HfApi(endpoint=endpoint, token=False).model_info(
            hub["repo"], revision=hub["revision"], files_metadata=True, timeout=TIMEOUT_SECONDS[1]
        )
    except GatedRepoError:
        raise DataError(f"{place}: its owners give access on request. Ask them there, {_otherwise(name)}.") from None
    except RepositoryNotFoundError:
        raise DataError(f"{place}: no such repository, or it is not public. {correct}.") from None
    except RevisionNotFoundError:
        raise DataError(f"{place}: has no revision {hub['revision']!r}. {correct}.") from None
    except (HTTPError, OSError, ValueError, TypeError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UnavailableError(f"{place}: the hub could not be asked for {name} ({reason})") from None
    files = {each.rfilename: each for each in info.siblings or []}
    chosen = []
    for pattern in hub["patterns"]:
        found = [path for path in files if fnmatchcase(path, pattern)]
        if not found:
            more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
            listed = f"{', '.join(sorted(files)[:SHOWN])}{more}" or "nothing"
            raise DataError(f"{place}: holds no file {pattern}, but {listed}. {correct}.")
        chosen += found
    _check_single(definition, chosen, place)
    entries = []
    for path in dict.fromkeys(chosen):
        file = files[path]
        digest = file.lfs.sha256 if file.lfs else file.blob_id
        if not stays_inside(path) or not file.size or not digest:
            raise DataError(f"{place}: {path!r} has an unsafe name, or its size or digest is not stated. {correct}.")
        entries.append(ManifestEntry(path, file.size, digest))
    commit = info.sha or hub["revision"]
    if re.fullmatch("[0-9a-f]{40}", hub["revision"]) and commit != hub["revision"]:
        raise DataError(f"{place}: gave commit {commit} instead of {hub['revision']}. {correct}.")
    base = hf_hub_url(hub["repo"], "file", revision=commit, endpoint=endpoint).removesuffix("/file")
    return base, commit, entries


def _check_single(definition: Mapping[str, Any], chosen: list[str], place: str) -> None:
    """A training checkpoint is one file; of several nobody could say which is meant."""
    found, name = sorted(set(chosen)), definition["name"]
    if definition["format"] == "memo_deepspeed" and len(found) > 1:
        raise DataError(
            f"{place}: {len(found)} files could be {name}: {', '.join(found[:SHOWN])}. Bring the right one: "
            f"`edgebench fetch {name} --mirror FILE`."
        )


def _listed(definition: Mapping[str, Any], mirrors: Sequence[str]) -> list[ManifestEntry]:
    """The files that the definition names; a size that it does not know is asked of the mirrors."""
    name, entries = definition["name"], []
    with open_session(1) as session:
        for path in _patterns(definition):
            known = definition["files"].get(path, {})
            size, reasons = known.get("bytes"), []
            for mirror in mirrors if size is None else ():
                try:
                    size = remote_size(session, f"{mirror.rstrip('/')}/{quote(path)}")
                    break
                except UnavailableError as error:
                    reasons.append(f"{mirror}: {error}")
            if size is None:
                raise DataError(
                    f"{name}: {path} cannot be obtained: {'; '.join(reasons)}. Try again on a machine with internet, "
                    f"{_otherwise(name)}."
                )
            entries.append(ManifestEntry(path, size, known.get("sha256", "")))
    return entries


def _with_known(definition: Mapping[str, Any], entry: ManifestEntry, alone: bool) -> ManifestEntry:
    """An entry checked against the definition; the stronger digest of the two is kept.

    Where the definition knows one file, an entry `alone` is that one, whatever a person has called it.
    """
    name = definition["name"]
    only = next(iter(definition["files"].values())) if alone and len(definition["files"]) == 1 else {}
    by_name = {PurePosixPath(path).name: known for path, known in definition["files"].items()}
    known = definition["files"].get(entry.path) or by_name.get(PurePosixPath(entry.path).name, only)
    size, digest = known.get("bytes", entry.size), known.get("sha256", "")
    is_sha256 = len(entry.sha256) == 64
    if size != entry.size or (is_sha256 and not entry.sha256.startswith(digest)):
        raise DataError(
            f"{name}: {entry.path} is another file: {entry.size} bytes with the digest {entry.sha256[:12]}..., but "
            f"config/checkpoints/{name}.yaml states {size} bytes{f' and SHA-256 {digest[:12]}...' if digest else ''}. "
            f"Correct `files` there, {_otherwise(name)}."
        )
    return entry if is_sha256 or not digest else replace(entry, sha256=digest)
