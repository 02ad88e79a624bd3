"""One file over HTTP: resumed where the server allows it, tried again when the connection fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from edgebench import __version__
from edgebench.data.archive_kinds import ARCHIVE_SUFFIXES
from edgebench.data.images import describe_content

TRIES = 4
"""Without progress: a try that brought `PROGRESS_BYTES` does not count."""
PROGRESS_BYTES = 1 << 20
PAUSE_SECONDS = 1.0
"""Before the second try; doubled for each further one."""
LONGEST_PAUSE_SECONDS = 60.0
"""However long a busy server asks to be left alone."""
TIMEOUT_SECONDS = (10.0, 30.0)
"""To connect, and without a single byte arriving."""
LONGEST_SECONDS = 60.0
"""For one file of a list of addresses, which must not hold up the others."""
CHUNK_BYTES = 1 << 16
SLOWEST_BYTES_PER_SECOND = 1000
SLOW_SECONDS = 60.0
"""A server that for so long sends more slowly than that is treated as one that stalls: asked once more, then left."""
CONNECTIONS_PER_HOST = 4
BUSY_TRIES = 3
_LEADS_NOWHERE = (requests.TooManyRedirects, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)


class UnavailableError(Exception):
    """A mirror does not give a file; the text says why. `unreachable`: the server itself did not answer."""

    def __init__(self, reason: str, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.unreachable = unreachable


def open_session(connections: int) -> requests.Session:
    """A session that threads may share; of `connections` one server gets `CONNECTIONS_PER_HOST`, for more they wait."""
    session = requests.Session()
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": f"edgebench/{__version__}"})
    for scheme in ("http://", "https://"):
        per_host = min(connections, CONNECTIONS_PER_HOST)
        session.mount(scheme, HTTPAdapter(pool_connections=connections, pool_maxsize=per_host, pool_block=True))
    return session


def download(
    session: requests.Session,
    url: str,
    part: Path,
    size: int,
    received: Callable[[int], None] = lambda _: None,
    wait: Callable[[float], None] | None = None,
) -> None:
    """Fill `part` with what `url` gives, continuing what it holds already.

    No more than `size` + 1 bytes are taken, so that a wrong file shows by its length. The content is for
    the caller to check.

    Args:
        session: From `open_session`.
        url: http or https.
        part: File to fill; bytes in it are continued with a Range request.
        size: Expected length in bytes.
        received: Called with the length of every piece that arrived; what it raises ends the download.
        wait: Called with the seconds before another try, instead of `time.sleep`; what it raises ends the download.

    Raises:
        UnavailableError: the server refuses the file, or did not give it whole in `TRIES` tries.
        OSError: `part` cannot be written.
    """
    reason, answered, asked, failures = "", False, 0.0, 0
    while failures < TRIES:
        if failures:
            (wait or time.sleep)(_pause(failures, asked))
        asked, before = 0.0, _held(part)
        try:
            if _attempt(session, url, part, size, received):
                return
            answered = True
            reason = f"the connection closed after {_held(part)} of {size} bytes"
        except _TryAgainError as error:
            reason, answered, asked = str(error), True, error.pause
        except _LEADS_NOWHERE as error:
            raise UnavailableError(f"leads nowhere: {error}") from error
        except (requests.RequestException, HTTPError) as error:
            reason = _plain(error)
        # Of 20 GB a connection may break any number of times, as long as it goes on.
        failures = 1 if _held(part) - before >= PROGRESS_BYTES else failures + 1
    raise UnavailableError(f"{reason} (tried {TRIES} times)", unreachable=not answered)


def download_bytes(session: requests.Session, url: str, limit: int) -> bytes:
    """What `url` gives, of unknown length, whole and in memory.

    A server that is busy is asked again after the pause that it asks for; one that does not answer is not.

    Args:
        session: From `open_session`.
        url: http or https.
        limit: Largest length in bytes.

    Raises:
        UnavailableError: the address is none, the server refuses or cannot be reached, breaks off, gives more than
            `limit`, or takes longer than `LONGEST_SECONDS`.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise UnavailableError("no address of http:// or https://")
    for attempt in range(1, BUSY_TRIES + 1):
        try:
            with session.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response:
                if _is_busy(response) and attempt < BUSY_TRIES:
                    pause = max(PAUSE_SECONDS, _asked_pause(response))
                elif response.status_code != 200:
                    raise UnavailableError(_refusal(response))
                else:
                    return _limited(response, limit)
        except (requests.RequestException, HTTPError) as error:
            raise UnavailableError(_plain(error), unreachable=not isinstance(error, HTTPError)) from error
        except (ValueError, OSError) as error:  # names that cannot be encoded, addresses that cannot be parsed
            raise UnavailableError(f"not a usable address ({error})") from error
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _limited(response: requests.Response, limit: int) -> bytes:
    begun, content = time.monotonic(), bytearray()
    for piece in _pieces(response):
        content += piece
        if len(content) > limit:
            raise UnavailableError(f"more than {limit} bytes")
        if time.monotonic() - begun > LONGEST_SECONDS:
            raise UnavailableError(f"took longer than {LONGEST_SECONDS:.0f} s")
    return bytes(content)


