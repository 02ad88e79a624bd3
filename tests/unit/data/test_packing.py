"""Collections into shards: from folders, and from lists of addresses that are mostly bad."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import struct
import tarfile
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgebench.data import download as download_module
from edgebench.data import packing
from edgebench.data.adapters import open_dataset
from edgebench.data.fetch import fetch
from edgebench.data.packing import download_list, pack_folder, read_addresses
from edgebench.errors import DataError, EdgebenchError
from tests.unit.data.servers import PAGE

DEFINITION = {"name": "laion", "layout": "shards", "source": {"local": True}, "images": {"train": 400000}}


def picture(kind: str = "JPEG", seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that says it is 60,000 pixels wide and high."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


class Web:
    """A server of good and bad images, which counts what it is asked for and how much at a time."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        lock, web = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with lock:
                    web.asked.append(self.path)
                    web.at_once += 1
                    web.most_at_once = max(web.most_at_once, web.at_once)
                time.sleep(0.03 if "drips" in self.path else 0)
                with lock:
                    web.at_once -= 1  # before the answer, upon which the next request may come at once
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.answer()

            def answer(self) -> None:
                kind = self.path.split("/")[1]
                status, length, body = 200, None, picture(seed=len(self.path))
                if kind == "gone":
                    status, body = 404, PAGE
                elif kind == "busy" and web.asked.count(self.path) < 3:
                    status, body = 429, b"slowly"
                elif kind == "down":
                    status, body = 503, b"later"
                elif kind == "page":
                    body = PAGE
                elif kind == "empty":
                    body = b""
                elif kind == "png":
                    body = picture("PNG")
                elif kind == "gif":
                    body = picture("GIF")
                elif kind == "truncated":
                    body = body[:-40]  # with a length that fits: only decoding shows it
                elif kind == "cut":
                    length = len(body) + 500
                elif kind == "bomb":
                    body = bomb()
                elif kind == "large":
                    body = bytes(30_000)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                for byte in body if kind == "trickle" else ():
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
                self.wfile.write(body if kind != "trickle" else b"")

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "IMAGES_PER_SHARD", 5)
    monkeypatch.setattr(packing, "LARGEST_IMAGE", 20_000)


def reasons(destination: Path) -> dict[str, str]:
    lines = (destination / "failures.jsonl").read_text().splitlines()
    return {line["id"]: line["reason"] for line in map(json.loads, lines)}


def test_a_list_of_every_temper(web: Web, tmp_path: Path) -> None:
    kinds = ["good", "gone", "page", "png", "truncated", "cut", "bomb", "large", "empty", "gif", "good2"]
    addresses = [f"{web.url}/{kind}/1" for kind in kinds]
    addresses += ["ftp://127.0.0.1/x.jpg", "no address", "http://[::1", "http://127.0.0.1:9/unreachable.jpg", "http://"]
    (tmp_path / "list.txt").write_text("# a comment\n\n" + "\n".join(addresses) + "\n")
    report = fetch(DEFINITION, None, tmp_path / "data", [str(tmp_path / "list.txt")], jobs=1)
    dataset = open_dataset("shards", tmp_path / "data", "train")
    assert dataset.ids == ["000000000", "000000003", "000000010"]
    assert dataset.image("000000003").shape == (20, 30, 3)
    with tarfile.open(tmp_path / "data" / "00000.tar") as tar:
        assert tar.getnames() == ["000000000.jpg", "000000003.png"]  # named by what they are
    found = reasons(tmp_path / "data")
    assert list(found) == [f"{row:09d}" for row in range(16) if row not in (0, 3, 10)]
    for row, reason in {
        1: "404 Not Found",
        2: "an HTML page",
        4: "truncated or damaged",
        5: "broke off",
        6: "pixels",
        7: "more than 20000 bytes",
        8: "empty",
        9: "an image of the kind GIF",
        11: "no address of http",
        12: "no address of http",
        13: "not a usable address|Invalid",
        14: "could not be reached",
        15: "Invalid",
    }.items():
        text = found[f"{row:09d}"]
        assert any(part in text for part in reason.split("|")), text
        assert addresses[row] in text
        assert "run the same command" not in text
    assert (report.n_images, report.n_failed) == (3, 13)


