"""Large collections of images into tar shards: from a folder of one's own, or from a list of addresses."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from urllib.parse import urlsplit

from edgebench.data.adapters.listing import walk_files
from edgebench.data.adapters.shards import member_id
from edgebench.data.checks import header_fault
from edgebench.data.download import UnavailableError, download_bytes, open_session
from edgebench.data.images import IMAGE_SUFFIXES, image_suffix
from edgebench.data.shards import Failure, fill_shards, split
from edgebench.errors import DataError, EdgebenchError

IMAGES_PER_SHARD = 1000
BYTES_PER_SHARD = 2**30
LARGEST_IMAGE = 50 * 2**20
"""Bytes; what is larger is no photograph on a web page."""
CONNECTIONS_PER_JOB = 8
CONNECTIONS_PER_HOST = 2
AHEAD_PER_CONNECTION = 8
UNREACHABLE_LIMIT = 5

Row = tuple[int, str]
Found = tuple[str, bytes] | Failure
Made = Iterator[Found]


def pack_folder(folder: Path, destination: Path, name: str) -> list[Failure]:
    """Pack the images below `folder` into shards, under their own names.

    Args:
        folder: Hidden files and folders are left out.
        destination: Where the shards go; finished ones are kept.
        name: Of the data set.

    Returns:
        The files that are no images.

    Raises:
        DataError: no image at all, or two of one id.
    """
    files = sorted(walk_files(folder))
    if not files:
        raise DataError(f"{folder}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}). Check the path.")
    names = [file.relative_to(folder).as_posix() for file in files]
    seen: dict[str, str] = {}
    for each in names:
        if (other := seen.setdefault(member_id(each), each)) != each:
            raise DataError(f"{folder}: {each} and {other} would have the same id. Rename or remove one.")

    def make(part: Sequence[str]) -> Made:
        for each in part:
            fault = header_fault(folder / each)
            yield Failure(each, fault) if fault else (each, (folder / each).read_bytes())

    sizes = [file.stat().st_size for file in files]
    return fill_shards(destination, split(names, IMAGES_PER_SHARD, sizes, BYTES_PER_SHARD), make, f"packing {name}")


def download_list(file: Path, destination: Path, name: str, jobs: int) -> list[Failure]:
    """Download the images of a list of addresses into shards; ids are the numbers of the rows, from 000000000.

    Each image is decoded to its end before it is kept. A server is asked for at most two images at a time, and for
    none of the rest of a shard's when it does not answer.

    Args:
        file: See `read_addresses`.
        destination: Where the shards go; finished ones are kept.
        name: Of the data set.
        jobs: Eight connections are opened for each.

    Returns:
        The rows that gave no image, and why.

    Raises:
        DataError: the list cannot be read, or no image of the first shard could be had.
        EdgebenchError: no server of a whole shard answers, so that most likely the network is gone.
    """
    addresses = list(enumerate(read_addresses(file)))
    connections = jobs * CONNECTIONS_PER_JOB

    with open_session(connections) as session, ThreadPoolExecutor(connections) as pool:

        def obtain(item: Row) -> tuple[str, bytes] | Failure | UnavailableError:
            row, address = item
            image_id = f"{row:09d}"
            try:
                content = download_bytes(session, address, LARGEST_IMAGE)
                return image_id + image_suffix(image_id, content), content
            except UnavailableError as error:
                return error if error.unreachable else Failure(image_id, f"{address}: {error}")
            except DataError as error:
                reason = str(error).removeprefix(f"{image_id}: ").partition(" Replace the file")[0]
                return Failure(image_id, f"{address}: {reason}")

        def make(part: Sequence[Row]) -> Made:
            unreached = 0
            for (row, address), found in zip(part, _by_host(pool, part, obtain, connections), strict=True):
                if isinstance(found, UnavailableError):
                    unreached += 1
                    yield Failure(f"{row:09d}", f"{address}: {found}")
                else:
                    yield found
            if unreached == len(part) > 1:
                raise EdgebenchError(
                    f"{destination}: none of the {len(part)} servers from row {part[0][0]} of {file} on could be "
                    f"reached. When the network is back, run the same command again; finished shards are kept."
                )

        return fill_shards(destination, split(addresses, IMAGES_PER_SHARD), make, f"fetching {name}")


def _by_host(
    pool: Executor, part: Sequence[Row], obtain: Callable[[Row], Found | UnavailableError], connections: int
) -> Iterator[Found | UnavailableError]:
    """What `obtain` gives for each row, in order.

    Of one server `CONNECTIONS_PER_HOST` rows are asked for at a time, while those of others go on; one that does not
    answer `UNREACHABLE_LIMIT` times in a row is left alone for the rest of the part.
    """
    ahead = AHEAD_PER_CONNECTION * connections  # results held in memory at most
    waiting, results = dict(enumerate(part)), dict[int, Found | UnavailableError]()
    running: dict[Future[Found | UnavailableError], tuple[int, str]] = {}
    busy, silent = Counter[str](), Counter[str]()
    for given in range(len(part)):
        while given not in results:
            for index in [each for each in waiting if each < given + ahead]:
                host = _host(waiting[index][1])
                if silent[host] >= UNREACHABLE_LIMIT:
                    results[index] = UnavailableError("the server could not be reached (no longer asked)", True)
                    del waiting[index]
                elif len(running) < connections and busy[host] < CONNECTIONS_PER_HOST:
                    running[pool.submit(obtain, waiting.pop(index))] = index, host
                    busy[host] += 1
            if given in results:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index, host = running.pop(future)
                found = results[index] = future.result()
                busy[host] -= 1
                silent[host] = silent[host] + 1 if isinstance(found, UnavailableError) else 0
        yield results.pop(given)


def read_addresses(file: Path) -> list[str]:
    """Read a list of web addresses.

    Args:
        file: `.txt` with one address a line; `.csv` or `.tsv` with a column `url`; or `.parquet` with one, for which
            pandas needs pyarrow. Case does not matter in the column's name.

    Raises:
        DataError: the file is of another kind, cannot be read, or has no such column or no address.
    """
    kind = file.suffix.lower()
    try:
        if kind == ".txt":
            addresses = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        elif kind in (".csv", ".tsv"):
            with open(file, newline="", encoding="utf-8") as lines:
                rows = csv.DictReader(lines, delimiter="\t" if kind == ".tsv" else ",")
                column = _url_column(file, rows.fieldnames or [])
                addresses = [(row[column] or "").strip() for row in rows]
        elif kind == ".parquet":
            addresses = _from_parquet(file)
        else:
            raise DataError(f"{file}: a list of addresses is a .txt, .csv, .tsv or .parquet file.")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a readable list of addresses ({error}).") from error
    addresses = [address for address in addresses if address and not address.startswith("#")]
    if not addresses:
        raise DataError(f"{file}: holds no address.")
    return addresses


def _from_parquet(file: Path) -> list[str]:
    try:
        import pandas
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{file}: reading it needs pandas and pyarrow ({error}). Save the list as .csv.") from error
    try:
        column = _url_column(file, pyarrow.parquet.read_schema(file).names)
        return [str(each).strip() for each in pandas.read_parquet(file, columns=[column])[column].dropna()]
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise DataError(f"{file}: not a readable parquet file ({error}).") from error


def _url_column(file: Path, columns: Sequence[str]) -> str:
    for column in columns:
        if column.strip().lower() == "url":
            return column
    raise DataError(f"{file}: has no column 'url'; its columns are {', '.join(map(repr, columns)) or 'none'}.")


def _host(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:  # what is wrong with it is said when it is asked for
        return ""
