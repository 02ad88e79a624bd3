"""SIGKILL while files come from a server, a folder or a list of addresses: each ends as if undisturbed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgebench.data import packing
from edgebench.data.manifest import scan_folder, write_manifest
from edgebench.files import sha256_file
from edgebench.plan.workbench import Workbench
from tests.faults.campaign import Tally, carried_out, kill_again_and_again
from tests.faults.test_kills import SHARE_OF_FETCHES, STAGES
from tests.unit.data.servers import Server
from tests.workflow.conftest import copy_repository

SOURCES = ("server", "folder", "archive", "folder into shards", "addresses into shards")
N_IMAGES = 24
PIECE = 1 << 14
PAUSE_SECONDS = 0.004


class SlowServer(Server):
    """A server on a slow line, which answers requests for parts; its readers may vanish."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]

    @staticmethod
    def send(
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        """Send the body in pieces with pauses."""
        request.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        for begin in range(0, len(body), PIECE):
            request.wfile.write(body[begin : begin + PIECE])
            time.sleep(PAUSE_SECONDS)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, of which one is large; beside it they lie as an archive."""
    folder, rng = tmp_path_factory.mktemp("served") / "images", np.random.default_rng(0)
    folder.mkdir()
    for number in range(N_IMAGES):
        size = 900 if number == 5 else int(rng.integers(60, 160))
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    shutil.make_archive(str(folder.with_name("photos")), "zip", folder)
    return folder


@pytest.fixture(scope="module")
def server(images: Path) -> Iterator[SlowServer]:
    server = SlowServer(images.parent)
    yield server
    server.http.shutdown()


def small_shards(count: int) -> None:
    """Have `count` images in a shard, so that several shards can be begun."""
    packing.IMAGES_PER_SHARD = count


@pytest.mark.parametrize("source", SOURCES)
def test_fetch(
    source: str,
    images: Path,
    server: SlowServer,
    root: Path,
    tally: Tally,
    tmp_path: Path,
    seed: int,
    kills: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tally.stage = f"fetch, {source}"
    repository = copy_repository(root, tmp_path / "calm", {})
    addresses, archive = tmp_path / "list.txt", images.with_name("photos.zip")
    addresses.write_text("".join(f"{server.url}/images/{name}\n" for name in sorted(os.listdir(images))))
    definition = repository.read("config/datasets/scenes_photos.yaml") | {"name": "photos", "images": {"all": N_IMAGES}}
    published = {"file": archive.name, "urls": [f"{server.url}/{archive.name}"], "sha256": sha256_file(archive)}
    sources: dict[str, Any] = {"server": {"manifest": "photos.sha256"}, "archive": {"archives": [published]}}
    mirrors = {"server": f"{server.url}/images", "archive": None, "addresses into shards": str(addresses)}
    definition["source"] = sources.get(source, {"local": True})
    definition["layout"] = "shards" if "shards" in source else "folder"
    repository.write("config/datasets/photos.yaml", definition)
    write_manifest(repository.folder / "config/datasets/photos.sha256", scan_folder(images))
    monkeypatch.chdir(repository.folder)
    bench = Workbench(repository.folder)
    run = bench.fetch_run("photos")
    bench.write_spec(run, own_mirror=mirrors.get(source, str(images)))
    hazard = partial(small_shards, 7)
    command = ("run", run.spec_file)
    work = carried_out(repository.folder, command, Path(run.folder), (Path(run.spec_file),), hazard)
    share = max(1, round(kills * SHARE_OF_FETCHES / (sum(STAGES.values()) + SHARE_OF_FETCHES) / len(SOURCES)))
    kill_again_and_again(work, share, f"{seed} fetch {source}", tmp_path / "struck", tally)
    assert tally.losses == []
