"""Archives of strangers: unpacked without leaving their folder, or refused with the reason.

Nothing of an archive is trusted: neither its names, nor its sizes, nor what its members are. Links are refused even
where they stay inside, since no data set needs them.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from edgebench.data.archive_kinds import archive_kind, next_member
from edgebench.data.checks import header_fault
from edgebench.data.images import describe_content
from edgebench.errors import DataError
from edgebench.progress import Display

LARGEST_RATIO = 50
"""Of the unpacked size to the archive's: annotations in JSON come to 5, a bomb to 1000."""
ALWAYS_ALLOWED_BYTES = 1 << 26
LARGEST_READ = 1 << 24
"""What one piece of a tar file's own records may take in memory."""
_CHUNK = 1 << 20
_JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini")
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile),
    *(EOFError, NotImplementedError, RuntimeError, ValueError, struct.error),
)


@dataclass(frozen=True)
class Selection:
    """Which members of an archive are wanted, and where they go.

    Attributes:
        suffixes: Files of these kinds.
        only: Of them those that match one of these `*` patterns (`*` also crosses `/`); all when empty.
        inner: Members that are archives themselves, as patterns; they are unpacked where they lie.
        strip: Leading folders of a member's name that are left out.
        into: Folder, below the data set's, that the archive is unpacked in.
    """

    suffixes: Set[str]
    only: Sequence[str] = ()
    inner: Sequence[str] = ()
    strip: int = 0
    into: str = "."

    def takes(self, path: PurePosixPath) -> bool:
        """Whether a member is a wanted file."""
        matches = not self.only or any(fnmatchcase(path.as_posix(), pattern) for pattern in self.only)
        return matches and path.suffix.lower() in self.suffixes

    def is_inner(self, path: PurePosixPath) -> bool:
        """Whether a member is an archive that is to be unpacked, too."""
        return any(fnmatchcase(path.as_posix(), pattern) for pattern in self.inner)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_folder: bool
    fault: str | None
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, selection: Selection, room: int) -> list[str]:
    """Unpack the wanted members of a zip or tar file into `folder`, which is new.

    Args:
        archive: Zip, or tar in whichever compression; its content decides, not its name.
        folder: Empty or missing. After an error it holds a part, and is for the caller to remove.
        selection: What is wanted.
        room: Bytes that may be written.

    Returns:
        Paths below `folder`, with `/`, in the order of the archive.

    Raises:
        DataError: the archive is damaged, cut short, encrypted or no archive; a member leads out of the folder, is a
            link or a device, has the name of another one, or holds something else than its name says; or the whole
            is too large for what the archive is, or for `room`.
    """
    written: list[str] = []
    with Display(f"unpacking {archive.name}", None) as display:
        _unpack(archive, folder, selection, _Limits(archive, room), _Names(archive), written, display)
    if not written:
        raise DataError(f"{archive}: holds none of the files that are wanted of it.")
    return written


def _unpack(
    archive: Path,
    folder: Path,
    selection: Selection,
    limits: _Limits,
    names: _Names,
    written: list[str],
    display: Display,
    below: PurePosixPath | None = None,
) -> None:
    """Unpack one archive, and those in it; `below` is where an inner one lies, as a path below `folder`."""
    for member in _members(archive, limits):
        path = _safe_path(archive, member.name)
        if member.fault:
            raise DataError(f"{archive}: its member {member.name!r} is {member.fault}. Nothing of it was taken.")
        limits.count(archive, member.size)
        if member.is_folder or path is None:
            continue
        inner = below is None and selection.is_inner(path)
        if not inner and not (selection.takes(path) if below is None else path.suffix.lower() in selection.suffixes):
            continue
        parts = path.parts[selection.strip :] if below is None else path.parts
        if not parts:
            continue
        target = (PurePosixPath(selection.into) if below is None else below).joinpath(*parts)
        names.claim(target)
        place = folder / target
        _write(archive, member, place)
        if inner:
            deeper = _Limits(place, limits.left)
            _unpack(place, folder, selection, deeper, names, written, display, below=target.parent)
            limits.count(archive, deeper.unpacked, free=True)
            place.unlink()
        else:
            if fault := header_fault(place):
                raise DataError(f"{archive}: its member {member.name!r} is wrong: {fault}. Nothing of it was taken.")
            written.append(target.as_posix())
            display.update(len(written))


class _Limits:
    """How much an archive may become."""

    def __init__(self, archive: Path, room: int) -> None:
        self.allowed = max(ALWAYS_ALLOWED_BYTES, LARGEST_RATIO * archive.stat().st_size)
        self.left = room
        self.unpacked = 0

    def count(self, archive: Path, size: int, free: bool = False) -> None:
        """Count a member before it is written; `free`: one whose own archive was held to its own limit."""
        self.left -= size
        self.unpacked += 0 if free else size
        if self.unpacked > self.allowed:
            raise DataError(
                f"{archive}: would unpack to more than {self.allowed / 1e6:.0f} MB, {LARGEST_RATIO} times its own "
                f"size, as bombs do. Nothing of it was taken."
            )
        if self.left < 0:
            raise DataError(f"{archive}: needs more space than is left on the disk. Free some, then try again.")


