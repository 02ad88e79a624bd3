"""Local HTTP servers of every temper."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"

SURVIVED = [
    "moved",
    "moved to another host",
    "busy once",
    "too many once",
    "cut once",
    "cut once, no ranges",
    "cut once, wrong range",
    "cut once, 416",
    "stalls once",
    "no length",
    "says too much",
]
"""Moods in which a server gives the right file in the end."""
REFUSED = [
    ("403 page", "403 Forbidden with an HTML page", False),
    ("200 page", "an HTML page", True),
    ("long page", "an HTML page", True),
    ("corrupt", "SHA-256", True),
    ("short", "bytes instead of", True),
    ("says too little", "bytes instead of", True),
    ("cut always", r"the connection broke off \(tried 4 times\)", False),
    ("stalls always", r"the server did not answer in time \(tried 4 times\)", False),
    ("drips", r"the server sends less than 1000 bytes a second \(tried 4 times\)", False),
    ("busy always", r"503 Service Unavailable \(tried 4 times\)", False),
    ("moved to a file", "leads nowhere: No connection adapters", False),
    ("moved in circles", "leads nowhere: Exceeded 30 redirects", False),
    ("packed twice", "SHA-256|more than|bytes instead of", True),
]
"""Moods in which it does not: what is said then, and whether something wrong came that is set aside."""


def hasten(monkeypatch: object) -> None:
    """Waiting times of a hundredth, and pieces so small that files of a test have several."""
    from edgebench.data import download

    quick = {"PAUSE_SECONDS": 0.01, "TIMEOUT_SECONDS": (2.0, 0.3), "CHUNK_BYTES": 32, "SLOW_SECONDS": 0.2}
    for name, value in {**quick, "LONGEST_PAUSE_SECONDS": 0.05}.items():
        monkeypatch.setattr(download, name, value)  # type: ignore[attr-defined]


class Server:
    """Serves a folder badly: `mood` maps a request path (or "*") to what goes wrong with it."""

    def __init__(self, folder: Path) -> None:
        self.mood: dict[str, str] = {}
        self.seen: Counter[str] = Counter()
        self.ranges: list[tuple[str, str]] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self, folder)

            do_HEAD = do_GET  # noqa: N815 - http.server's own name

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, folder: Path) -> None:
        path = request.path.lstrip("/").replace("%20", " ")
        self.seen[path] += 1
        mood = self.mood.get(path, self.mood.get("*", ""))
        first = self.seen[path] == 1
        if path.startswith("moved/"):
            path, mood = path.removeprefix("moved/"), ""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who was given up on
            self.behave(request, folder, path, mood, first)

    def behave(self, request: BaseHTTPRequestHandler, folder: Path, path: str, mood: str, first: bool) -> None:
        content = (folder / path).read_bytes() if (folder / path).is_file() else None
        if content is None:
            self.send(request, 404, b"not here")
        elif mood == "403 page":
            self.send(request, 403, PAGE, {"Content-Type": "text/html"})
        elif mood == "200 page":
            self.send(request, 200, PAGE, {"Content-Type": "text/html"})
        elif mood == "long page":
            self.send(request, 200, PAGE + b" " * 2 * len(content), {"Content-Type": "text/html"})
        elif mood == "corrupt":
            self.send(request, 200, content[:-9] + b"?" + content[-8:])
        elif mood == "short":
            self.send(request, 200, content[:-5])
        elif mood == "says too little":
            self.send(request, 200, content, length=len(content) - 5)
            request.close_connection = True
        elif mood == "says too much":
            self.send(request, 200, content, length=len(content) + 500)
            request.close_connection = True
        elif mood == "packed twice":
            body = gzip.compress(gzip.compress(content))
            self.send(request, 200, body, {"Content-Encoding": "gzip"})
        elif mood == "packed on the way":
            self.send(request, 200, gzip.compress(content), {"Content-Encoding": "gzip"})
        elif mood == "called packed":
            self.send(request, 200, content, {"Content-Encoding": "x-gzip"})
        elif mood == "no length" and request.command == "GET":
            request.send_response(200)
            request.send_header("Connection", "close")
            request.end_headers()
            request.wfile.write(content)
            request.close_connection = True
        elif mood == "moved to another host":
            host = f"localhost:{self.http.server_address[1]}"
            self.send(request, 302, b"", {"Location": f"http://{host}/moved/{request.path.lstrip('/')}"})
        elif mood == "moved to a file":
            self.send(request, 302, b"", {"Location": f"file://{folder / path}"})
        elif mood == "1000 at a time":
            start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            where = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            status = 206 if start else 200
            self.send(request, status, content[start : start + 1000], where, length=len(content) - start)
            request.close_connection = True
        elif mood == "slow start":
            with self.lock:
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
            time.sleep(0.1)
            with self.lock:
                self.at_once -= 1  # before the answer, upon which the next request may come at once
            self.send(request, 200, content)
        elif mood == "moved in circles":
            self.send(request, 302, b"", {"Location": request.requestline.split()[1]})
        elif mood == "busy always":
            self.send(request, 503, b"busy")
        elif mood == "too many once" and first:
            until = datetime.now(UTC) + timedelta(seconds=30)
            self.send(request, 429, b"slowly", {"Retry-After": format_datetime(until, usegmt=True)})
        elif mood == "cut once, 416" and "Range" in request.headers:
            self.send(request, 416, b"no")
        elif mood == "busy once" and first:
            self.send(request, 503, b"busy", {"Retry-After": "7"})
        elif mood == "moved":
            self.send(request, 302, b"", {"Location": f"/moved/{request.path.lstrip('/')}"})
        elif mood == "cut always" or (mood.startswith("cut once") and first):
            self.send(request, 200, content[: len(content) // 2], length=len(content))
            request.close_connection = True
        elif mood == "stalls always" or (mood == "stalls once" and first):
            self.send(request, 200, content[:50], length=len(content))
            request.wfile.flush()
            time.sleep(0.6)
            request.close_connection = True
        elif mood == "drips":
            self.send(request, 200, b"", length=len(content))
            for byte in content:
                request.wfile.write(bytes([byte]))
                request.wfile.flush()
                time.sleep(0.02)
        elif "Range" in request.headers and mood != "cut once, no ranges":
            self.ranges.append((path, request.headers["Range"]))
            start = int(request.headers["Range"].removeprefix("bytes=").rstrip("-"))
            told = 0 if mood == "cut once, wrong range" else start
            where = {"Content-Range": f"bytes {told}-{len(content) - 1}/{len(content)}"}
            self.send(request, 206, content[start:], where)
        else:
            self.send(request, 200, content)

    @staticmethod
    def send(
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)


class Hub(Server):
    """A Hugging Face hub with one repository, whose files are those of a folder; answers what `HfApi` asks.

    Large files (`.pt`, `.safetensors`) are LFS files with a SHA-256, which are redirected as the real hub does;
    the others are known by git's digest. The mood "api" concerns the listing. Asked for the commit `OTHER`, it gives
    the files of `COMMIT`.
    """

    REPO, COMMIT = "someone/model", "c0ffee" * 6 + "c0ff"
    OTHER = "d" * 40

    def answer(self, request: BaseHTTPRequestHandler, folder: Path) -> None:
        path = request.path.split("?")[0].replace("%3D", "=").lstrip("/")
        if path in [f"api/models/{self.REPO}/revision/{each}" for each in ("main", self.COMMIT, self.OTHER)]:
            if self.mood.get("api") == "page":
                return self.send(request, 200, PAGE, {"Content-Type": "text/html"})
            if self.mood.get("api") == "gated":
                return self.send(request, 403, b"{}", {"X-Error-Code": "GatedRepo"})
            listing = {"id": self.REPO, "sha": self.COMMIT, "siblings": self.siblings(folder)}
            return self.send(request, 200, json.dumps(listing).encode(), {"Content-Type": "application/json"})
        if path.startswith("api/"):
            code = "RevisionNotFound" if path.startswith(f"api/models/{self.REPO}/") else "RepoNotFound"
            return self.send(request, 404, b"{}", {"X-Error-Code": code})
        if path.startswith("moved/"):
            request.path = path
            return super().answer(request, folder)
        resolve = f"{self.REPO}/resolve/{self.COMMIT}/"
        if not path.startswith(resolve):
            return self.send(request, 404, b"no such file")
        request.path = path = path.removeprefix(resolve)
        if path.endswith((".pt", ".safetensors")) and path not in self.mood:
            self.mood[path] = "moved"
        return super().answer(request, folder)

    def siblings(self, folder: Path) -> list[dict[str, object]]:
        """The repository's files as the hub lists them."""
        listed = []
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            content, path = file.read_bytes(), file.relative_to(folder).as_posix()
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": blob}
            if path.endswith((".pt", ".safetensors")):
                sha256 = self.mood.get("sha256") or hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"size": len(content), "sha256": sha256, "pointerSize": 133}
            listed.append(entry)
        return listed
