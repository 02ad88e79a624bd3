"""Many small files in a few tar files: written whole or not at all, read at any place.

A shard is a plain tar file, so that every tool can open it. Its members are found once by their headers and read
with `pread` afterwards, which needs no shared position: processes and threads may read side by side.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from edgebench.errors import DataError, EdgebenchError
from edgebench.files import atomic_path, digest, read_json, write_json, write_text
from edgebench.progress import Display

FAILURES = "failures.jsonl"
NOTES = ".notes"

Item = TypeVar("Item")


@dataclass(frozen=True)
class Failure:
    """What could not be made, and why."""

    id: str
    reason: str


Made = Iterable[tuple[str, bytes] | Failure]


def split(items: Sequence[Item], count: int, sizes: Sequence[int] | None = None, limit: int = 0) -> list[list[Item]]:
    """Cut items into parts of at most `count`, and where their `sizes` are given, of at most `limit` bytes."""
    parts: list[list[Item]] = [[]]
    total = 0
    for number, item in enumerate(items):
        size = sizes[number] if sizes is not None else 0
        if parts[-1] and (len(parts[-1]) == count or total + size > limit > 0):
            parts.append([])
            total = 0
        parts[-1].append(item)
        total += size
    return parts if items else []


def fill_shards(
    folder: Path, parts: Sequence[Sequence[Item]], make: Callable[[Sequence[Item]], Made], description: str
) -> list[Failure]:
    """Make the shards that are not there yet: 00000.tar of the first part, and so on.

    A call that was interrupted loses one shard's work. Failures are kept per shard and, at the end, together in
    `failures.jsonl`, one JSON object (`id`, `reason`) a line.

    Args:
        folder: Where the shards lie.
        parts: What to work off, as plain data; the same in every call.
        make: From a part to its members (name, content) or failures, one per item, in order.
        description: Of the work, for the progress bar.

    Returns:
        All failures, also those of earlier calls.

    Raises:
        DataError: everything failed so far, which the next call tries again; or the folder holds shards of
            other items.
    """
    _claim(folder, parts)
    failures: list[Failure] = []
    total, done = sum(map(len, parts)), 0
    numbered = [(folder / f"{number:05d}.tar", part) for number, part in enumerate(parts)]
    before = sum(len(part) for path, part in numbered if path.exists())
    with Display(description, total, before) as display:
        for path, part in numbered:
            note = folder / NOTES / f"{path.stem}.jsonl"
            if not path.exists():
                with atomic_path(path) as temporary:
                    failed = []
                    with tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as tar:
                        for each in make(part):
                            if isinstance(each, Failure):
                                failed.append(each)
                            else:
                                _add(tar, *each)
                            before += 1
                            display.update(before)
                    if len(failures) + len(failed) == done + len(part):
                        raise DataError(_all_failed(folder, failures + failed))
                    # Noted first: a shard that is there has its failures noted.
                    write_text(note, _lines(failed))
            failures += [Failure(**json.loads(line)) for line in note.read_text().splitlines()]
            done += len(part)
    write_text(folder / FAILURES, _lines(failures))
    return failures


def in_order(futures: Iterable[Future[Item]], ahead: int) -> Iterator[Item]:
    """Results in the order of `futures`, of which no more than `ahead` are begun beforehand."""
    waiting: deque[Future[Item]] = deque()
    for each in futures:
        waiting.append(each)
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    for each in waiting:
        yield each.result()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # no owner, no time: equal contents give equal bytes
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


def _lines(failures: Iterable[Failure]) -> str:
    return "".join(json.dumps(asdict(each)) + "\n" for each in failures)


def _claim(folder: Path, parts: Sequence[Sequence[Item]]) -> None:
    """Note of which items the folder's shards are, and refuse to mix them with others."""
    note, these = folder / NOTES / "items.json", digest([list(part) for part in parts])
    if not note.exists():
        write_json(note, {"digest": these})
    elif read_json(note) != {"digest": these}:
        raise DataError(
            f"{folder}: holds shards of other items; what they were made from has changed since. "
            f"Delete the folder, then run the same command again."
        )


