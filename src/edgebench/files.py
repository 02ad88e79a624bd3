"""Files that appear whole or not at all, and the digests that tell them apart."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgebench.errors import EdgebenchError

PART = ".part-"
"""How the names of files begin that are not written to their end yet."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it and rename it into place.

    The temporary name keeps the suffix of `path`, because many writers choose their format by it. When the
    body raises, the temporary file is removed and `path` is left as it was.

    Raises:
        EdgebenchError: the disk is full or the folder cannot be written.
    """
    path = _file(path)
    temporary: Path | None = None
    try:
        with _explained(path):
            temporary = _beside(path)
            yield temporary
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    finally:
        if temporary is not None and temporary.exists():
            temporary.unlink()


def remove_leftovers(folder: str | Path, of: str | None = None) -> None:
    """Remove what killed writers left behind; for folders to which nobody writes at the time.

    Args:
        folder: Where they wrote.
        of: Only parts of files whose names begin so, in this folder itself; None for all, also in the folders below.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            if name.startswith(PART + (of or "")):
                Path(place, name).unlink(missing_ok=True)
        if of is not None:
            break


def require_writable(path: str | Path) -> None:
    """Find out before long work whether its result can be written; makes the folder and leaves `path` as it is.

    Raises:
        EdgebenchError: the folder cannot be written, or `path` is one.
    """
    path = _file(path)
    with _explained(path):
        _beside(path).unlink()


def _file(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise EdgebenchError(f"{path}: is a folder or a device, not a file. Give the name of a file.")
    return path.resolve()  # a link stays a link, and what it points to is replaced


def _beside(path: Path) -> Path:
    """A new, empty file in the folder of `path`, which is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whose = path.name.encode()[:200].decode(errors="ignore")  # file systems take 255 bytes
    handle, name = tempfile.mkstemp(prefix=f"{PART}{whose}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    return Path(name)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Only what concerns the file being written is ours to explain; the body's own errors pass.
        if error.filename is None or str(error.filename).startswith(str(path.parent)) or error.errno == errno.ENOSPC:
            raise EdgebenchError(
                f"{path}: could not be written ({error.strerror}). Nothing was left half written. "
                f"Free some space or choose another folder, then run the same command again."
            ) from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write UTF-8 `content` to `path` atomically."""
    write_bytes(path, content.encode())


def write_text_if_changed(path: str | Path, content: str) -> bool:
    """Write `content` only when the file does not hold it already; return whether it was written."""
    path = Path(path)
    if path.exists() and path.read_text() == content:
        return False
    write_text(path, content)
    return True


def images_beside(results: Path) -> Path:
    """The file beside a file of results that says which image each `image_id` is, as COCO's list `images`.

    Reading the results looks for it, so that the identity of a run that takes them must cover it, too.
    """
    return results.with_name(f"{results.stem}_images.json")


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def pretty_json(value: Any) -> str:
    """The form in which edgebench writes JSON for people."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, pretty_json(value))


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        EdgebenchError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise EdgebenchError(f"{path}: no such file.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise EdgebenchError(
            f"{path}: not valid JSON ({error}). Delete it and run the command that made it again."
        ) from error


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any, length: int = 64) -> str:
    """SHA-256 over the canonical JSON of `value`, cut to `length` hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]
