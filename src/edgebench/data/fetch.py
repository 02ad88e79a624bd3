"""Putting a data set's files in place: copied, downloaded, linked or drawn, and each one checked."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgebench.data.adapters import ANNOTATION_SUFFIXES, open_dataset
from edgebench.data.adapters.base import MaskedImages
from edgebench.data.adapters.listing import walk_files
from edgebench.data.checks import VerifiedIndex, file_fault, header_fault
from edgebench.data.download import UnavailableError, download, open_session
from edgebench.data.images import IMAGE_SUFFIXES
from edgebench.data.manifest import ManifestEntry
from edgebench.data.packing import download_list, pack_folder
from edgebench.data.scenes import DRAWN, draw_dataset
from edgebench.data.shards import FAILURES, NOTES, Failure
from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.files import digest, read_json, write_json
from edgebench.progress import track

QUARANTINE = ".quarantine"
PARTS = ".parts"
ORIGIN = ".origin.json"
UNREACHABLE_LIMIT = 5
"""After so many files in a row from a server that does not answer, the rest is not asked of it."""


@dataclass
class FetchReport:
    """What a fetch did.

    Attributes:
        n_files: Files of the data set, all in place and checked.
        n_bytes: Their size.
        n_new: Files that this call put there; scenes, where they are drawn.
        origins: Number of new files per mirror (or `drawn`).
        quarantined: Paths of bad files, moved to `.quarantine` with the reason beside them.
        n_images: Images of a data set whose number is not known beforehand.
        n_failed: Images of it that could not be had; `failures.jsonl` names them.
        digest: SHA-256 over what the data set holds; names and sizes only for a folder of the person's own.
    """

    n_files: int = 0
    n_bytes: int = 0
    n_new: int = 0
    origins: dict[str, int] = field(default_factory=dict)
    quarantined: list[str] = field(default_factory=list)
    n_images: int | None = None
    n_failed: int = 0
    digest: str = ""


def fetch(
    definition: Mapping[str, Any],
    manifest: Sequence[ManifestEntry] | None,
    destination: str | Path,
    mirrors: Sequence[str] = (),
    jobs: int = 4,
) -> FetchReport:
    """Put a data set's files into `destination`, each one whole and checked, or not at all.

    What is there and was checked before is kept; a call that was interrupted is continued. `source` of the
    definition is one of `{mirrors, manifest}`: files known by size and SHA-256; `{draw: {...}}`: scenes drawn
    here; `{local: true}`: the person's own folder, given as the mirror. Image headers are always checked. Of layout
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
    if manifest is None:
        raise ConfigError(f"{definition.get('name')}: `source` needs `manifest`, `draw` or `local: true`.")
    return fetch_files(str(definition.get("name")), manifest, destination, [*mirrors, *source.get("mirrors", [])], jobs)


def fetch_files(
    name: str, manifest: Sequence[ManifestEntry], destination: Path, mirrors: Sequence[str], jobs: int = 4
) -> FetchReport:
    """Put the files of a manifest into `destination`, each one whole and checked, or not at all.

    Args:
        name: What `edgebench fetch` calls them.
        manifest: The files.
        destination: Folder to fill.
        mirrors: Local folders or http(s) base URLs, tried in order.
        jobs: Files at a time.

    Raises:
        ConfigError: a mirror is of no known kind.
        DataError: some files could not be obtained; the message names the first ones and why.
        EdgebenchError: the disk is full.
    """
    return _Fetching(name, destination, mirrors, jobs).run(manifest)


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
                _set_aside(destination, destination / other, other, "found in place", f"not in {folder}")
        shutil.rmtree(destination / NOTES, ignore_errors=True)
        (destination / FAILURES).unlink(missing_ok=True)
    if folder.is_file():
        return _shard_report(destination, str(folder), download_list(folder, destination, name, jobs))
    if not tars:
        return _shard_report(destination, str(folder), pack_folder(folder, destination, name))
    for file in tars:
        with _explaining_full_disk(destination):
            _link_or_copy(file, destination / file.name)
    return _shard_report(destination, str(folder), [])


