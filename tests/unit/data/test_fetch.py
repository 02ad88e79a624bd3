"""Fetching from mirrors of every temper: nothing wrong is ever put in place, and the reason is named."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgebench.data import checks as checks_module
from edgebench.data import download as download_module
from edgebench.data import mirrors as mirrors_module
from edgebench.data.adapters.bsds_mat import write_bsds_annotation
from edgebench.data.fetch import fetch
from edgebench.data.manifest import ManifestEntry, scan_folder
from edgebench.data.mirrors import part_path
from edgebench.errors import ConfigError, DataError, EdgebenchError
from tests.unit.data.servers import PAGE, REFUSED, SURVIVED, Server, hasten

DEFINITION = {"name": "tiny", "layout": "bsds", "source": {"mirrors": [], "manifest": "tiny.sha256"}}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A good data set of four images and four annotations."""
    folder = tmp_path / "origin"
    rng = np.random.default_rng(0)
    for image_id in ("a", "b", "c", "d e"):
        path = folder / f"images/test/{image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
        write_bsds_annotation(
            folder / f"groundTruth/test/{image_id}.mat", [np.ones((30, 40), int)], [np.zeros((30, 40), bool)]
        )
    return folder


@pytest.fixture
def manifest(origin: Path) -> list[ManifestEntry]:
    return scan_folder(origin)


