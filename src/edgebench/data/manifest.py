"""Lists of a data set's files with their sizes and SHA-256 digests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgebench.errors import DataError
from edgebench.files import sha256_file, write_text


@dataclass(frozen=True)
class ManifestEntry:
    """One file: its path below the data set's folder (with `/`), its size in bytes, its SHA-256 in hex.

    Of a checkpoint's file or an archive less may be known: the first digits of the SHA-256, git's own digest of the
    content (40 digits, which the Hugging Face hub gives for small files), `md5:` and an MD5, or nothing (empty text).
    """

    path: str
    size: int
    sha256: str


def read_manifest(path: str | Path) -> list[ManifestEntry]:
    """Read a manifest: lines of `<sha256>  <size>  <relative path>`; `#` begins a comment.

    Raises:
        DataError: the file is missing, or a line is malformed, repeated or leads out of the folder.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such manifest. Correct `source.manifest` in the definition.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable manifest ({error}).") from error
    entries: dict[str, ManifestEntry] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        entry = _parse(line)
        if entry is None:
            raise DataError(f"{path}:{number}: expected `<sha256>  <size>  <relative path>`, found {line!r}.")
        if not stays_inside(entry.path):
            raise DataError(
                f"{path}:{number}: {entry.path!r} leads out of the data set's folder or is hidden. "
                f"Paths are relative, with `/`, without `..` and without parts that begin with a dot."
            )
        if entry.path in entries:
            raise DataError(f"{path}:{number}: {entry.path!r} is listed twice.")
        entries[entry.path] = entry
    if not entries:
        raise DataError(f"{path}: an empty manifest.")
    return list(entries.values())


def scan_folder(folder: str | Path, parts: Iterable[str] = (".",)) -> list[ManifestEntry]:
    """Make manifest entries for the files that lie in `folder`, in ASCII order of their paths.

    Args:
        folder: The data set's folder.
        parts: Subfolders to take; by default everything. Hidden files and `Thumbs.db` are left out.
    """
    folder = Path(folder)
    entries = []
    for file in (file for part in parts for file in (folder / part).rglob("*")):
        relative = file.relative_to(folder).as_posix()
        if file.is_file() and stays_inside(relative) and file.name != "Thumbs.db":
            entries.append(ManifestEntry(relative, file.stat().st_size, sha256_file(file)))
    return sorted(entries, key=lambda entry: entry.path)


def write_manifest(path: str | Path, entries: Iterable[ManifestEntry]) -> None:
    """Write entries as `read_manifest` reads them."""
    write_text(path, "".join(f"{entry.sha256}  {entry.size}  {entry.path}\n" for entry in entries))


def _parse(line: str) -> ManifestEntry | None:
    fields = line.split(maxsplit=2)
    if len(fields) != 3:
        return None
    sha256, size, path = fields
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef") or not size.isdecimal() or int(size) == 0:
        return None
    return ManifestEntry(path.rstrip("\n"), int(size), sha256)


def stays_inside(path: str) -> bool:
    """Whether a relative path names a place below its folder, with no part that is hidden."""
    if "\\" in path or "\0" in path or path != PurePosixPath(path).as_posix():
        return False
    return all(part not in ("/", "..") and not part.startswith(".") for part in PurePosixPath(path).parts)