def remote_size(session: requests.Session, url: str) -> int:
    """Length in bytes of what `url` gives, as the server states it.

    Raises:
        UnavailableError: the server refuses the file, cannot be reached in `TRIES` tries or states no length.
    """
    reason, answered, asked = "", False, 0.0
    for failures in range(TRIES):
        if failures:
            time.sleep(_pause(failures, asked))
        try:
            # Not HEAD, which some servers refuse; the content is left where it is.
            with session.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response:
                if _is_busy(response):
                    reason, answered, asked = _refusal(response), True, _asked_pause(response)
                    continue
                if response.status_code != 200:
                    raise UnavailableError(_refusal(response))
                length = "" if _is_encoded(response) else response.headers.get("Content-Length", "")
                if not length.isdecimal() or int(length) == 0:
                    raise UnavailableError("the server states no length")
                return int(length)
        except _LEADS_NOWHERE as error:
            raise UnavailableError(f"leads nowhere: {error}") from error
        except (requests.RequestException, HTTPError) as error:
            reason, asked = _plain(error), 0.0
    raise UnavailableError(f"{reason} (tried {TRIES} times)", unreachable=not answered)


def _pause(failures: int, asked: float) -> float:
    """Seconds before the next try: twice as many each time, or as many as the server asks."""
    return max(PAUSE_SECONDS * 2 ** (failures - 1), asked)


class _TryAgainError(Exception):
    """The server answers, but not with the file for now; `pause`: the seconds it asks to wait."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def _held(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _attempt(session: requests.Session, url: str, part: Path, size: int, received: Callable[[int], None]) -> bool:
    """One request; True when the server has given all it has."""
    held = _held(part)
    if held == size:
        return True
    if held > size:
        held = 0
    headers = {"Range": f"bytes={held}-"} if held else {}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        status, encoded = response.status_code, _is_encoded(response)
        if status == 416 or (
            status == 206
            # Bytes of the packed content do not continue those of the plain one.
            and (encoded or not response.headers.get("Content-Range", "").startswith(f"bytes {held}-"))
        ):
            part.unlink(missing_ok=True)
            raise _TryAgainError(f"the server did not resume at byte {held}")
        if _is_busy(response):
            raise _TryAgainError(f"{status} {response.reason}", _asked_pause(response))
        if status not in (200, 206):
            raise UnavailableError(_refusal(response))
        with open(part, "ab" if status == 206 else "wb") as file:
            length = held if status == 206 else 0
            for piece in _pieces(response, watched=True):
                piece = piece[: size + 1 - length]
                file.write(piece)
                length += len(piece)
                received(len(piece))
                if length > size:
                    break
    # A server that names the length, or sends a web page, has given what it has; others may have hung up.
    return length >= size or "Content-Length" in response.headers or describe_content(part) is not None


def _is_encoded(response: requests.Response) -> bool:
    """Whether what the server sends must be unpacked to be the file, although it was asked not to pack it.

    Servers call .tgz files gzip-encoded that are to be kept as they are; that is no encoding.
    """
    names_archive = PurePosixPath(urlsplit(response.url).path).suffix.lower() in ARCHIVE_SUFFIXES
    return not names_archive and response.headers.get("Content-Encoding", "identity").lower() != "identity"


def _pieces(response: requests.Response, watched: bool = False) -> Iterator[bytes]:
    """The content as it arrives, so that no server can hold a reader up by a trickle.

    Args:
        response: Of a request with `stream=True`.
        watched: Raise a `_TryAgainError` for a server that sends more slowly than it may.
    """
    encoded = _is_encoded(response)
    since, length = time.monotonic(), 0
    while piece := response.raw.read1(CHUNK_BYTES, decode_content=encoded):
        yield piece
        length += len(piece)
        seconds = time.monotonic() - since
        if watched and seconds > SLOW_SECONDS:
            if length < seconds * SLOWEST_BYTES_PER_SECOND:
                raise _TryAgainError(f"the server sends less than {SLOWEST_BYTES_PER_SECOND} bytes a second")
            since, length = time.monotonic(), 0


def _is_busy(response: requests.Response) -> bool:
    return response.status_code == 429 or response.status_code >= 500


def _asked_pause(response: requests.Response) -> float:
    """Seconds for which a busy server asks to be left alone: a number, or the time when it may be asked again."""
    wait = response.headers.get("Retry-After", "").strip()
    try:
        seconds = float(wait) if wait.isdecimal() else (parsedate_to_datetime(wait) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):  # not a date, or one without a time zone
        return 0.0
    return min(max(seconds, 0.0), LONGEST_PAUSE_SECONDS)


def _refusal(response: requests.Response) -> str:
    page = " with an HTML page" if "html" in response.headers.get("Content-Type", "").lower() else ""
    return f"{response.status_code} {response.reason}{page}"


def _plain(error: requests.RequestException | HTTPError) -> str:
    if isinstance(error, (requests.Timeout, ReadTimeoutError)):
        return "the server did not answer in time"
    if isinstance(error, HTTPError):  # while the content was read
        return "the connection broke off"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate could not be verified"
    if isinstance(error, requests.ConnectionError):
        return "the server could not be reached"
    return f"{type(error).__name__}: {error}"
