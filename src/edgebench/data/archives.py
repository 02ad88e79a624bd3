"""Data sets that their owners publish as archives: brought, checked, unpacked, and put in place whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from edgebench.data.checks import MD5, file_fault
from edgebench.data.download import UnavailableError, open_session, remote_size
from edgebench.data.manifest import ManifestEntry, stays_inside
from edgebench.data.mirrors import (
    FetchReport,
    explaining_full_disk,
    fetch_files,
    is_url,
    link_or_copy,
    set_aside,
)
from edgebench.data.unpack import Selection, unpack
from edgebench.errors import DataError, EdgebenchError
from edgebench.files import digest, read_json, sha256_file, write_json
from edgebench.progress import track

ARCHIVES = ".archives"
STAGING = ".unpacking"

Map = Mapping[str, Any]


def fetch_archives(
    definition: Map, destination: Path, mirrors: Sequence[str], suffixes: Set[str], jobs: int = 4
) -> FetchReport:
    """Fill `destination` from the archives of `source.archives`.

    Each archive is unpacked beside its place and moved there when it is whole; then it is noted in `.archives`, and
    deleted if it was downloaded. What is noted and still there is kept, so that an interrupted call goes on; what is
    noted in a folder beside `destination`, of a data set with the same archive, is linked instead of downloaded.

    Args:
        definition: The data set's definition.
        destination: Folder to fill.
        mirrors: A folder that holds archives, or addresses that they lie below, tried before their own.
        suffixes: Files to unpack.
        jobs: Downloads at a time.

    Raises:
        DataError: an archive cannot be had, is not what it should be, or is not safe to unpack.
        EdgebenchError: the disk is full.
    """
    name, archives = str(definition["name"]), definition["source"]["archives"]
    (destination / ARCHIVES).mkdir(parents=True, exist_ok=True)
    missing = [archive for archive in archives if not _in_place(destination, archive, suffixes)]
    unpacked = {archive["file"]: _unpacked_elsewhere(archive, destination, mirrors, suffixes) for archive in missing}
    packed = [archive for archive in missing if unpacked[archive["file"]] is None]
    brought = _bring(name, packed, destination / ARCHIVES, mirrors, jobs)
    for archive in missing:
        if (folder := unpacked[archive["file"]]) is not None:
            _link(name, archive, folder, destination)
        else:
            file, origin = brought[archive["file"]]
            _put_in_place(name, archive, file, origin, destination, suffixes)
    notes = [read_json(_note(destination, archive)) for archive in archives]
    files = sorted((path, size) for note in notes for path, size, _ in note["files"])
    new = {archive["file"] for archive in missing}
    contents = [{key: note[key] for key in ("file", "bytes", "sha256", "origin")} for note in notes]
    return FetchReport(
        n_files=len(files),
        n_bytes=sum(size for _, size in files),
        n_new=sum(len(note["files"]) for note in notes if note["file"] in new),
        origins={note["origin"]: len(note["files"]) for note in notes if note["file"] in new},
        archives=contents,
        digest=digest([*(each["sha256"] for each in contents), *files]),
    )


def holds_archives(definition: Map, folder: Path) -> bool:
    """Whether a folder of the person's own holds one of the archives, or is one."""
    files = [archive["file"] for archive in definition["source"]["archives"]]
    return folder.name in files if folder.is_file() else any((folder / file).is_file() for file in files)


def is_noted(definition: Map, folder: Path, suffixes: Set[str]) -> bool:
    """Whether a folder holds what `fetch_archives` unpacked there from one of the archives."""
    return any(_in_place(folder, archive, suffixes) for archive in definition["source"]["archives"])


def unpacked_files(definition: Map, destination: Path) -> set[str]:
    """Paths of all files that the data set's archives gave."""
    notes = [_note(destination, archive) for archive in definition["source"]["archives"]]
    return {path for note in notes for path, _, _ in read_json(note)["files"]}


def _note(destination: Path, archive: Map) -> Path:
    return destination / ARCHIVES / f"{archive['file']}.json"


def _choice(archive: Map) -> dict[str, Any]:
    return {key: archive[key] for key in ("into", "strip", "only", "inner")}


def _known(archive: Map) -> str:
    """What is known of an archive's content; see `ManifestEntry`."""
    return archive.get("sha256") or (MD5 + archive["md5"] if archive.get("md5") else "")


def _in_place(destination: Path, archive: Map, suffixes: Set[str]) -> bool:
    """Whether an archive was unpacked here, as it is wanted now, and nothing has touched its files since."""
    if not _note(destination, archive).exists():
        return False
    try:
        noted = read_json(_note(destination, archive))
        if noted["choice"] != _choice(archive) or noted["suffixes"] != sorted(suffixes):
            return False
        if _known(archive) not in ("", noted["sha256"], noted["known"]):
            return False
        for path, size, modified in noted["files"]:
            status = (destination / path).stat()
            if not stays_inside(path) or (status.st_size, status.st_mtime_ns) != (size, modified):
                return False
    except (EdgebenchError, OSError, KeyError, TypeError, ValueError):  # gone, or not a note of ours
        return False
    return True


def _unpacked_elsewhere(archive: Map, destination: Path, mirrors: Sequence[str], suffixes: Set[str]) -> Path | None:
    """A folder into which this very archive was unpacked: the person's own, or one beside `destination`."""
    own = [Path(mirror) for mirror in mirrors if not is_url(mirror)]
    beside = [note.parent for note in sorted(destination.parent.glob(f"*/{ARCHIVES}")) if _known(archive)]
    return next((each for each in [*own, *beside] if each != destination and _in_place(each, archive, suffixes)), None)


