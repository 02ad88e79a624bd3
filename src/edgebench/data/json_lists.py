"""Looking into large JSON files without reading all of them: COCO's instances of train2017 are 450 MB.

Parsed as a whole such a file takes several times its size in memory. Here it is mapped, its entries are found in one
pass over the bytes (1 s), and only those that are asked for are parsed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from edgebench.data.images import describe_content
from edgebench.errors import DataError


class JsonLists:
    """The lists of a JSON object; their entries are objects, parsed when they are asked for.

    Args:
        path: The file.

    Raises:
        DataError: the file is missing, or it is not an object that goes to its end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = _mapped(path)
        start = _first(self._bytes)
        if start == self._bytes.size or self._bytes[start] != ord("{"):
            what = describe_content(path) or "another JSON value than an object, or no JSON at all"
            raise DataError(f"{path}: {what}. Copy the annotations there again, as their authors distribute them.")
        parts, end = _members(self._bytes, start)
        if end < 0 or len(parts) % 2 or _first(self._bytes[end:]) != self._bytes.size - end:
            raise DataError(f"{path}: not valid JSON: its brackets do not close. Was it written to its end?")
        self._parts: dict[str, tuple[int, int]] = {}
        for key, value in zip(parts[::2], parts[1::2], strict=True):
            self._parts[str(self._parsed(key, "a key"))] = int(value[0]), int(value[1])
        self._spans: dict[str, NDArray[np.int64]] = {}
        self._by: dict[tuple[str, str], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._parts

    def entries(self, name: str) -> Iterator[Any]:
        """All entries of a list, one after the other.

        Raises:
            DataError: there is no such list, or an entry is not valid JSON.
        """
        for index, span in enumerate(self._list(name)):
            yield self._parsed(span, f"{name}[{index}]")

    def entries_of(self, name: str, key: str, number: int) -> list[tuple[int, Any]]:
        """Those entries of a list whose `key` is a certain number, with their places in it.

        Raises:
            DataError: there is no such list, one of its entries has no such number, or is not valid JSON.
        """
        spans = self._list(name)
        if (name, key) not in self._by:
            numbers = _numbers(self._bytes, spans, np.frombuffer(f'"{key}"'.encode(), np.uint8))
            if numbers.size and numbers.min() < 0:
                index = int(np.argmin(numbers))
                raise DataError(
                    f"{self.path}: {name}[{index}] has no `{key}` that is a whole number. Copy the annotations there "
                    f"again, as their authors distribute them."
                )
            order = np.argsort(numbers, kind="stable")
            self._by[name, key] = numbers[order], order
        ordered, order = self._by[name, key]
        first, last = np.searchsorted(ordered, [number, number + 1])
        return [(int(each), self._parsed(spans[each], f"{name}[{each}]")) for each in order[first:last]]

    def _list(self, name: str) -> NDArray[np.int64]:
        if name not in self._spans:
            start, end = self._parts.get(name, (0, 0))
            if start == end or self._bytes[start] != ord("["):
                raise DataError(
                    f"{self.path}: has no list `{name}`, only {', '.join(self._parts) or 'nothing'}. Is it the file "
                    f"that its name says?"
                )
            self._spans[name] = _members(self._bytes, start)[0]
        return self._spans[name]

    def _parsed(self, span: NDArray[np.int64] | tuple[int, int], where: str) -> Any:
        try:
            return json.loads(self._bytes[span[0] : span[1]].tobytes())
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{self.path}: {where} is not valid JSON ({error}). Copy the annotations there again."
            ) from error


def json_lists(path: Path) -> JsonLists:
    """The lists of a JSON file, which is searched once per process as long as it does not change.

    Raises:
        DataError: as `JsonLists`.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: no such file ({error.strerror}). Fetch the data set again.") from error
    return _kept(path.absolute(), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _kept(path: Path, size: int, changed: int) -> JsonLists:
    return JsonLists(path)


def _mapped(path: Path) -> NDArray[np.uint8]:
    try:
        if not path.stat().st_size:
            raise DataError(f"{path}: empty. Copy the annotations there again.")
        return np.memmap(path, np.uint8, "r")
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror}).") from error


@njit(cache=True)
def _first(data: NDArray[np.uint8]) -> int:
    """Index of the first byte that is no white space."""
    for place in range(data.size):
        if not (data[place] == 32 or 9 <= data[place] <= 13):
            return place
    return data.size


@njit(cache=True)
def _members(data: NDArray[np.uint8], start: int) -> tuple[NDArray[np.int64], int]:
    """Where the members of an array or object lie, int64 (n, 2), and where it ends; -1 if it does not.

    Of an object keys and values alternate. White space around them is left out.
    """
    spans = np.empty((64, 2), np.int64)
    count, depth, first, last = 0, 0, -1, -1
    place = start + 1
    while place < data.size:
        byte = data[place]
        if depth == 0 and (byte == 44 or byte == 58 or byte == 93 or byte == 125):  # , : ] }
            if first >= 0:
                if count == len(spans):
                    larger = np.empty((2 * count, 2), np.int64)
                    larger[:count] = spans
                    spans = larger
                spans[count, 0], spans[count, 1] = first, last + 1
                count += 1
                first = -1
            if byte == 93 or byte == 125:
                return spans[:count].copy(), place + 1
            place += 1
            continue
        if not (byte == 32 or 9 <= byte <= 13):
            if first < 0:
                first = place
            if byte == 34:  # a string, to its end
                place += 1
                while place < data.size and data[place] != 34:
                    place += 2 if data[place] == 92 else 1
            elif byte == 91 or byte == 123:  # [ {
                depth += 1
            elif byte == 93 or byte == 125:
                depth -= 1
            last = place
        place += 1
    return spans[:count].copy(), -1


@njit(cache=True)
def _numbers(data: NDArray[np.uint8], spans: NDArray[np.int64], key: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The number that each object has under a key (with its quotes), -1 where it has none or another value."""
    found = np.full(len(spans), -1, np.int64)
    for index in range(len(spans)):
        place, end, depth = spans[index, 0], spans[index, 1], 0
        while place < end:
            byte = data[place]
            if byte == 91 or byte == 123:
                depth += 1
            elif byte == 93 or byte == 125:
                depth -= 1
            elif byte == 34:
                begin = place
                place += 1
                while place < end and data[place] != 34:
                    place += 2 if data[place] == 92 else 1
                if depth == 1 and _equal(data, begin, place + 1, key):
                    place = _past_spaces(data, place + 1, end)
                    if place < end and data[place] == 58:  # a key, not a value that reads like it
                        found[index] = _whole_number(data, _past_spaces(data, place + 1, end), end)
                        break
                    continue
            place += 1
    return found


@njit(cache=True)
def _equal(data: NDArray[np.uint8], start: int, end: int, text: NDArray[np.uint8]) -> bool:
    return end - start == text.size and bool((data[start:end] == text).all())


@njit(cache=True)
def _past_spaces(data: NDArray[np.uint8], place: int, end: int) -> int:
    while place < end and data[place] <= 32:
        place += 1
    return place


@njit(cache=True)
def _whole_number(data: NDArray[np.uint8], place: int, end: int) -> int:
    """The number that begins there; -1 where it is none, negative or not whole."""
    digits, number = 0, 0
    while place < end and 48 <= data[place] <= 57 and digits < 18:
        number = 10 * number + (int(data[place]) - 48)
        digits += 1
        place += 1
    ends = place < end and (data[place] == 44 or data[place] == 125 or data[place] <= 32)
    return number if digits and ends else -1
