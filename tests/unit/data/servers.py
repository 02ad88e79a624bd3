"""Local HTTP servers of every temper."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"


class Server:
    """Serves a folder badly: `mood` maps a request path (or "*") to what goes wrong with it."""

    def __init__(self, folder: Path) -> None:
        self.mood: dict[str, str] = {}
        self.seen: Counter[str] = Counter()
        self.ranges: list[tuple[str, str]] = []
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
        elif mood == "busy once" and first:
            self.send(request, 503, b"busy", {"Retry-After": "7"})
        elif mood == "moved":
            self.send(request, 302, b"", {"Location": f"/moved/{request.path.lstrip('/')}"})
        elif mood == "cut always" or (mood in ("cut once", "cut once, no ranges", "cut once, wrong range") and first):
            self.send(request, 200, content[: len(content) // 2], length=len(content))
            request.close_connection = True
        elif mood == "stalls once" and first:
            self.send(request, 200, content[:50], length=len(content))
            request.wfile.flush()
            time.sleep(0.6)
            request.close_connection = True
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
