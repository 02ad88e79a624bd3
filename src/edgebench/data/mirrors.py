"""Files known by size and digest, from the first mirror that gives them: each one whole and checked, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from edgebench.data.checks import VerifiedIndex, file_fault
from edgebench.data.download import UnavailableError, download, open_session
from edgebench.data.manifest import ManifestEntry
from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.files import digest
from edgebench.progress import Display

QUARANTINE = ".quarantine"
PARTS = ".parts"
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
        places: Mirror of each new file, where files are known one by one.
        quarantined: Paths of bad files, moved to `.quarantine` with the reason beside them.
        n_images: Images of a data set whose number is not known beforehand.
        n_failed: Images of it that could not be had; `failures.jsonl` names them.
        archives: Archives that the data set was unpacked from: `file`, `bytes`, `sha256`, `origin` of each.
        digest: SHA-256 over what the data set holds; names and sizes only for a folder of the person's own.
    """

    n_files: int = 0
    n_bytes: int = 0
    n_new: int = 0
    origins: dict[str, int] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    quarantined: list[str] = field(default_factory=list)
    n_images: int | None = None
    n_failed: int = 0
    archives: list[dict[str, Any]] = field(default_factory=list)
    digest: str = ""


def fetch_files(
    name: str,
    manifest: Sequence[ManifestEntry],
    destination: Path,
    mirrors: Sequence[str],
    jobs: int = 4,
    addresses: Mapping[str, Sequence[str]] | None = None,
) -> FetchReport:
    """Put the files of a manifest into `destination`, each one whole and checked, or not at all.

    Args:
        name: What `edgebench fetch` calls them.
        manifest: The files.
        destination: Folder to fill.
        mirrors: Local folders or http(s) base URLs, tried in order.
        jobs: Files at a time; one server is asked for at most `CONNECTIONS_PER_HOST` of them.
        addresses: Full addresses of single files, by path, tried after the mirrors.

    Raises:
        ConfigError: a mirror is of no known kind.
        DataError: some files could not be obtained; the message names the first ones and why.
        EdgebenchError: the disk is full.
    """
    return _Fetching(name, destination, mirrors, jobs, addresses or {}).run(manifest)


class _StoppedError(Exception):
    """The call is over, because of an error elsewhere or because the person stopped it."""


class _Fetching:
    """One call of `fetch_files`."""

    def __init__(
        self,
        name: str,
        destination: Path,
        mirrors: Sequence[str],
        jobs: int,
        addresses: Mapping[str, Sequence[str]],
    ) -> None:
        self._name = name
        self._destination = destination
        self._mirrors = list(dict.fromkeys(mirror.rstrip("/") or mirror for mirror in mirrors))
        self._addresses = addresses
        self._jobs = jobs
        self._index = VerifiedIndex(destination)
        self._lock = threading.Lock()
        self._unreachable: Counter[str] = Counter()
        self._quarantined: list[str] = []
        self._session = open_session(jobs)
        self._finished = self._received = 0
        self._stop = threading.Event()
        for mirror in self._mirrors:
            require_known_kind(mirror)

    def run(self, manifest: Sequence[ManifestEntry]) -> FetchReport:
        missing = [entry for entry in manifest if not (self._destination / entry.path).exists()]
        parts = [part_path(self._destination, entry) for entry in missing]
        self._needed = sum(entry.size for entry in missing) - sum(p.stat().st_size for p in parts if p.exists())
        check_space(self._name, self._destination, self._needed)
        report = FetchReport(n_files=len(manifest), n_bytes=sum(entry.size for entry in manifest))
        failed: dict[str, list[str]] = {}
        pool = ThreadPoolExecutor(self._jobs)
        try:
            with Display(f"fetching {self._name}", len(manifest)) as self._display:
                waiting = {pool.submit(self._obtain, entry): entry for entry in manifest}
                for future in as_completed(waiting):
                    origin, reasons = future.result()
                    with self._lock:
                        self._finished += 1
                    self._show(0)
                    if origin is None:
                        failed[waiting[future].path] = reasons
                    elif origin:
                        report.places[waiting[future].path] = origin
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)
            self._session.close()
            self._index.save()
        if failed:
            raise DataError(
                failure_summary(self._name, self._destination, failed, len(manifest))
                + f"\nThe other {len(manifest) - len(failed)} files are in place. To try again, type "
                f"`edgebench fetch {self._name}`, or `edgebench fetch {self._name} --mirror PATH_OR_URL`."
            )
        shutil.rmtree(self._destination / PARTS, ignore_errors=True)
        report.n_new = len(report.places)
        report.origins = dict(Counter(report.places.values()))
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
        for place, file in self._places(entry):
            try:
                fault = self._bring(place, file, entry, part)
            except UnavailableError as error:
                fault = str(error)
            if fault is None:
                with explaining_full_disk(self._destination):
                    _settle(part, target)
                self._index.add(entry.path, target, entry.sha256)
                return place, reasons
            reasons.append(f"{place}: {fault}")
        return None, reasons or ["no mirror is known"]

    def _places(self, entry: ManifestEntry) -> Iterator[tuple[str, str]]:
        """Where a file may be had, as messages call the place, and its path or address there."""
        for mirror in self._mirrors:
            yield mirror, f"{mirror}/{quote(entry.path) if is_url(mirror) else entry.path}"
        for address in self._addresses.get(entry.path, ()):
            yield address, address

    def _bring(self, place: str, file: str, entry: ManifestEntry, part: Path) -> str | None:
        """Fill `part` from one place; None when it is right, else what is wrong with it."""
        with explaining_full_disk(self._destination):
            part.parent.mkdir(parents=True, exist_ok=True)
            if not entry.sha256:
                # Its owner may have replaced it since, and nothing would tell that two halves do not belong together.
                part.unlink(missing_ok=True)
            resumed = part.exists()
            self._fill(file, entry, part)
            fault = file_fault(part, entry)
            if fault and resumed:
                # The bytes held from before may be the bad ones: once more from the start.
                part.unlink()
                self._fill(file, entry, part)
                fault = file_fault(part, entry)
        if fault:
            self._quarantine(part, entry, place, fault)
        return fault

    def _fill(self, file: str, entry: ManifestEntry, part: Path) -> None:
        if not is_url(file):
            try:
                shutil.copyfile(file, part)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise UnavailableError("no such file") from error
            except (PermissionError, IsADirectoryError) as error:
                raise UnavailableError(error.strerror or "may not be read") from error
            return
        host = urlsplit(file).netloc
        if self._unreachable[host] >= UNREACHABLE_LIMIT:
            raise UnavailableError("the server could not be reached (no longer asked)")
        try:
            download(self._session, file, part, entry.size, self._show, self._wait)
        except UnavailableError as error:
            with self._lock:
                self._unreachable[host] = self._unreachable[host] + 1 if error.unreachable else 0
            raise
        self._unreachable[host] = 0

    def _show(self, received: int) -> None:
        """Count bytes that came in, and show how far it is; ends a download that nobody waits for any more."""
        if received and self._stop.is_set():
            raise _StoppedError
        with self._lock:
            self._received += received
            note = f"{self._received / 1e6:.1f} of {self._needed / 1e6:.1f} MB" if self._received else ""
            self._display.update(self._finished, note)

    def _wait(self, seconds: float) -> None:
        """Wait before a server is asked again, but no longer than somebody waits for the file."""
        if self._stop.wait(seconds):
            raise _StoppedError

    def _quarantine(self, file: Path, entry: ManifestEntry, origin: str, fault: str) -> None:
        with self._lock:
            set_aside(self._destination, file, entry.path, origin, fault)
            self._quarantined.append(entry.path)


