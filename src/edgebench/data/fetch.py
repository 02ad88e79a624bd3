"""Putting a data set's files in place: copied, downloaded, linked or drawn, and each one checked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgebench.data.adapters import ANNOTATION_SUFFIXES, open_dataset
from edgebench.data.adapters.base import MaskedImages
from edgebench.data.adapters.listing import walk_files
from edgebench.data.archives import fetch_archives, holds_archives, is_noted, unpacked_files
from edgebench.data.checks import VerifiedIndex, header_fault
from edgebench.data.images import IMAGE_SUFFIXES
from edgebench.data.manifest import ManifestEntry
from edgebench.data.mirrors import (
    FetchReport,
    explaining_full_disk,
    failure_summary,
    fetch_files,
    is_url,
    link_or_copy,
    require_known_kind,
    set_aside,
)
from edgebench.data.packing import download_list, pack_folder
from edgebench.data.scenes import DRAWN, draw_dataset
from edgebench.data.shards import FAILURES, NOTES, Failure
from edgebench.errors import ConfigError, DataError
from edgebench.files import digest, read_json, write_json
from edgebench.progress import track

ORIGIN = ".origin.json"


def fetch(
    definition: Mapping[str, Any],
    manifest: Sequence[ManifestEntry] | None,
    destination: str | Path,
    mirrors: Sequence[str] = (),
    jobs: int = 4,
) -> FetchReport:
    """Put a data set's files into `destination`, each one whole and checked, or not at all.

    What is there and was checked before is kept; a call that was interrupted is continued. `source` of the
    definition is one of `{mirrors, manifest}`: files known by size and SHA-256; `{archives: [...]}`: archives, which
    are unpacked, unless the mirror is a folder that holds their content; `{draw: {...}}`: scenes drawn here;
    `{local: true}`: the person's own folder, given as the mirror. Image headers are always checked. Of layout
    `shards`, the mirror is a folder of images or of tar files, or a list of addresses; bad images are left out.

    Args:
        definition: The data set's definition (`name`, `layout`, `source`, `images`, ...).
        manifest: Entries of `source.manifest`; None for the other kinds.
        destination: Folder to fill.
        mirrors: Local folders or http(s) base URLs, tried in order and before the definition's own.
        jobs: Files at a time.

    Raises:
        ConfigError: the definition's source is of no known kind.
        DataError: some files could not be obtained; the message names the first ones and why.
        EdgebenchError: the disk is full.
    """
    destination = Path(destination)
    source = definition.get("source") or {}
    if "draw" in source:
        return _draw(definition, destination, jobs)
    if source.get("local"):
        return _take_local(definition, destination, mirrors, jobs)
    if source.get("archives"):
        return _take_archives(definition, destination, mirrors, jobs)
    if manifest is None:
        raise ConfigError(f"{definition.get('name')}: `source` needs `manifest`, `archives`, `draw` or `local: true`.")
    return fetch_files(str(definition.get("name")), manifest, destination, [*mirrors, *source.get("mirrors", [])], jobs)


def _draw(definition: Mapping[str, Any], destination: Path, jobs: int) -> FetchReport:
    style = definition["source"]["draw"] or {}
    unknown = set(style) - {"style", "size", "seed"}
    if unknown or not definition.get("images"):
        problem = f"`source.draw` knows no {', '.join(sorted(unknown))}" if unknown else "`images` is missing"
        raise ConfigError(
            f"{definition.get('name')}: {problem}. Drawn scenes need `images: {{SPLIT: COUNT}}` and "
            f"`source: {{draw: {{style: NAME, seed: NUMBER}}}}`, with an optional `size`."
        )
    processes = min(jobs, os.cpu_count() or 1)
    drawn = draw_dataset(destination, splits=definition["images"], layout=definition["layout"], jobs=processes, **style)
    sizes = [path.stat().st_size for path in walk_files(destination, IMAGE_SUFFIXES | {".json", ".mat"})]
    return FetchReport(
        n_files=len(sizes),
        n_bytes=sum(sizes),
        n_new=drawn,
        origins={"drawn": drawn} if drawn else {},
        digest=digest(read_json(destination / DRAWN)),
    )


def _take_archives(definition: Mapping[str, Any], destination: Path, mirrors: Sequence[str], jobs: int) -> FetchReport:
    """Unpack a data set's archives, or take a folder of the person's own that holds their content."""
    for mirror in mirrors:
        require_known_kind(mirror)
    given = Path(mirrors[0]) if mirrors and not is_url(mirrors[0]) else None
    suffixes = _suffixes(definition)
    if given is not None and not is_noted(definition, given, suffixes):
        archived = holds_archives(definition, given)
        files = ", ".join(archive["file"] for archive in definition["source"]["archives"])
        if not archived and not (given.is_dir() and any(walk_files(given))):
            raise DataError(
                f"{given}: holds neither images nor one of the archives {files}. Name the folder of either with "
                f"`edgebench fetch {definition['name']} --mirror FOLDER`, or leave --mirror out."
            )
        # Archives often lie beside what was unpacked from them.
        if not archived or (given.is_dir() and any(walk_files(given)) and _is_complete(definition, given)):
            return _take_local(definition, destination, mirrors, jobs)
    report = fetch_archives(definition, destination, mirrors, suffixes, jobs)
    (destination / ORIGIN).unlink(missing_ok=True)  # of a folder that it was filled from before
    _set_others_aside(destination, unpacked_files(definition, destination), suffixes, Path("the archives"))
    _check_splits(definition, destination)
    return report


def _is_complete(definition: Mapping[str, Any], folder: Path) -> bool:
    try:
        _check_splits(definition, folder)
    except DataError:
        return False
    return True


def _suffixes(definition: Mapping[str, Any]) -> Set[str]:
    """Files that belong to the data set: pictures and annotations."""
    return IMAGE_SUFFIXES | ANNOTATION_SUFFIXES.get(definition["layout"], {".mat"})


def _take_local(definition: Mapping[str, Any], destination: Path, mirrors: Sequence[str], jobs: int = 4) -> FetchReport:
    name = definition.get("name")
    folder = Path(mirrors[0]) if mirrors else destination
    is_list = definition["layout"] == "shards" and folder.is_file()
    nothing_yet = not mirrors and not any(walk_files(folder, IMAGE_SUFFIXES | {".tar"}))
    if nothing_yet or (not folder.is_dir() and not is_list):
        problem = "holds no images yet" if nothing_yet else "no such folder"
        or_list = ", or name a list of addresses there" if definition["layout"] == "shards" else ""
        raise DataError(
            f"{folder}: {problem}. edgebench does not download {name}: get the images, then type "
            f"`edgebench fetch {name} --mirror FOLDER`{or_list}. {definition.get('terms', '')}"
        )
    if folder.resolve() in destination.resolve().parents:
        raise DataError(f"{destination}: lies inside {folder}, which it is to be filled from. Choose another folder.")
    with _filling(destination, folder, str(name)) as begun_before:
        if definition["layout"] == "shards":
            return _take_shards(folder, destination, str(name), jobs, begun_before)
        return _take_files(definition, folder, destination, begun_before)


@contextmanager
def _filling(destination: Path, origin: Path, name: str) -> Iterator[bool]:
    """Note from where a folder is filled, until it is whole; yields whether that was begun before.

    Raises:
        DataError: the folder was to be filled from elsewhere, was not, and is now to be taken as it is.
    """
    note = destination / ORIGIN
    noted = read_json(note) if note.exists() else {"origin": None, "whole": True}
    if origin.resolve() == destination.resolve():
        if not noted["whole"]:
            raise DataError(
                f"{destination}: holds only a part of {noted['origin']}, from which {name} was being fetched. Type "
                f"`edgebench fetch {name} --mirror PATH` to go on with it or to take another one."
            )
        yield True
        return
    here = {"origin": str(origin.resolve())}
    write_json(note, {**here, "whole": False})
    yield here["origin"] == noted["origin"]
    write_json(note, {**here, "whole": True})


def _take_shards(folder: Path, destination: Path, name: str, jobs: int, begun_before: bool) -> FetchReport:
    """Link tar files, or make them of a folder's images or of a list; others that lie there go first."""
    tars = [file for file in sorted(folder.glob("*.tar")) if not file.name.startswith(".")]
    goes_on = begun_before and not tars and (destination / NOTES).exists()
    if folder.resolve() != destination.resolve() and not goes_on:
        others = {path.name for path in destination.glob("*.tar")} - {file.name for file in tars}
        for other in sorted(others):
            if (destination / NOTES / f"{Path(other).stem}.jsonl").exists():  # made here, from something else
                (destination / other).unlink()
            else:
                set_aside(destination, destination / other, other, "found in place", f"not in {folder}")
        shutil.rmtree(destination / NOTES, ignore_errors=True)
        (destination / FAILURES).unlink(missing_ok=True)
    if folder.is_file():
        return _shard_report(destination, str(folder), download_list(folder, destination, name, jobs))
    if not tars:
        return _shard_report(destination, str(folder), pack_folder(folder, destination, name))
    for file in tars:
        with explaining_full_disk(destination):
            link_or_copy(file, destination / file.name)
    return _shard_report(destination, str(folder), [])