def _take_files(definition: Mapping[str, Any], folder: Path, destination: Path, begun_before: bool) -> FetchReport:
    """Link or copy the images and annotations of a folder; others that lie there are set aside first."""
    name = definition.get("name")
    suffixes = IMAGE_SUFFIXES | ANNOTATION_SUFFIXES.get(definition["layout"], {".mat"})
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
                with _explaining_full_disk(destination):
                    _link_or_copy(file, target)
            index.add(relative, target)
            report.n_new += 1
    finally:
        index.save()
    if failed:
        raise DataError(
            _summary(name, folder, failed, len(listing))
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
                _set_aside(destination, place / name, relative, "found in place", f"not in {folder}")
        if place != destination and not any(place.iterdir()):
            place.rmdir()


def _set_aside(destination: Path, file: Path, relative: str, origin: str, fault: str) -> None:
    """Move a file out of the way, to `.quarantine`, with the reason beside it."""
    place = destination / QUARANTINE / relative.replace("/", "__")
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(file, place)
    with open(place.parent / "reasons.txt", "a", encoding="utf-8") as log:
        log.write(f"{relative}\t{origin}\t{fault}\n")


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


class _Fetching:
    """One call of `fetch` with a manifest."""

    def __init__(self, name: str, destination: Path, mirrors: Sequence[str], jobs: int) -> None:
        self._name = name
        self._destination = destination
        self._mirrors = list(dict.fromkeys(mirror.rstrip("/") or mirror for mirror in mirrors))
        self._jobs = jobs
        self._index = VerifiedIndex(destination)
        self._lock = threading.Lock()
        self._unreachable: Counter[str] = Counter()
        self._quarantined: list[str] = []
        self._session = open_session(jobs)
        for mirror in self._mirrors:
            if "://" in mirror and not _is_url(mirror):
                raise ConfigError(f"{mirror}: a mirror is a local folder or begins with http:// or https://.")

    def run(self, manifest: Sequence[ManifestEntry]) -> FetchReport:
        self._check_space(manifest)
        report = FetchReport(n_files=len(manifest), n_bytes=sum(entry.size for entry in manifest))
        origins: Counter[str] = Counter()
        failed: dict[str, list[str]] = {}
        pool = ThreadPoolExecutor(self._jobs)
        try:
            waiting = {pool.submit(self._obtain, entry): entry for entry in manifest}
            for future in track(as_completed(waiting), f"fetching {self._name}", total=len(manifest)):
                origin, reasons = future.result()
                if origin is None:
                    failed[waiting[future].path] = reasons
                elif origin:
                    origins[origin] += 1
        finally:
            pool.shutdown(cancel_futures=True)
            self._session.close()
            self._index.save()
        if failed:
            raise DataError(
                _summary(self._name, self._destination, failed, len(manifest))
                + f"\nThe other {len(manifest) - len(failed)} files are in place. To try again, type "
                f"`edgebench fetch {self._name}`, or `edgebench fetch {self._name} --mirror PATH_OR_URL`."
            )
        shutil.rmtree(self._destination / PARTS, ignore_errors=True)
        report.n_new = origins.total()
        report.origins = dict(origins)
        report.quarantined = sorted(self._quarantined)
        report.digest = digest(sorted((entry.path, entry.size, entry.sha256) for entry in manifest))
        return report

    def _obtain(self, entry: ManifestEntry) -> tuple[str | None, list[str]]:
        """Where a file came from ("": it was there, None: it could not be obtained), and what went wrong."""
        target = self._destination / entry.path
        if not target.resolve().is_relative_to(self._destination.resolve()):
            raise DataError(f"{target}: a link leads out of {self._destination}. Remove the link.")
        reasons = []
        if self._index.knows(entry.path, target, entry.sha256):
            return "", []
        if target.exists():
            fault = file_fault(target, entry)
            if fault is None:
                self._index.add(entry.path, target, entry.sha256)
                return "", []
            self._quarantine(target, entry, "found in place", fault)
            reasons.append(f"found in place: {fault}")
        part = part_path(self._destination, entry)
        for mirror in self._mirrors:
            try:
                fault = self._bring(mirror, entry, part)
            except UnavailableError as error:
                fault = str(error)
            if fault is None:
                with _explaining_full_disk(self._destination):
                    _settle(part, target)
                self._index.add(entry.path, target, entry.sha256)
                return mirror, reasons
            reasons.append(f"{mirror}: {fault}")
        return None, reasons or ["no mirror is known"]

    def _bring(self, mirror: str, entry: ManifestEntry, part: Path) -> str | None:
        """Fill `part` from one mirror; None when it is right, else what is wrong with it."""
        with _explaining_full_disk(self._destination):
            part.parent.mkdir(parents=True, exist_ok=True)
            resumed = part.exists()
            self._fill(mirror, entry, part)
            fault = file_fault(part, entry)
            if fault and resumed:
                # The bytes held from before may be the bad ones: once more from the start.
                part.unlink()
                self._fill(mirror, entry, part)
                fault = file_fault(part, entry)
        if fault:
            self._quarantine(part, entry, mirror, fault)
        return fault

    def _fill(self, mirror: str, entry: ManifestEntry, part: Path) -> None:
        if not _is_url(mirror):
            try:
                shutil.copyfile(Path(mirror) / entry.path, part)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise UnavailableError("no such file") from error
            except (PermissionError, IsADirectoryError) as error:
                raise UnavailableError(error.strerror or "may not be read") from error
            return
        if self._unreachable[mirror] >= UNREACHABLE_LIMIT:
            raise UnavailableError("the server could not be reached (no longer asked)")
        try:
            download(self._session, f"{mirror}/{quote(entry.path)}", part, entry.size)
        except UnavailableError as error:
            with self._lock:
                self._unreachable[mirror] = self._unreachable[mirror] + 1 if error.unreachable else 0
            raise
        self._unreachable[mirror] = 0

    def _quarantine(self, file: Path, entry: ManifestEntry, origin: str, fault: str) -> None:
        with self._lock:
            _set_aside(self._destination, file, entry.path, origin, fault)
            self._quarantined.append(entry.path)

    def _check_space(self, manifest: Iterable[ManifestEntry]) -> None:
        needed = sum(entry.size for entry in manifest if not (self._destination / entry.path).exists())
        folders = (self._destination.resolve(), *self._destination.resolve().parents)
        free = shutil.disk_usage(next(folder for folder in folders if folder.exists())).free
        if needed > free:
            raise DataError(
                f"{self._destination}: {self._name} needs {needed / 1e9:.1f} GB more, but only "
                f"{free / 1e9:.1f} GB are free. Free some space or choose another folder."
            )


def part_path(destination: Path, entry: ManifestEntry) -> Path:
    """Where a file grows until it is whole; two files of equal content do not share it."""
    return destination / PARTS / f"{digest([entry.path, entry.sha256], 40)}.part"


def _summary(name: Any, folder: Path, failed: Mapping[str, list[str]], total: int, limit: int = 5) -> str:
    lines = [f"{name}: {len(failed)} of {total} files failed in {folder}:"]
    lines += [f"  {path}: {'; '.join(failed[path])}" for path in sorted(failed)[:limit]]
    if len(failed) > limit:
        lines.append(f"  and {len(failed) - limit} more")
    return "\n".join(lines)


def _is_url(mirror: str) -> bool:
    return mirror.startswith(("http://", "https://"))


def _settle(part: Path, target: Path) -> None:
    """Move a checked file into its place, for good."""
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, target)


def _link_or_copy(file: Path, target: Path) -> None:
    """Give a file a second name, which costs no space, or copy it where that cannot be done."""
    if target.exists() and target.samefile(file):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".part-{target.name}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(file.resolve(), temporary)
    except OSError:
        shutil.copy2(file, temporary)
    os.replace(temporary, target)


@contextmanager
def _explaining_full_disk(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise EdgebenchError(
                f"{destination}: cannot be written ({error.strerror}). The files checked so far are kept. "
                f"Free some space or choose another folder, then run the same command again."
            ) from error
        raise
