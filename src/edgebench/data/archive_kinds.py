"""What kind of archive a file is, by its first bytes; names lie (SBD's `benchmark.tgz` is served as a plain tar).

And the one step through a tar file that `tarfile` takes on trust.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Literal

Kind = Literal["zip", "tar", "gz", "xz", "bz2"]

ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".tbz2", ".txz"})
_BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x8b", "gz"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bz2"),
)
_USTAR = slice(257, 262)
_CHECKSUM = slice(148, 156)


def archive_kind(file: Path) -> Kind | None:
    """Zip, tar, or what a tar is compressed by; None for anything else."""
    with open(file, "rb") as content:
        start = content.read(512)
    for beginning, kind in _BEGINNINGS:
        if start.startswith(beginning):
            return kind
    return "tar" if len(start) == 512 and (start[_USTAR] == b"ustar" or _sums_up(start)) else None


def _sums_up(header: bytes) -> bool:
    """Whether a tar header older than POSIX fits its own checksum."""
    digits = header[_CHECKSUM].strip(b" \0")
    blank = header[: _CHECKSUM.start] + b" " * 8 + header[_CHECKSUM.stop :]
    return digits.isdigit() and b"8" not in digits and b"9" not in digits and int(digits, 8) == sum(blank)


def next_member(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    """The next member of a tar file, whose headers may say anything; None at the end.

    Raises:
        tarfile.TarError: the headers are damaged, or lead back, which `tarfile` would follow in circles for ever.
    """
    member = archive.next()
    if member is not None and (member.size < 0 or archive.offset <= member.offset):
        raise tarfile.ReadError("a member of negative size")
    return member