def test_rows_of_tables(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('key,URL,TEXT\n1,http://a/1.jpg,"a dog, two\nlines"\n2,,none\n3,http://a/3.jpg,x\n')
    assert read_addresses(tmp_path / "a.csv") == ["http://a/1.jpg", "http://a/3.jpg"]
    (tmp_path / "a.tsv").write_text("url\tcaption\nhttp://a/1.jpg\tx\n")
    assert read_addresses(tmp_path / "a.tsv") == ["http://a/1.jpg"]
    for name, content, message in (
        ("b.csv", "link,text\nhttp://a,x\n", r"no column 'url'; its columns are 'link', 'text'"),
        ("c.csv", "", r"no column 'url'; its columns are none"),
        ("d.txt", "# nothing\n", "holds no address"),
        ("e.json", "[]", r"is a \.txt, \.csv, \.tsv or \.parquet file"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=message):
            read_addresses(tmp_path / name)
    (tmp_path / "f.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a readable list"):
        read_addresses(tmp_path / "f.txt")
    (tmp_path / "g.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"g\.parquet: (reading it needs pandas and pyarrow|not a readable parquet)"):
        read_addresses(tmp_path / "g.parquet")


def test_rows_of_parquet(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"URL": ["http://a/1.jpg", None, " http://a/2.jpg "], "TEXT": "x"}).to_parquet(
        tmp_path / "a.parquet"
    )
    assert read_addresses(tmp_path / "a.parquet") == ["http://a/1.jpg", "http://a/2.jpg"]


def test_an_interrupted_download_goes_on(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_text("\n".join(f"{web.url}/good/{number}" for number in range(12)))
    real = packing.image_suffix

    def breaking(image_id: str, content: bytes) -> str:
        if image_id == "000000007":
            raise KeyboardInterrupt
        return real(image_id, content)

    monkeypatch.setattr(packing, "image_suffix", breaking)
    with pytest.raises(KeyboardInterrupt):
        download_list(tmp_path / "list.txt", tmp_path / "data", "laion", jobs=1)
    assert [path.name for path in (tmp_path / "data").glob("*.tar")] == ["00000.tar"]
    monkeypatch.setattr(packing, "image_suffix", real)
    web.asked.clear()
    assert download_list(tmp_path / "list.txt", tmp_path / "data", "laion", jobs=1) == []
    assert not {f"/good/{number}" for number in range(5)} & set(web.asked)
    assert len(open_dataset("shards", tmp_path / "data", "train").ids) == 12
    (tmp_path / "list.txt").write_text(f"{web.url}/good/1")
    with pytest.raises(DataError, match="shards of other items"):
        download_list(tmp_path / "list.txt", tmp_path / "data", "laion", jobs=1)


def test_a_server_is_not_overrun(web: Web, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n".join(f"{web.url}/drips/{number}" for number in range(20)))
    assert download_list(tmp_path / "list.txt", tmp_path / "data", "laion", jobs=2) == []
    assert web.most_at_once == 2


def test_a_dead_server_holds_nobody_up(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine tenths of the list are on a server that takes connections and says nothing."""
    monkeypatch.setattr(packing, "IMAGES_PER_SHARD", 200)
    monkeypatch.setattr(download_module, "TIMEOUT_SECONDS", (2.0, 0.5))
    with socket.create_server(("127.0.0.1", 0)) as dead:
        silent = f"http://127.0.0.1:{dead.getsockname()[1]}"
        rows = [f"{web.url}/good/{n}" if n % 10 == 9 else f"{silent}/{n}.jpg" for n in range(200)]
        (tmp_path / "list.txt").write_text("\n".join(rows))
        begun = time.monotonic()
        failures = download_list(tmp_path / "list.txt", tmp_path / "data", "laion", jobs=1)
    assert time.monotonic() - begun < 20  # asking for all 180 of them, two at a time, takes 45 s
    assert len(failures) == 180
    assert [each.reason.rpartition(": ")[2] for each in failures].count("the server did not answer in time") <= 6
    assert failures[-1].reason.endswith("could not be reached (no longer asked)")
    assert len(open_dataset("shards", tmp_path / "data", "train").ids) == 20


def test_a_slow_server_does_not_keep_others_waiting(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows come first, two at a time; meanwhile those of another one are done, as far ahead as is allowed."""
    slow = [f"{web.url}/drips/{number}" for number in range(30)]
    fast = [f"http://localhost:{web.http.server_address[1]}/good/{number}" for number in range(20)]
    (tmp_path / "list.txt").write_text("\n".join([*slow, *fast]))
    monkeypatch.setattr(packing, "IMAGES_PER_SHARD", 50)
    assert download_list(tmp_path / "list.txt", tmp_path / "data", "laion", jobs=1) == []
    last_fast = max(place for place, path in enumerate(web.asked) if "good" in path)
    last_slow = max(place for place, path in enumerate(web.asked) if "drips" in path)
    assert last_fast < last_slow
    with tarfile.open(tmp_path / "data" / "00000.tar") as tar:
        assert [name[:9] for name in tar.getnames()] == [f"{number:09d}" for number in range(50)]


def test_a_trickle_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though each byte comes in time."""
    monkeypatch.setattr(download_module, "LONGEST_SECONDS", 0.3)
    begun = time.monotonic()
    with (
        download_module.open_session(1) as session,
        pytest.raises(download_module.UnavailableError, match="took longer than"),
    ):
        download_module.download_bytes(session, f"{web.url}/trickle/1", 10**6)
    assert time.monotonic() - begun < 5


def test_a_lost_network_costs_no_rows(web: Web, tmp_path: Path) -> None:
    good = [f"{web.url}/good/{number}" for number in range(5)]
    (tmp_path / "list.txt").write_text("\n".join([*good, *["http://127.0.0.1:9/x.jpg"] * 5]))
    with pytest.raises(EdgebenchError, match=r"none of the 5 servers from row 5 .* finished shards are kept"):
        download_list(tmp_path / "list.txt", tmp_path / "data", "laion", jobs=1)
    assert [path.name for path in (tmp_path / "data").glob("*.tar")] == ["00000.tar"]


def test_a_busy_server_is_asked_again(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "PAUSE_SECONDS", 0.01)
    (tmp_path / "list.txt").write_text(f"{web.url}/busy/1\n{web.url}/down/2\n")
    (failure,) = download_list(tmp_path / "list.txt", tmp_path / "data", "laion", jobs=1)
    assert (failure.id, failure.reason) == ("000000001", f"{web.url}/down/2: 503 Service Unavailable")
    assert sorted(web.asked) == ["/busy/1"] * 3 + ["/down/2"] * 3


def test_a_slow_file_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "LONGEST_SECONDS", -1.0)
    with (
        download_module.open_session(1) as session,
        pytest.raises(download_module.UnavailableError, match="took longer than"),
    ):
        download_module.download_bytes(session, f"{web.url}/good/1", 10**6)


def test_a_list_without_one_good_address(web: Web, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n".join(f"{web.url}/gone/{number}" for number in range(7)))
    with pytest.raises(DataError, match=r"all of the first 5 failed(.|\n)*404"):
        download_list(tmp_path / "list.txt", tmp_path / "data", "laion", jobs=1)


# Folders


def test_a_folder_is_packed_and_bad_files_are_named(tmp_path: Path) -> None:
    for number in range(7):
        path = tmp_path / "photos" / f"part{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(seed=number))
    (tmp_path / "photos" / "part0" / "page.jpg").write_bytes(PAGE)
    (tmp_path / "photos" / "part0" / "bomb.png").write_bytes(bomb())
    report = fetch(DEFINITION, None, tmp_path / "data", [str(tmp_path / "photos")])
    dataset = open_dataset("shards", tmp_path / "data", "train")
    assert dataset.ids == [f"part{number % 2}__{number}" for number in (0, 2, 4, 6, 1, 3, 5)]
    expected = np.asarray(Image.open(io.BytesIO(picture(seed=3))))
    np.testing.assert_array_equal(dataset.image("part1__3"), expected)
    assert set(reasons(tmp_path / "data")) == {"part0/page.jpg", "part0/bomb.png"}
    assert (report.n_images, report.n_failed, report.n_files) == (7, 2, 2)
    assert not list((tmp_path / "data").rglob("*.jpg"))
    again = fetch(DEFINITION, None, tmp_path / "data", [str(tmp_path / "photos")])
    assert again.digest == report.digest


def test_shards_of_a_folder_are_limited_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(picture(seed=number))
    monkeypatch.setattr(packing, "BYTES_PER_SHARD", len(picture()) + 50)
    pack_folder(tmp_path / "photos", tmp_path / "data", "laion")
    assert len(list((tmp_path / "data").glob("*.tar"))) == 3


def test_two_files_of_one_id_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "a.png"):
        (tmp_path / "photos" / name).write_bytes(picture())
    with pytest.raises(DataError, match=r"a\.png and a\.jpg would have the same id"):
        pack_folder(tmp_path / "photos", tmp_path / "data", "laion")
    with pytest.raises(DataError, match="holds no images"):
        pack_folder(tmp_path / "data", tmp_path / "data", "laion")


def test_nothing_is_left_of_another_mirror(web: Web, tmp_path: Path) -> None:
    """Tar files, a list and a folder, one after the other, each begun and given up for the next."""
    tars, photos, other, data = (tmp_path / name for name in ("tars", "photos", "other", "data"))
    for folder, seeds in ((photos, (0, 1)), (other, (2, 3, 4))):
        folder.mkdir()
        for seed in seeds:
            (folder / f"{seed}.jpg").write_bytes(picture(seed=seed))
    pack_folder(other, tars, "laion")
    (tars / "bad.tar").write_bytes(PAGE)
    before = {path.name: path.read_bytes() for path in tars.glob("*.tar")}
    with pytest.raises(DataError, match=r"bad\.tar: damaged"):
        fetch(DEFINITION, None, data, [str(tars)])
    with pytest.raises(DataError, match="holds only a part of"):
        fetch(DEFINITION, None, data)
    assert fetch(DEFINITION, None, data, [str(photos)]).n_images == 2
    (tmp_path / "list.txt").write_text("\n".join([*[f"{web.url}/good/1"] * 5, *["http://127.0.0.1:9/x.jpg"] * 5]))
    with pytest.raises(EdgebenchError, match="none of the 5 servers"):
        fetch(DEFINITION, None, data, [str(tmp_path / "list.txt")])
    assert open_dataset("shards", data, "train").ids == [f"{number:09d}" for number in range(5)]
    assert fetch(DEFINITION, None, data, [str(other)]).n_images == 3
    assert open_dataset("shards", data, "train").ids == ["2", "3", "4"]
    assert (data / "failures.jsonl").read_text() == ""
    assert {path.name: path.read_bytes() for path in tars.glob("*.tar")} == before
    (tars / "bad.tar").unlink()
    assert fetch(DEFINITION, None, data, [str(tars)]).n_images == 3
    assert [path.name for path in data.glob("*.tar")] == ["00000.tar"]


def test_tar_files_are_linked_and_checked(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(picture())
    pack_folder(tmp_path / "photos", tmp_path / "tars", "laion")
    report = fetch(DEFINITION, None, tmp_path / "data", [str(tmp_path / "tars")])
    assert report.n_images == 1
    assert (tmp_path / "data" / "00000.tar").samefile(tmp_path / "tars" / "00000.tar")
    (tmp_path / "tars" / "00001.tar").write_bytes(PAGE)
    with pytest.raises(DataError, match=r"00001\.tar: damaged"):
        fetch(DEFINITION, None, tmp_path / "data", [str(tmp_path / "tars")])
    with pytest.raises(DataError, match=r"--mirror FOLDER`, or name a list of addresses"):
        fetch(DEFINITION, None, tmp_path / "data2", [str(tmp_path / "nowhere")])
