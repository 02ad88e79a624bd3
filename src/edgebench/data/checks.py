"""Whether a data set's file is what it should be, and remembering that it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from edgebench.data.archive_kinds import ARCHIVE_SUFFIXES, archive_kind
from edgebench.data.images import IMAGE_SUFFIXES, check_image_header, describe_content
from edgebench.data.manifest import ManifestEntry
from edgebench.errors import DataError, EdgebenchError
from edgebench.files import read_json, sha256_file, write_json

VERIFIED = ".verified.json"
GIT_DIGITS = 40
MD5 = "md5:"
"""Begins a digest that is an MD5, which some owners publish instead of a SHA-256."""
_BEGINNINGS = {".json": (b"{", b"["), ".xml": (b"<",)}


def file_fault(file: Path, entry: ManifestEntry) -> str | None:
    """What is wrong with a file that should be `entry`; None if nothing is."""
    size = file.stat().st_size
    if size != entry.size or not (actual := _digest_like(entry.sha256, file)).startswith(entry.sha256):
        what = describe_content(file)
        if what:
            return what
        if size > entry.size:
            return f"more than {entry.size} bytes"
        if size < entry.size:
            return f"{size} bytes instead of {entry.size}"
        kind = "MD5" if actual.startswith(MD5) else "SHA-256"
        return f"{kind} {actual.removeprefix(MD5)[:12]}..., expected {entry.sha256.removeprefix(MD5)[:12]}..."
    return header_fault(file, suffix=Path(entry.path).suffix)


def _digest_like(known: str, file: Path) -> str:
    """The digest of a file of the kind that is known of it; see `ManifestEntry`."""
    if known.startswith(MD5):
        with open(file, "rb") as content:
            return MD5 + hashlib.file_digest(content, "md5").hexdigest()
    if len(known) != GIT_DIGITS:
        return sha256_file(file)
    with open(file, "rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.sha1(b"blob %d\0" % file.stat().st_size)).hexdigest()


def header_fault(file: Path, suffix: str | None = None) -> str | None:
    """What is wrong with the beginning of an image or annotation; None if nothing is."""
    suffix = (file.suffix if suffix is None else suffix).lower()
    if suffix in IMAGE_SUFFIXES:
        try:
            check_image_header(file)
        except DataError as error:
            return str(error).removeprefix(f"{file}: ")
    elif suffix == ".mat":
        with open(file, "rb") as start:
            if not start.read(19).startswith(b"MATLAB 5.0 MAT-file"):
                return describe_content(file) or "not a MATLAB v5 file"
    elif suffix in ARCHIVE_SUFFIXES:
        if archive_kind(file) is None:
            return describe_content(file) or "not a zip or tar file"
    elif suffix in _BEGINNINGS:
        with open(file, "rb") as start:
            text = start.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
        if not text.startswith(_BEGINNINGS[suffix]) or describe_content(file):
            return describe_content(file) or f"not a file of the kind {suffix}"
    return None


class VerifiedIndex:
    """What was checked before, so that a file untouched since need not be read again.

    Args:
        destination: The data set's folder; a damaged index in it only costs reading the files once more.
    """

    def __init__(self, destination: Path) -> None:
        self._path = destination / VERIFIED
        self._known: dict[str, list[Any]] = {}
        if self._path.exists():
            try:
                self._known = dict(read_json(self._path))
            except (EdgebenchError, TypeError, ValueError):
                self._known = {}
        self._changed = False

    def knows(self, relative: str, file: Path, sha256: str = "") -> bool:
        """Whether `file` was added under this path and digest, and has kept its size and time since."""
        try:
            status = file.stat()
        except OSError:
            return False
        return self._known.get(relative) == [status.st_size, status.st_mtime_ns, sha256]

    def add(self, relative: str, file: Path, sha256: str = "") -> None:
        """Remember a file that was just checked."""
        status = file.stat()
        self._known[relative] = [status.st_size, status.st_mtime_ns, sha256]
        self._changed = True

    def save(self) -> None:
        """Write the index, if it changed, as `.verified.json`."""
        if self._changed:
            write_json(self._path, dict(sorted(self._known.items())))