def check_space(name: str, destination: Path, needed: int) -> None:
    """Raise a DataError where a disk has less than `needed` bytes left for what goes to `destination`."""
    folders = (destination.resolve(), *destination.resolve().parents)
    free = shutil.disk_usage(next(folder for folder in folders if folder.exists())).free
    if needed > free:
        raise DataError(
            f"{destination}: {name} needs {needed / 1e9:.1f} GB more, but only "
            f"{free / 1e9:.1f} GB are free. Free some space or choose another folder."
        )


def require_known_kind(mirror: str) -> None:
    """Raise a ConfigError where a mirror is neither a path nor an address of http."""
    if "://" in mirror and not is_url(mirror):
        raise ConfigError(f"{mirror}: a mirror is a local folder or begins with http:// or https://.")


def part_path(destination: Path, entry: ManifestEntry) -> Path:
    """Where a file grows until it is whole; two files of equal content do not share it."""
    return destination / PARTS / f"{digest([entry.path, entry.sha256], 40)}.part"


def failure_summary(name: Any, folder: Path, failed: Mapping[str, list[str]], total: int, limit: int = 5) -> str:
    """Which files failed and why, in words; the first ones of many."""
    lines = [f"{name}: {len(failed)} of {total} files failed in {folder}:"]
    lines += [f"  {path}: {'; '.join(failed[path])}" for path in sorted(failed)[:limit]]
    if len(failed) > limit:
        lines.append(f"  and {len(failed) - limit} more")
    return "\n".join(lines)


def is_url(mirror: str) -> bool:
    """Whether a mirror is an address; else it is a path."""
    return mirror.startswith(("http://", "https://"))


def _settle(part: Path, target: Path) -> None:
    """Move a checked file into its place, for good."""
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, target)


def set_aside(destination: Path, file: Path, relative: str, origin: str, fault: str) -> None:
    """Move a file out of the way, to `.quarantine`, with the reason beside it."""
    place = destination / QUARANTINE / relative.replace("/", "__")
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(file, place)
    with open(place.parent / "reasons.txt", "a", encoding="utf-8") as log:
        log.write(f"{relative}\t{origin}\t{fault}\n")


def link_or_copy(file: Path, target: Path) -> None:
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
def explaining_full_disk(destination: Path) -> Iterator[None]:
    """Turn the errors of a disk that is full or may not be written into an EdgebenchError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise EdgebenchError(
                f"{destination}: cannot be written ({error.strerror}). The files checked so far are kept. "
                f"Free some space or choose another folder, then run the same command again."
            ) from error
        raise