def _take_files(definition: Mapping[str, Any], folder: Path, destination: Path, begun_before: bool) -> FetchReport:
    """Link or copy the images and annotations of a folder; others that lie there are set aside first."""
    name = definition.get("name")
    suffixes = _suffixes(definition)
    index = VerifiedIndex(destination)
    report = FetchReport()
    listing: list[tuple[str, int]] = []
    failed: dict[str, list[str]] = {}
    files = list(walk_files(folder, suffixes))
    if files and folder.resolve() != destination.resolve():
        _set_others_aside(destination, {file.relative_to(folder).as_posix() for file in files}, suffixes, folder)
    try:
        for file in track(files, f"checking {name}"):
            relative = file.relative_to(folder).as_posix()
            size = file.stat().st_size
            listing.append((relative, size))
            target = destination / relative
            known = begun_before and index.knows(relative, target)
            if known and target.stat().st_mtime_ns == file.stat().st_mtime_ns:
                continue
            fault = header_fault(file)
            if fault:
                failed[relative] = [fault]
                continue
            if folder != destination:
                with explaining_full_disk(destination):
                    link_or_copy(file, target)
            index.add(relative, target)
            report.n_new += 1
    finally:
        index.save()
    if failed:
        raise DataError(
            failure_summary(name, folder, failed, len(listing))
            + f"\nReplace or remove these files, then type `edgebench fetch {name} --mirror {folder}` again."
        )
    # Of the person's own folder, which messages then name; the copy holds the same.
    _check_splits(definition, folder)
    report.n_files, report.n_bytes = len(listing), sum(size for _, size in listing)
    report.origins = {str(folder): report.n_new} if report.n_new else {}
    report.digest = digest(listing)
    return report