class _Names:
    """Which files were written; no two may be one, also where case or accents do not tell names apart."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._files: dict[str, PurePosixPath] = {}
        self._folders: dict[str, PurePosixPath] = {}

    def claim(self, path: PurePosixPath) -> None:
        """Take a name, or raise a DataError when a file or folder has it."""
        key = _alike(path)
        above = [_alike(parent) for parent in path.parents]
        other = self._files.get(key) or self._folders.get(key)
        other = other or next((self._files[each] for each in above if each in self._files), None)
        if other is not None:
            raise DataError(
                f"{self._archive}: its members {str(other)!r} and {str(path)!r} would be one file. Nothing of it was "
                f"taken."
            )
        self._files[key] = path
        self._folders.update(dict.fromkeys(above, path))


def _alike(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", path.as_posix()).casefold()


def _safe_path(archive: Path, name: str) -> PurePosixPath | None:
    """Where a member lies; None for what systems leave behind (hidden files, thumbnails)."""
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or (path.parts and path.parts[0].endswith(":"))
        or not name.isprintable()
        or any(len(part.encode()) > 255 for part in path.parts)
    ):
        raise DataError(
            f"{archive}: the name {name[:200]!r} leads out of the folder or is none. Nothing of it was taken."
        )
    return None if any(part.startswith(".") or part in _JUNK for part in path.parts) else path


def _write(archive: Path, member: _Member, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with _explaining_damage(archive, f"in its member {member.name!r}"):
        content = member.open()
        if content is None:
            raise EOFError("no content")
        length = 0
        with content, open(place, "xb") as file:
            while piece := content.read(_CHUNK):
                length += len(piece)
                if length > member.size:
                    break
                file.write(piece)
        if length != member.size:
            raise EOFError(f"{length} bytes instead of {member.size}")


def _members(archive: Path, limits: _Limits) -> Iterator[_Member]:
    kind = archive_kind(archive)
    if kind is None:
        raise DataError(f"{archive}: {describe_content(archive) or 'not a zip or tar file'}. Fetch it again.")
    if kind == "zip":
        yield from _zip_members(archive)
    else:
        opened: dict[str, Callable[[Path], Any]] = {"gz": gzip.open, "xz": lzma.open, "bz2": bz2.open}
        with opened.get(kind, lambda path: open(path, "rb"))(archive) as content:
            yield from _tar_members(archive, _Bounded(archive, content, limits.allowed))


def _zip_members(archive: Path) -> Iterator[_Member]:
    with _explaining_damage(archive, "in its list of members"):
        opened = zipfile.ZipFile(archive)
    with opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            fault = "encrypted" if info.flag_bits & 1 else None
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                fault = "a link or a device"
            # The name as it is stored: zipfile cuts it at a zero byte.
            yield _Member(info.orig_filename, info.file_size, info.is_dir(), fault, partial(opened.open, info))


def _tar_members(archive: Path, content: _Bounded) -> Iterator[_Member]:
    last = "its beginning"
    with _explaining_damage(archive, "at its beginning"):
        opened = tarfile.TarFile(fileobj=content)  # type: ignore[arg-type]
    with opened:
        while True:
            with _explaining_damage(archive, f"after {last}"):
                member = next_member(opened)
                if member is None:
                    # At what it does not understand tarfile stops without a word, as if the archive ended there.
                    content.seek(opened.offset)
                    if content.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                        raise tarfile.ReadError("cut short")
                    while content.read(_CHUNK):  # to the end, where compressed files have their checksum
                        pass
                    return
            last = f"its member {member.name!r}"
            opened.members = []  # type: ignore[attr-defined]  # which would keep them all
            plain = member.isfile() and not member.issparse()
            fault = None if plain or member.isdir() else "a link or a device"
            yield _Member(member.name, member.size, member.isdir(), fault, partial(opened.extractfile, member))


class _Bounded:
    """A stream that gives no more than `limit` bytes, and not too many at once."""

    def __init__(self, archive: Path, content: Any, limit: int) -> None:
        # Headers and padding of a tar file come to less than its content, but for many empty members.
        self._archive, self._content, self._limit = archive, content, 2 * limit

    def tell(self) -> int:
        return int(self._content.tell())

    def seek(self, position: int) -> int:
        if position < 0:
            raise tarfile.ReadError("a position before the beginning")
        self._check(position, 0)
        return int(self._content.seek(position))

    def read(self, size: int) -> bytes:
        self._check(self.tell(), size)
        return bytes(self._content.read(size))

    def _check(self, position: int, size: int) -> None:
        if size > LARGEST_READ or position > self._limit:
            raise DataError(
                f"{self._archive}: would unpack to more than {self._limit / 1e6:.0f} MB, or holds a record of "
                f"{size / 1e6:.0f} MB, as bombs do. Nothing of it was taken."
            )


@contextmanager
def _explaining_damage(archive: Path, where: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise DataError(f"{archive}: damaged {where} ({error}). Fetch it again.") from error
    except OSError as error:
        if error.errno is not None:  # the disk's, not the decompressor's
            raise
        raise DataError(f"{archive}: damaged {where} ({error}). Fetch it again.") from error
