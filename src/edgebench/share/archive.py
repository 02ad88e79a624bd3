"""A run's folder as one uncompressed tar, the same bytes wherever it is made, and back."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from edgebench.errors import DataError
from edgebench.files import atomic_path, sha256_file

PART = ".part-"
_CHUNK = 2**20


@dataclass(frozen=True)
class Content:
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str


def list_files(folder: Path) -> list[str]:
    """Paths of a run's files, relative with `/`, in ASCII order; what is hidden is its own bookkeeping.

    Raises:
        DataError: a link is among them, which would mean something else elsewhere.
    """
    found = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not stays_inside(name):
            continue
        if path.is_symlink():
            raise DataError(f"{path}: is a link, which cannot be shared. Put what it points to in its place.")
        if path.is_file():
            found.append(name)
    return sorted(found)


def stays_inside(name: str) -> bool:
    """Whether a member's name is a plain path below the run's folder, without a hidden part."""
    path = PurePosixPath(name)
    plain = name == path.as_posix() and not path.is_absolute() and not set("\\\0\n") & set(name)
    return plain and all(not part.startswith(".") for part in path.parts)


def differences(folder: Path, files: Mapping[str, Content]) -> list[str]:
    """What tells a folder from `files`, in words; empty when it holds exactly these."""
    here = list_files(folder)
    lacking = [f"{name} is missing" for name in sorted(files.keys() - set(here))]
    others = [f"{name} is not one of its files" for name in here if name not in files]
    changed = [f"{name} differs" for name in here if name in files and not _holds(folder / name, files[name])]
    return lacking + changed + others


def _holds(file: Path, content: Content) -> bool:
    return file.stat().st_size == content.size and sha256_file(file) == content.sha256


def pack(folder: Path, archive: Path) -> dict[str, Content]:
    """Write the archive of a run's folder; the same files give the same bytes.

    Returns:
        Size and digest of each file, as they went into the archive.

    Raises:
        EdgebenchError: the archive cannot be written, or a link lies in the folder.
    """
    packed: dict[str, Content] = {}
    with atomic_path(archive) as temporary, tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in list_files(folder):
            with open(folder / name, "rb") as file:
                info = tarfile.TarInfo(name)  # no owner, no time
                info.size, info.mode = os.fstat(file.fileno()).st_size, 0o644
                reader = _Reader(file)
                tar.addfile(info, reader)
                packed[name] = Content(info.size, reader.digest.hexdigest())
    return packed


class _Reader:
    """Digests what is read through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """As a file does."""
        block = self._file.read(size)
        self.digest.update(block)
        return block


def unpack(archive: Path, files: Mapping[str, Content], folder: Path) -> None:
    """Put the archive's files into `folder`, all or none; what stood there is replaced.

    Nothing of the archive is trusted: its members must be exactly the plain files of `files`, of their size and
    SHA-256, and they are written one by one into a new folder, which then takes the place of `folder`.

    Raises:
        DataError: the archive holds anything else.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.parents[1]  # not among the runs of the role, where it could be taken for one
    for left in beside.glob(f"{PART}{folder.name}-*"):  # of a call that was killed
        shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{PART}{folder.name}-", dir=beside))
    try:
        temporary.chmod(0o755)
        _extract(archive, files, temporary)
        os.sync()  # once for thousands of files: after a power cut there is no record without the files it speaks for
        _replace(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(folder: Path, new: Path) -> None:
    """Put `new` in the place of `folder`, whose files go only once `new` stands there."""
    old = new.with_name(f"{new.name}-old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _extract(archive: Path, files: Mapping[str, Content], folder: Path) -> None:
    left = dict(files)
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                content = left.pop(member.name, None)
                if content is None or not member.isreg() or not stays_inside(member.name):
                    raise DataError(f"{archive}: member '{member.name}' is not a file of its manifest.")
                source = tar.extractfile(member)
                assert source is not None
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "xb") as out:
                    copied = _copy(source, out)
                if copied != content:
                    raise DataError(f"{archive}: member '{member.name}' is not what its manifest says.")
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive}: not a readable tar archive ({error}).") from None
    if left:
        raise DataError(f"{archive}: lacks '{min(left)}' and {len(left) - 1} more files of its manifest.")


def _copy(source: IO[bytes], target: IO[bytes]) -> Content:
    size, digest = 0, hashlib.sha256()
    while block := source.read(_CHUNK):
        target.write(block)
        digest.update(block)
        size += len(block)
    return Content(size, digest.hexdigest())


def remove_parts(folder: Path) -> None:
    """Remove what calls that were killed left half written in a folder."""
    for path in folder.glob(f"{PART}*"):
        with suppress(OSError):
            path.unlink()