def _set_others_aside(destination: Path, listed: Set[str], suffixes: Set[str], folder: Path) -> None:
    """Set files aside that an earlier fetch, from elsewhere, left behind; folders that it leaves empty go."""
    for current, _, names in os.walk(destination, topdown=False):
        place = Path(current)
        if any(part.startswith(".") for part in place.relative_to(destination).parts):
            continue
        for name in names:
            relative = (place / name).relative_to(destination).as_posix()
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes and relative not in listed:
                set_aside(destination, place / name, relative, "found in place", f"not in {folder}")
        if place != destination and not any(place.iterdir()):
            place.rmdir()


def _shard_report(destination: Path, origin: str, failures: Sequence[Failure]) -> FetchReport:
    """What lies in the shards; their number of images is what could be had, whatever the definition expects."""
    images = len(open_dataset("shards", destination, "").ids)
    listing = [(path.name, path.stat().st_size) for path in sorted(destination.glob("*.tar"))]
    return FetchReport(
        n_files=len(listing),
        n_bytes=sum(size for _, size in listing),
        n_new=images,
        n_images=images,
        n_failed=len(failures),
        origins={origin: images},
        digest=digest(listing),
    )


def _check_splits(definition: Mapping[str, Any], folder: Path) -> None:
    expected = definition.get("images") or {}
    if definition["layout"] == "folder" and expected:
        expected = {"": sum(expected.values())}
    for split, count in expected.items():
        dataset = open_dataset(definition["layout"], folder, split)
        found = len(dataset.ids)
        if found != count:
            raise DataError(
                f"{folder}: {found} images{' of split ' + split if split else ''}, but the definition "
                f"of {definition.get('name')} states {count}. Complete the folder, or correct `images` there."
            )
        if isinstance(dataset, MaskedImages):
            dataset.check_sizes()