@pytest.fixture
def server(origin: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    hasten(monkeypatch)
    server = Server(origin)
    yield server
    server.http.shutdown()
    server.http.server_close()


def content(folder: Path) -> dict[str, str]:
    """Digest of each visible file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def test_local_mirror(origin, manifest, tmp_path):
    report = fetch(DEFINITION, manifest, tmp_path / "data", [str(origin)])
    assert content(tmp_path / "data") == content(origin)
    assert report.n_files == report.n_new == 8
    assert report.n_bytes == sum(entry.size for entry in manifest)
    assert report.origins == {str(origin): 8}
    assert not (tmp_path / "data" / ".parts").exists()


def test_http_mirror(server, origin, manifest, tmp_path):
    report = fetch(DEFINITION, manifest, tmp_path / "data", [server.url + "/"])
    assert content(tmp_path / "data") == content(origin)
    assert report.origins == {server.url: 8}


def test_the_definitions_own_mirrors_come_last(server, origin, manifest, tmp_path):
    (tmp_path / "half" / "images/test").mkdir(parents=True)
    shutil.copy(origin / "images/test/a.png", tmp_path / "half/images/test/a.png")
    definition = {**DEFINITION, "source": {"mirrors": [server.url]}}
    report = fetch(definition, manifest, tmp_path / "data", [str(tmp_path / "half")])
    assert report.origins == {str(tmp_path / "half"): 1, server.url: 7}


def test_a_second_call_reads_nothing(origin, manifest, tmp_path, monkeypatch):
    first = fetch(DEFINITION, manifest, tmp_path / "data", [str(origin)])
    monkeypatch.setattr(checks_module, "sha256_file", lambda path: pytest.fail(f"{path} was read again"))
    second = fetch(DEFINITION, manifest, tmp_path / "data")
    assert second.n_new == 0
    assert second.digest == first.digest


@pytest.mark.parametrize("index", [None, "[1, 2", '["x"]'])
def test_without_the_index_files_are_read_and_kept(origin, manifest, tmp_path, index):
    fetch(DEFINITION, manifest, tmp_path / "data", [str(origin)])
    verified = tmp_path / "data" / ".verified.json"
    verified.unlink() if index is None else verified.write_text(index)
    assert fetch(DEFINITION, manifest, tmp_path / "data").n_new == 0


def test_a_file_damaged_in_place_is_replaced(origin, manifest, tmp_path):
    fetch(DEFINITION, manifest, tmp_path / "data", [str(origin)])
    victim = tmp_path / "data/images/test/a.png"
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    report = fetch(DEFINITION, manifest, tmp_path / "data", [str(origin)])
    assert report.n_new == 1
    assert report.quarantined == ["images/test/a.png"]
    assert content(tmp_path / "data") == content(origin)
    quarantine = tmp_path / "data/.quarantine"
    assert (quarantine / "images__test__a.png").exists()
    assert "images/test/a.png\tfound in place\tSHA-256" in (quarantine / "reasons.txt").read_text()


@pytest.mark.parametrize("mood", [*SURVIVED, "packed on the way"])
def test_hiccups_are_survived(server, origin, manifest, tmp_path, mood):
    server.mood["images/test/a.png"] = mood
    fetch(DEFINITION, manifest, tmp_path / "data", [server.url])
    assert content(tmp_path / "data") == content(origin)
    tries = {
        "cut once, wrong range": 3,
        "cut once, 416": 3,
        "no length": 1,
        "packed on the way": 1,
        "says too much": 1,
    }.get(mood, 2)
    assert server.seen["images/test/a.png"] + server.seen["moved/images/test/a.png"] == tries
    resumed = mood in ("cut once", "stalls once", "cut once, wrong range")
    assert bool(server.ranges) == resumed


def test_a_connection_may_break_as_often_as_it_likes_if_it_goes_on(server, origin, tmp_path, monkeypatch):
    """Of a large file; only tries that bring nothing are counted."""
    monkeypatch.setattr(download_module, "PROGRESS_BYTES", 1000)
    (origin / "large.txt").write_bytes(bytes(12_345))
    server.mood["large.txt"] = "1000 at a time"
    report = fetch(
        DEFINITION, [e for e in scan_folder(origin) if e.path == "large.txt"], tmp_path / "data", [server.url]
    )
    assert report.n_new == 1
    assert server.seen["large.txt"] == 13


def test_one_server_is_asked_for_few_files_at_a_time(server, origin, manifest, tmp_path):
    server.mood["*"] = "slow start"
    fetch(DEFINITION, manifest, tmp_path / "data", [server.url], jobs=8)
    assert server.most_at_once == 4


def test_a_busy_server_is_left_alone_as_long_as_it_asks(server, origin, manifest, tmp_path, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(mirrors_module._Fetching, "_wait", lambda _, seconds: pauses.append(seconds))
    monkeypatch.setattr(download_module, "LONGEST_PAUSE_SECONDS", 5.0)
    server.mood["images/test/a.png"] = "busy once"
    fetch(DEFINITION, manifest, tmp_path / "data", [server.url])
    assert pauses == [5.0]
    assert content(tmp_path / "data") == content(origin)


def test_nobody_waits_for_a_busy_server_once_the_call_is_over(server, origin, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(download_module, "LONGEST_PAUSE_SECONDS", 7.0)
    server.mood["images/test/a.png"] = "busy once"
    showing = mirrors_module._Fetching._show

    def stopped(self, received):
        if not received:  # a file is finished
            raise KeyboardInterrupt
        showing(self, received)

    monkeypatch.setattr(mirrors_module._Fetching, "_show", stopped)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch(DEFINITION, manifest, tmp_path / "data", [server.url], jobs=8)
    assert time.monotonic() - begun < 4


def test_redirects_are_followed(server, origin, manifest, tmp_path):
    server.mood["*"] = "moved"
    fetch(DEFINITION, manifest, tmp_path / "data", [server.url])
    assert content(tmp_path / "data") == content(origin)


@pytest.mark.parametrize(("mood", "reason", "quarantined"), REFUSED)
def test_what_a_mirror_does_wrong_is_named(server, origin, manifest, tmp_path, mood, reason, quarantined):
    server.mood["images/test/d e.png"] = mood
    with pytest.raises(DataError, match=rf"(?s)1 of 8 files.*images/test/d e\.png: {server.url}: .*{reason}") as caught:
        fetch(DEFINITION, manifest, tmp_path / "data", [server.url])
    assert "edgebench fetch tiny" in str(caught.value)
    assert "other 7 files" in str(caught.value)
    expected = content(origin)
    del expected["images/test/d e.png"]
    assert content(tmp_path / "data") == expected
    assert (tmp_path / "data/.quarantine/images__test__d e.png").exists() == quarantined

    # The next mirror gives what this one could not, and nothing else is asked for again.
    asked = server.seen.total()
    report = fetch(DEFINITION, manifest, tmp_path / "data", [str(origin)])
    assert report.n_new == 1
    assert server.seen.total() == asked
    assert content(tmp_path / "data") == content(origin)


def test_the_next_mirror_is_tried_at_once(server, origin, manifest, tmp_path):
    server.mood["*"] = "corrupt"
    report = fetch(DEFINITION, manifest, tmp_path / "data", [server.url, str(origin)])
    assert report.origins == {str(origin): 8}
    assert len(report.quarantined) == 8
    assert content(tmp_path / "data") == content(origin)


def test_missing_everywhere(server, origin, manifest, tmp_path):
    (origin / "images/test/a.png").unlink()
    with pytest.raises(DataError, match=rf"a\.png: {origin}: no such file; {server.url}: 404 Not Found"):
        fetch(DEFINITION, manifest, tmp_path / "data", [str(origin), server.url])


def test_an_interrupted_download_is_continued(server, origin, manifest, tmp_path):
    entry = next(entry for entry in manifest if entry.path == "images/test/a.png")
    part = part_path(tmp_path / "data", entry)
    part.parent.mkdir(parents=True)
    part.write_bytes((origin / entry.path).read_bytes()[:100])
    fetch(DEFINITION, manifest, tmp_path / "data", [server.url])
    assert server.ranges == [("images/test/a.png", "bytes=100-")]
    assert content(tmp_path / "data") == content(origin)


@pytest.mark.parametrize("length", [100, None])
def test_bad_bytes_from_before_are_thrown_away(server, origin, manifest, tmp_path, length):
    entry = next(entry for entry in manifest if entry.path == "images/test/a.png")
    part = part_path(tmp_path / "data", entry)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * (length or entry.size))
    report = fetch(DEFINITION, manifest, tmp_path / "data", [server.url])
    assert content(tmp_path / "data") == content(origin)
    assert report.quarantined == []


def test_a_dead_server_is_not_asked_for_ever(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(download_module, "PAUSE_SECONDS", 0.0)
    dead = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    url = f"http://127.0.0.1:{dead.server_address[1]}"
    dead.server_close()
    with pytest.raises(DataError, match=r"(?s)8 of 8 files.*could not be reached.*and 3 more") as caught:
        fetch(DEFINITION, manifest, tmp_path / "data", [url], jobs=1)
    assert "images/test/a.png" in str(caught.value)


def test_no_mirror_at_all(manifest, tmp_path):
    with pytest.raises(DataError, match=r"(?s)no mirror is known.*--mirror"):
        fetch(DEFINITION, manifest[:1], tmp_path / "data")


def test_unknown_kind_of_mirror(manifest, tmp_path):
    with pytest.raises(ConfigError, match="ftp://x"):
        fetch(DEFINITION, manifest, tmp_path / "data", ["ftp://x"])


def test_links_out_of_the_destination_are_refused(origin, manifest, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="leads out"):
        fetch(DEFINITION, manifest, tmp_path / "data", [str(origin)])
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_right_bytes_that_are_no_image_are_still_refused(tmp_path):
    (tmp_path / "origin").mkdir()
    (tmp_path / "origin/a.png").write_bytes(b"not a picture at all")
    (tmp_path / "origin/a.mat").write_bytes(b"not a MATLAB file, either")
    manifest = scan_folder(tmp_path / "origin")
    with pytest.raises(DataError, match=r"(?s)a\.mat: .*not a MATLAB v5 file.*a\.png: .*not an image"):
        fetch(DEFINITION, manifest, tmp_path / "data", [str(tmp_path / "origin")])


def test_too_little_space_is_said_before(origin, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(DataError, match=r"needs .* GB more"):
        fetch(DEFINITION, manifest, tmp_path / "data", [str(origin)])


def test_a_disk_that_fills_up_is_explained(origin, manifest, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fetch(DEFINITION, manifest[:3], tmp_path / "data", [str(origin)])
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(EdgebenchError, match=r"No space left.*are kept"):
        fetch(DEFINITION, manifest, tmp_path / "data", [str(origin)])
    assert len(content(tmp_path / "data")) == 3


def test_drawn_data_sets(tmp_path):
    definition = {
        "name": "scenes",
        "layout": "bsds",
        "source": {"draw": {"style": "M", "size": 32, "seed": 3}},
        "images": {"train": 2, "test": 1},
    }
    report = fetch(definition, None, tmp_path / "data", jobs=1)
    assert report.n_new == 3
    assert sorted(path.name for path in (tmp_path / "data/images").iterdir()) == ["test", "train"]
    again = fetch(definition, None, tmp_path / "data")
    assert again.n_new == 0
    assert again.digest == report.digest
    assert again.n_files == report.n_files == 9


@pytest.mark.parametrize(
    ("change", "word"),
    [({"images": {}}, "`images` is missing"), ({"source": {"draw": {"sede": 1}}}, "knows no sede")],
)
def test_drawn_data_sets_are_defined_in_full(tmp_path, change, word):
    definition = {
        "name": "x",
        "layout": "bsds",
        "source": {"draw": {"seed": 1}},
        "images": {"train": 1},
        **change,
    }
    with pytest.raises(ConfigError, match=word):
        fetch(definition, None, tmp_path)


LOCAL = {"name": "own", "layout": "folder", "source": {"local": True}, "terms": "Ask the owner."}


def write_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4), (len(name), 0, 0)).save(buffer, "PNG")
        (folder / name).write_bytes(buffer.getvalue())


def test_own_folder(tmp_path):
    write_images(tmp_path / "own", "a.png", "deep/b.png")
    (tmp_path / "own" / "captions.txt").write_text("x")
    report = fetch(LOCAL, None, tmp_path / "data", [str(tmp_path / "own")])
    assert report.n_files == report.n_new == 2
    assert set(content(tmp_path / "data")) == {"a.png", "deep/b.png"}
    again = fetch(LOCAL, None, tmp_path / "data", [str(tmp_path / "own")])
    assert again.n_new == 0
    assert again.digest == report.digest
    assert fetch(LOCAL, None, tmp_path / "data").n_files == 2  # what is in place needs no mirror


def test_own_folder_with_a_broken_image(tmp_path):
    write_images(tmp_path / "own", "a.png", "b.png")
    (tmp_path / "own" / "c.jpg").write_bytes(PAGE)
    with pytest.raises(DataError, match=r"(?s)1 of 3 files.*c\.jpg: an HTML page.*fetch own --mirror"):
        fetch(LOCAL, None, tmp_path / "data", [str(tmp_path / "own")])
    (tmp_path / "own" / "c.jpg").unlink()
    assert fetch(LOCAL, None, tmp_path / "data", [str(tmp_path / "own")]).n_files == 2


def test_nothing_is_left_of_another_folder(tmp_path):
    """After a mirror that was the wrong one: neither its files nor its folders, nor its version of a file."""
    data, own, wrong = tmp_path / "data", tmp_path / "own", tmp_path / "wrong"
    write_images(own, "a.png", "b.png")
    write_images(wrong, "a.png", "deep/er/z.png")
    Image.new("RGB", (4, 4), (9, 9, 9)).save(wrong / "a.png")
    for file in (own / "a.png", wrong / "a.png"):
        os.utime(file, (0, 0))  # as archives leave them
    before = content(wrong)
    definition = {**LOCAL, "images": {"train": 3}}
    with pytest.raises(DataError, match="2 images, but the definition of own states 3"):
        fetch(definition, None, data, [str(wrong)])
    with pytest.raises(DataError, match=rf"holds only a part of {wrong}.*fetch own --mirror PATH"):
        fetch(LOCAL, None, data)
    assert fetch(LOCAL, None, data, [str(own)]).n_files == 2
    assert content(data) == content(own)
    assert not (data / "deep").exists()
    assert (data / ".quarantine" / "deep__er__z.png").exists()
    assert content(wrong) == before
    assert fetch(LOCAL, None, data).n_files == 2


def test_own_folder_is_counted(tmp_path):
    write_images(tmp_path / "own", "a.png", "b.png")
    with pytest.raises(DataError, match="2 images, but the definition of own states 5"):
        fetch({**LOCAL, "images": {"train": 5}}, None, tmp_path / "data", [str(tmp_path / "own")])


COCO = {**LOCAL, "name": "coco", "layout": "coco", "images": {"val2017": 1}}


def write_coco(folder: Path) -> Path:
    """One image without objects, and things that do not belong to the data set."""
    write_images(folder, "val2017/000000000001.png")
    listed = {"id": 1, "file_name": "000000000001.png", "height": 4, "width": 4}
    annotations = folder / "annotations" / "instances_val2017.json"
    annotations.parent.mkdir()
    annotations.write_text(json.dumps({"images": [listed], "annotations": [], "categories": []}))
    (folder / "val2017.zip").write_bytes(b"PK")
    return annotations


def test_annotations_are_linked_with_the_images(tmp_path):
    annotations = write_coco(tmp_path / "own")
    report = fetch(COCO, None, tmp_path / "data", [str(tmp_path / "own")])
    assert set(content(tmp_path / "data")) == {"annotations/instances_val2017.json", "val2017/000000000001.png"}
    assert report.n_files == 2
    linked = tmp_path / "data" / "annotations" / annotations.name
    assert linked.samefile(annotations)  # no second copy of what may be 20 GB
    with pytest.raises(DataError, match="1 images of split val2017, but the definition of coco states 2"):
        fetch({**COCO, "images": {"val2017": 2}}, None, tmp_path / "other", [str(tmp_path / "own")])


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "empty"), ("<html><body>log in", "an HTML page"), ("no json", r"not a file of the kind \.json")],
)
def test_annotations_that_are_something_else(tmp_path, text, says):
    annotations = write_coco(tmp_path / "own")
    annotations.write_text(text)
    with pytest.raises(DataError, match=rf"(?s)1 of 2 files failed.*instances_val2017\.json: {says}"):
        fetch(COCO, None, tmp_path / "data", [str(tmp_path / "own")])


def test_drawn_scenes_in_cocos_layout(tmp_path):
    draw = {"draw": {"style": "T", "size": 32, "seed": 3}}
    definition = {"name": "scenes", "layout": "coco", "source": draw, "images": {"train": 2, "val": 1}}
    report = fetch(definition, None, tmp_path / "data", jobs=1)
    assert (report.n_new, report.n_files) == (3, 2 * 3 + 2 * 2)
    assert fetch(definition, None, tmp_path / "data").digest == report.digest


def test_own_folder_not_named(tmp_path):
    with pytest.raises(DataError, match=r"edgebench fetch own --mirror FOLDER.*Ask the owner"):
        fetch(LOCAL, None, tmp_path / "data")


def test_own_folder_may_not_hold_the_destination(tmp_path):
    write_images(tmp_path / "own", "a.png")
    with pytest.raises(DataError, match="lies inside"):
        fetch(LOCAL, None, tmp_path / "own" / "data", [str(tmp_path / "own")])


def test_definition_without_a_source(tmp_path):
    with pytest.raises(ConfigError, match="source"):
        fetch({"name": "x", "layout": "folder"}, None, tmp_path / "data")