def _all_failed(folder: Path, failures: Sequence[Failure]) -> str:
    lines = [f"{folder}: nothing could be made: all of the first {len(failures)} failed."]
    lines += [f"  {each.id}: {each.reason}" for each in failures[:5]]
    return "\n".join([*lines, "Correct the cause, then run the same command again."])


class Shards:
    """The members of all tar files of a folder, by name.

    Args:
        folder: Holds the tar files.
        suffixes: Members to take; others and hidden ones are passed over.

    Raises:
        DataError: there is none, one is damaged or compressed, holds something other than files, a name leads
            out of the folder, or a name occurs twice.
    """

    def __init__(self, folder: Path, suffixes: Iterable[str]) -> None:
        self.folder = folder
        self._paths = sorted(path for path in folder.glob("*.tar") if not path.name.startswith("."))
        if not self._paths:
            raise DataError(f"{folder}: holds no tar files. Fetch or make the data set again.")
        wanted = tuple(suffixes)
        self._numbers: dict[str, int] = {}
        places: list[tuple[int, int, int]] = []
        for shard, path in enumerate(self._paths):
            for name, offset, size in _members(path):
                if not name.lower().endswith(wanted):
                    continue
                if name in self._numbers:
                    other = self._paths[places[self._numbers[name]][0]]
                    raise DataError(f"{path}: its member {name!r} is in {other} too. Remove one of the two.")
                self._numbers[name] = len(places)
                places.append((shard, offset, size))
        # A tuple per member would take five times the memory.
        self._places = np.array(places, dtype=np.int64).reshape(-1, 3)

    @property
    def names(self) -> Iterable[str]:
        """Names of the members, shard by shard."""
        return self._numbers.keys()

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            DataError: there is no such member, or its shard is gone or was cut short.
        """
        if name not in self._numbers:
            raise DataError(f"{self.folder}: no member {name!r} in its {len(self._paths)} tar files.")
        shard, offset, size = self._places[self._numbers[name]].tolist()
        path = self._paths[shard]
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                content = os.pread(file, size, offset)
            finally:
                os.close(file)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}). Fetch or make it again.") from error
        if len(content) != size:
            raise DataError(f"{path}: ends within its member {name!r}. Fetch or make this file again.")
        return content

    def where(self, name: str) -> Path:
        """How messages call a member: its tar file and its name."""
        return self._paths[int(self._places[self._numbers[name], 0])] / name


def _members(path: Path) -> Iterable[tuple[str, int, int]]:
    """Name, offset and size of every file in a tar file."""
    length = path.stat().st_size
    last = "its first member"
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                last = f"what follows member {member.name!r}"
                if member.isdir():
                    continue
                if not member.isfile() or member.issparse():
                    raise DataError(f"{path}: its member {member.name!r} is no plain file. Pack the data set again.")
                parts = PurePosixPath(member.name).parts
                if member.name.startswith("/") or ".." in parts or "\\" in member.name:
                    raise DataError(f"{path}: the name {member.name!r} leads out of the folder. Pack it again.")
                if parts[-1].startswith("."):
                    continue
                if member.offset_data + member.size > length:
                    raise DataError(f"{path}: ends within its member {member.name!r}. Fetch or make this file again.")
                yield member.name, member.offset_data, member.size
            # At what it does not understand tarfile stops without a word, as if the archive ended there.
            with open(path, "rb") as file:
                file.seek(tar.offset)
                ended = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
            if not ended:
                raise tarfile.ReadError("not the end of a tar file")
    except tarfile.TarError as error:
        raise DataError(f"{path}: damaged at {last} ({error}). Fetch or make this file again.") from error
    except OSError as error:
        raise EdgebenchError(f"{path}: cannot be read ({error.strerror or error}).") from error
