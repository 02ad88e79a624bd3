"""One file over HTTP: resumed where the server allows it, tried again when the connection fails."""

from __future__ import annotations

import time
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter

from edgebench import __version__
from edgebench.data.images import describe_content

TRIES = 4
PAUSE_SECONDS = 1.0
"""Before the second try; doubled for each further one."""
LONGEST_PAUSE_SECONDS = 60.0
"""However long a busy server asks to be left alone."""
TIMEOUT_SECONDS = (10.0, 30.0)
"""To connect, and without a single byte arriving."""
LONGEST_SECONDS = 60.0
"""For one file of a list of addresses, which must not hold up the others."""
CHUNK_BYTES = 1 << 16
"""What a broken connection costs at most: a chunk that did not arrive whole is asked for again."""


class UnavailableError(Exception):
    """A mirror does not give a file; the text says why. `unreachable`: the server itself did not answer."""

    def __init__(self, reason: str, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.unreachable = unreachable


def open_session(connections: int) -> requests.Session:
    """A session that keeps up to `connections` connections open; threads may share it."""
    session = requests.Session()
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": f"edgebench/{__version__}"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=connections, pool_maxsize=connections))
    return session


def download(session: requests.Session, url: str, part: Path, size: int) -> None:
    """Fill `part` with what `url` gives, continuing what it holds already.

    No more than `size` + 1 bytes are taken, so that a wrong file shows by its length. The content is for
    the caller to check.

    Args:
        session: From `open_session`.
        url: http or https.
        part: File to fill; bytes in it are continued with a Range request.
        size: Expected length in bytes.

    Raises:
        UnavailableError: the server refuses the file, or did not give it whole in `TRIES` tries.
        OSError: `part` cannot be written.
    """
    reason, answered, asked = "", False, 0.0
    for attempt in range(TRIES):
        if attempt:
            time.sleep(max(PAUSE_SECONDS * 2 ** (attempt - 1), asked))
        try:
            if _attempt(session, url, part, size):
                return
            answered = True
            reason = f"the connection closed after {part.stat().st_size} of {size} bytes"
        except _TryAgainError as error:
            reason, answered, asked = str(error), True, error.pause
        except requests.RequestException as error:
            reason = _plain(error)
    raise UnavailableError(f"{reason} (tried {TRIES} times)", unreachable=not answered)


def download_bytes(session: requests.Session, url: str, limit: int) -> bytes:
    """What `url` gives, of unknown length, whole and in memory.

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
    try:
        with session.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response:
            if response.status_code != 200:
                raise UnavailableError(_refusal(response))
            begun, content = time.monotonic(), bytearray()
            for chunk in response.iter_content(CHUNK_BYTES):
                content += chunk
                if len(content) > limit:
                    raise UnavailableError(f"more than {limit} bytes")
                if time.monotonic() - begun > LONGEST_SECONDS:
                    raise UnavailableError(f"took longer than {LONGEST_SECONDS:.0f} s")
            return bytes(content)
    except requests.RequestException as error:
        broken = isinstance(error, requests.exceptions.ChunkedEncodingError)
        raise UnavailableError(_plain(error), unreachable=not broken) from error
    except (ValueError, OSError) as error:  # names that cannot be encoded, addresses that cannot be parsed
        raise UnavailableError(f"not a usable address ({error})") from error


def remote_size(session: requests.Session, url: str) -> int:
    """Length in bytes of what `url` gives, as the server states it.

    Raises:
        UnavailableError: the server refuses the file, cannot be reached or states no length.
    """
    try:
        with session.head(url, allow_redirects=True, timeout=TIMEOUT_SECONDS) as response:
            if response.status_code != 200:
                raise UnavailableError(_refusal(response))
            length = response.headers.get("Content-Length", "")
    except requests.RequestException as error:
        raise UnavailableError(_plain(error), unreachable=True) from error
    if not length.isdecimal() or int(length) == 0:
        raise UnavailableError("the server states no length")
    return int(length)


class _TryAgainError(Exception):
    """The server answers, but not with the file for now; `pause`: the seconds it asks to wait."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def _attempt(session: requests.Session, url: str, part: Path, size: int) -> bool:
    """One request; True when the server has given all it has."""
    held = part.stat().st_size if part.exists() else 0
    if held == size:
        return True
    if held > size:
        held = 0
    headers = {"Range": f"bytes={held}-"} if held else {}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        status = response.status_code
        if status == 416 or (
            status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {held}-")
        ):
            part.unlink(missing_ok=True)
            raise _TryAgainError(f"the server did not resume at byte {held}")
        if status == 429 or status >= 500:
            wait = response.headers.get("Retry-After", "")
            pause = min(float(wait), LONGEST_PAUSE_SECONDS) if wait.isdecimal() else 0.0
            raise _TryAgainError(f"{status} {response.reason}", pause)
        if status not in (200, 206):
            raise UnavailableError(_refusal(response))
        with open(part, "ab" if status == 206 else "wb") as file:
            length = held if status == 206 else 0
            for chunk in response.iter_content(CHUNK_BYTES):
                chunk = chunk[: size + 1 - length]
                file.write(chunk)
                length += len(chunk)
                if length > size:
                    break
    # A server that names the length, or sends a web page, has given what it has; others may have hung up.
    return length >= size or "Content-Length" in response.headers or describe_content(part) is not None


def _refusal(response: requests.Response) -> str:
    page = " with an HTML page" if "html" in response.headers.get("Content-Type", "").lower() else ""
    return f"{response.status_code} {response.reason}{page}"


def _plain(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate could not be verified"
    if isinstance(error, requests.ConnectionError):
        return "the server could not be reached"
    return f"{type(error).__name__}: {error}"