def _link(name: str, archive: Map, folder: Path, destination: Path) -> None:
    noted = read_json(_note(folder, archive))
    paths = [path for path, _, _ in noted["files"]]
    _note(destination, archive).unlink(missing_ok=True)
    _refuse_overlap(name, archive, destination, paths)
    with explaining_full_disk(destination):
        for path in track(paths, f"linking {archive['file']}"):
            if not (destination / path).parent.resolve().is_relative_to(destination.resolve()):
                raise DataError(f"{(destination / path).parent}: a link leads out of {destination}. Remove the link.")
            link_or_copy(folder / path, destination / path)
    _write_note(destination, archive, {**noted, "known": _known(archive)}, paths)


def _bring(
    name: str, archives: Sequence[Map], folder: Path, mirrors: Sequence[str], jobs: int
) -> dict[str, tuple[Path, str]]:
    """Where each archive lies, checked, and where it came from: the person's own stay where they are."""
    given = Path(mirrors[0]) if mirrors and not is_url(mirrors[0]) else None
    if given is not None and given.is_file():
        given = given.parent
    found: dict[str, tuple[Path, str]] = {}
    wanted = []
    for archive in archives:
        own = given / archive["file"] if given else None
        if own is None or not own.is_file():
            wanted.append(archive)
            continue
        size = archive.get("bytes") or own.stat().st_size
        if fault := file_fault(own, ManifestEntry(archive["file"], size, _known(archive))):
            raise DataError(
                f"{own}: {fault}. It is not the {archive['file']} that config/datasets/{name}.yaml means; replace it, "
                f"or remove it and type `edgebench fetch {name}` to download it."
            )
        found[archive["file"]] = (own, str(own))
    addresses = {archive["file"]: archive["urls"] for archive in wanted}
    bases = [mirror for mirror in mirrors if is_url(mirror)]
    entries = [
        ManifestEntry(archive["file"], archive.get("bytes") or _size(name, archive, bases, folder), _known(archive))
        for archive in wanted
    ]
    places = fetch_files(name, entries, folder, bases, jobs, addresses).places if entries else {}
    return found | {
        entry.path: (folder / entry.path, places.get(entry.path, "downloaded by an earlier call")) for entry in entries
    }


def _size(name: str, archive: Map, bases: Sequence[str], folder: Path) -> int:
    """Length of an archive that the definition does not know, as the servers state it."""
    if (folder / archive["file"]).exists():  # whole: it was moved there after its check
        return (folder / archive["file"]).stat().st_size
    reasons = []
    with open_session(1) as session:
        for address in [*(f"{base.rstrip('/')}/{archive['file']}" for base in bases), *archive["urls"]]:
            try:
                return remote_size(session, address)
            except UnavailableError as error:
                reasons.append(f"{address}: {error}")
    raise DataError(
        f"{name}: {archive['file']} cannot be obtained: {'; '.join(reasons)}. Try again on a machine with internet, or "
        f"bring it yourself: `edgebench fetch {name} --mirror FOLDER`."
    )


def _put_in_place(name: str, archive: Map, file: Path, origin: str, destination: Path, suffixes: Set[str]) -> None:
    staging = destination / STAGING
    downloaded = file.parent == destination / ARCHIVES
    shutil.rmtree(staging, ignore_errors=True)
    selection = Selection(suffixes, **_choice(archive))
    with explaining_full_disk(destination):
        try:
            paths = unpack(file, staging, selection, shutil.disk_usage(destination).free)
        except DataError as error:
            shutil.rmtree(staging, ignore_errors=True)
            if downloaded:
                set_aside(file.parent, file, archive["file"], origin, str(error))
            raise DataError(
                f"{name}: {error} To use another one: `edgebench fetch {name} --mirror PATH_OR_URL`."
            ) from error
        sha256 = sha256_file(file)
        note = _note(destination, archive)
        note.unlink(missing_ok=True)
        _refuse_overlap(name, archive, destination, paths)
        _merge(staging, destination)
        known = {"known": _known(archive), "choice": _choice(archive), "suffixes": sorted(suffixes)}
        said = {"file": archive["file"], "bytes": file.stat().st_size, "sha256": sha256, "origin": origin, **known}
        _write_note(destination, archive, said, paths)
        if downloaded:
            file.unlink()


def _write_note(destination: Path, archive: Map, said: Map, paths: Sequence[str]) -> None:
    statuses = [(path, (destination / path).stat()) for path in paths]
    files = [(path, status.st_size, status.st_mtime_ns) for path, status in statuses]
    write_json(_note(destination, archive), {**said, "files": files})


def _refuse_overlap(name: str, archive: Map, destination: Path, paths: Sequence[str]) -> None:
    for note in sorted((destination / ARCHIVES).glob("*.json")):
        if note.name.startswith("."):
            continue
        noted = read_json(note)
        if twice := {path for path, _, _ in noted["files"]} & set(paths):
            raise DataError(
                f"{name}: {archive['file']} and {noted['file']} both hold {sorted(twice)[0]}. Correct `into` or `only` "
                f"in config/datasets/{name}.yaml."
            )


def _merge(source: Path, target: Path) -> None:
    """Move what lies in `source` into `target`: whole folders where there is none, else one file after the other."""
    for each in sorted(source.iterdir()):
        place = target / each.name
        if place.is_symlink() and place.is_dir():
            raise DataError(f"{place}: a link, where files are to be put. Remove the link.")
        if each.is_dir() and place.is_dir():
            _merge(each, place)
        else:
            os.replace(each, place)
    source.rmdir()
