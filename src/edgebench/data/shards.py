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

from edgebench.data.archive_kinds import next_member
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
    """Make the shards that are not there yet, and gather what failed. See `make_shards` and `gather_failures`.

    Returns:
        All failures, also those of earlier calls.

    Raises:
        DataError: everything failed so far, which the next call tries again; or the folder holds shards of
            other items.
    """
    make_shards(folder, parts, range(len(parts)), make, description)
    return gather_failures(folder, range(len(parts)))


def shard_file(folder: Path, number: int) -> Path:
    """Where a shard lies: 00000.tar is that of the first part."""
    return folder / f"{number:05d}.tar"


def make_shards(
    folder: Path,
    parts: Sequence[Sequence[Item]],
    numbers: Sequence[int],
    make: Callable[[Sequence[Item]], Made],
    description: str,
) -> None:
    """Make those of the shards `numbers` that are not there yet.

    A call that was interrupted loses one shard's work. Several calls may work side by side on different numbers.

    Args:
        folder: Where the shards lie.
        parts: What to work off, as plain data; the same in every call, whichever shards it makes.
        numbers: Which parts this call works off.
        make: From a part to its members (name, content) or failures, one per item, in order.
        description: Of the work, for the progress bar.

    Raises:
        DataError: nothing could be made of this call's parts so far, nor is a shard there of which something could,
            so that the next call tries again; or the folder holds shards of other items.
    """
    _claim(folder, parts)
    files = {number: shard_file(folder, number) for number in numbers}
    done = sum(len(parts[number]) for number, path in files.items() if path.exists())
    with Display(description, sum(len(parts[number]) for number in numbers), done) as display:
        for number, path in files.items():
            if path.exists():
                continue
            with atomic_path(path) as temporary:
                failed = []
                with tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as tar:
                    for each in make(parts[number]):
                        if isinstance(each, Failure):
                            failed.append(each)
                        else:
                            _add(tar, *each)
                        done += 1
                        display.update(done)
                if len(failed) == len(parts[number]) and not _anything_made(folder, parts):
                    raise DataError(_all_failed(folder, failed))
                # Noted first: a shard that is there has its failures noted.
                write_text(_note(folder, number), _lines(failed))


def gather_failures(folder: Path, numbers: Sequence[int]) -> list[Failure]:
    """What failed in finished shards; also written to `failures.jsonl`, one JSON object (`id`, `reason`) a line."""
    failures = [each for number in numbers for each in _failures(folder, number)]
    write_text(folder / FAILURES, _lines(failures))
    return failures


def _anything_made(folder: Path, parts: Sequence[Sequence[Item]]) -> bool:
    """Whether a shard that is there holds more than failures, whoever made it."""
    there = (number for number in range(len(parts)) if shard_file(folder, number).exists())
    return any(len(_failures(folder, number)) < len(parts[number]) for number in there)


def _note(folder: Path, number: int) -> Path:
    return folder / NOTES / f"{number:05d}.jsonl"


def _failures(folder: Path, number: int) -> list[Failure]:
    return [Failure(**json.loads(line)) for line in _note(folder, number).read_text().splitlines()]


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
            while (member := next_member(tar)) is not None:
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
    except (tarfile.TarError, ValueError, OverflowError) as error:  # the last two for sizes that are none
        raise DataError(f"{path}: damaged at {last} ({error}). Fetch or make this file again.") from error
    except OSError as error:
        raise EdgebenchError(f"{path}: cannot be read ({error.strerror or error}).") from error
