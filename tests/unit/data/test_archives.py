"""Data sets from archives: by servers of every temper, by folders, and after calls that were cut off."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgebench.data import archives as archives_module
from edgebench.data.fetch import fetch
from edgebench.errors import ConfigError, DataError
from edgebench.plan.workbench import Workbench
from tests.unit.data.servers import REFUSED, SURVIVED, Server, hasten

COUNT = 4


def picture(seed: int, mode: str) -> bytes:
    buffer = io.BytesIO()
    shape = (30, 40, 3) if mode == "RGB" else (30, 40)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def content() -> dict[str, bytes]:
    """A data set of images and masks."""
    images = {f"images/{number}.png": picture(number, "RGB") for number in range(COUNT)}
    return images | {f"masks/{number}.png": picture(number, "L") for number in range(COUNT)}


@pytest.fixture
def owners(tmp_path: Path, content: dict[str, bytes]) -> Path:
    """What the owners publish: a zip file and a tar file, with things that nobody needs."""
    folder = tmp_path / "owners"
    folder.mkdir()
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for name, data in content.items():
            if name.startswith("images/"):
                archive.writestr(f"release/{name}", data)
        archive.writestr("__MACOSX/release/images/._0.png", b"junk")
        archive.writestr("release/README.md", b"Thank you")
    with tarfile.open(folder / "masks.tar.gz", "w:gz") as tar:
        for name, data in content.items():
            if name.startswith("masks/"):
                info = tarfile.TarInfo("./" + name.removeprefix("masks/"))
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return folder


@pytest.fixture
def server(owners: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    hasten(monkeypatch)
    server = Server(owners)
    yield server
    server.http.shutdown()
    server.http.server_close()


def definition(owners: Path, *urls: str, pinned: bool = True) -> dict[str, Any]:
    places: dict[str, dict[str, Any]] = {"images.zip": {"strip": 1}, "masks.tar.gz": {"into": "masks"}}
    archives = []
    for file, place in places.items():
        data = (owners / file).read_bytes()
        known = (
            {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} if pinned else {"unpinned": "for a test"}
        )
        choice = {"only": [], "inner": [], "strip": 0, "into": ".", **place}
        archives.append({"file": file, "urls": [f"{url}/{file}" for url in urls], **known, **choice})
    return {"name": "tiny", "layout": "pairs", "source": {"archives": archives}, "images": {"all": COUNT}}


def found(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


class TestServers:
    def test_archives_are_unpacked_and_recorded(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path
    ) -> None:
        report = fetch(definition(owners, server.url), None, tmp_path / "data")
        assert found(tmp_path / "data") == content
        assert (report.n_files, report.n_new, report.n_bytes) == (8, 8, sum(map(len, content.values())))
        assert report.archives == [
            {
                **{"file": file, "bytes": (owners / file).stat().st_size, "origin": f"{server.url}/{file}"},
                "sha256": hashlib.sha256((owners / file).read_bytes()).hexdigest(),
            }
            for file in ("images.zip", "masks.tar.gz")
        ]
        left = sorted(path.name for path in (tmp_path / "data").rglob("*") if path.suffix in (".zip", ".gz", ".part"))
        assert left == []  # what was downloaded takes no space for a second time
        assert not (tmp_path / "data" / ".unpacking").exists()

    @pytest.mark.parametrize("mood", [*SURVIVED, "called packed"])
    @pytest.mark.parametrize("file", ["images.zip", "masks.tar.gz"])
    def test_hiccups_are_survived(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path, mood: str, file: str
    ) -> None:
        server.mood[file] = mood
        fetch(definition(owners, server.url), None, tmp_path / "data")
        assert found(tmp_path / "data") == content

    @pytest.mark.parametrize(("mood", "reason", "quarantined"), REFUSED)
    def test_nothing_bad_is_ever_unpacked(
        self,
        server: Server,
        owners: Path,
        content: dict[str, bytes],
        tmp_path: Path,
        mood: str,
        reason: str,
        quarantined: bool,
    ) -> None:
        server.mood["masks.tar.gz"] = mood
        data = tmp_path / "data"
        with pytest.raises(DataError, match=rf"(?s)masks\.tar\.gz: {server.url}/masks\.tar\.gz: .*({reason})"):
            fetch(definition(owners, server.url), None, data)
        assert found(data) == {}
        assert (data / ".archives/.quarantine/masks.tar.gz").exists() == quarantined
        # Another address gives it, and what was brought before is not asked for again.
        asked = server.seen["images.zip"]
        server.mood.clear()
        fetch(definition(owners, f"{server.url}/nowhere", server.url), None, data)
        assert found(data) == content
        assert server.seen["images.zip"] == asked

    def test_the_next_address_is_tried_at_once(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path
    ) -> None:
        (owners / "old").mkdir()
        for file in ("images.zip", "masks.tar.gz"):
            (owners / "old" / file).write_bytes((owners / file).read_bytes()[:-20] + bytes(20))
        report = fetch(definition(owners, f"{server.url}/old", server.url), None, tmp_path / "data")
        assert found(tmp_path / "data") == content
        assert report.origins == {f"{server.url}/images.zip": 4, f"{server.url}/masks.tar.gz": 4}

    def test_a_base_address_of_ones_own_comes_first(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path
    ) -> None:
        fetch(definition(owners, "http://127.0.0.1:9"), None, tmp_path / "data", [server.url])
        assert found(tmp_path / "data") == content
        with pytest.raises(ConfigError, match="ftp://x"):
            fetch(definition(owners, server.url), None, tmp_path / "other", ["ftp://x"])

    def test_an_md5_is_checked_where_the_owners_give_that(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path
    ) -> None:
        wanted = definition(owners, server.url)
        for archive in wanted["source"]["archives"]:
            del archive["sha256"]
            archive["md5"] = hashlib.md5((owners / archive["file"]).read_bytes()).hexdigest()
        fetch(wanted, None, tmp_path / "data")
        assert found(tmp_path / "data") == content
        assert fetch(wanted, None, tmp_path / "data").n_new == 0
        server.mood["images.zip"] = "corrupt"
        with pytest.raises(DataError, match=r"images\.zip: .*MD5 [0-9a-f]{12}\.\.\., expected [0-9a-f]{12}"):
            fetch(wanted, None, tmp_path / "elsewhere/data")


class TestUnpinned:
    """Archives of which nothing is known beforehand."""

    def test_they_are_trusted_once_and_recorded(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path
    ) -> None:
        report = fetch(definition(owners, server.url, pinned=False), None, tmp_path / "data")
        assert found(tmp_path / "data") == content
        assert [each["sha256"] for each in report.archives] == [
            hashlib.sha256((owners / file).read_bytes()).hexdigest() for file in ("images.zip", "masks.tar.gz")
        ]
        # Pinned with what was found, all is still in place.
        assert fetch(definition(owners, server.url), None, tmp_path / "data").n_new == 0

    @pytest.mark.parametrize("mood", ["200 page", "corrupt", "says too little", "short"])
    @pytest.mark.parametrize("file", ["images.zip", "masks.tar.gz"])
    def test_damage_is_found_without_a_digest(
        self, server: Server, owners: Path, tmp_path: Path, mood: str, file: str
    ) -> None:
        server.mood[file] = mood
        data = tmp_path / "data"
        with pytest.raises(DataError, match=rf"{file}.*(damaged|HTML page)"):
            fetch(definition(owners, server.url, pinned=False), None, data)
        assert (data / ".archives/.quarantine" / file).exists()
        assert not any(file.startswith(name.split("/")[0]) for name in found(data))
        assert not (data / ".unpacking").exists()

    @pytest.mark.parametrize("mood", ["busy once", "too many once", "moved", "moved to another host", "called packed"])
    def test_the_length_is_asked_for_patiently(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path, mood: str
    ) -> None:
        server.mood["images.zip"] = mood
        fetch(definition(owners, server.url, pinned=False), None, tmp_path / "data")
        assert found(tmp_path / "data") == content

    @pytest.mark.parametrize(
        ("mood", "reason"),
        [
            ("busy always", r"503 Service Unavailable \(tried 4 times\)"),
            ("moved in circles", "leads nowhere"),
            ("moved to a file", "leads nowhere"),
            ("no length", "the server states no length"),
            ("403 page", "403 Forbidden with an HTML page"),
        ],
    )
    def test_a_length_that_cannot_be_had(
        self, server: Server, owners: Path, tmp_path: Path, mood: str, reason: str
    ) -> None:
        server.mood["images.zip"] = mood
        with pytest.raises(DataError, match=rf"images\.zip cannot be obtained: .*{reason}.*--mirror FOLDER"):
            fetch(definition(owners, server.url, pinned=False), None, tmp_path / "data")

    def test_a_part_of_an_earlier_call_is_not_continued(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path
    ) -> None:
        """Of another version, which no digest would tell from this one."""
        wanted = definition(owners, server.url, pinned=False)
        server.mood["masks.tar.gz"] = "cut always"
        with pytest.raises(DataError, match="broke off"):
            fetch(wanted, None, tmp_path / "data")
        (part,) = (tmp_path / "data/.archives/.parts").iterdir()
        part.write_bytes(b"older" * (part.stat().st_size // 5))
        server.mood.clear()
        fetch(wanted, None, tmp_path / "data")
        assert found(tmp_path / "data") == content

    def test_a_server_that_states_no_length(self, server: Server, owners: Path, tmp_path: Path) -> None:
        server.mood["images.zip"] = "packed on the way"
        with pytest.raises(DataError, match=r"images\.zip cannot be obtained: .*404.*--mirror FOLDER"):
            fetch(definition(owners, f"{server.url}/nowhere", pinned=False), None, tmp_path / "data")


class TestFolders:
    def test_a_folder_of_archives_serves_as_it_is(
        self, owners: Path, content: dict[str, bytes], tmp_path: Path
    ) -> None:
        before = {path.name: path.read_bytes() for path in owners.iterdir()}
        report = fetch(definition(owners, "http://127.0.0.1:9"), None, tmp_path / "data", [str(owners)])
        assert found(tmp_path / "data") == content
        assert report.origins == {str(owners / "images.zip"): 4, str(owners / "masks.tar.gz"): 4}
        assert {path.name: path.read_bytes() for path in owners.iterdir()} == before
        fetch(definition(owners, "http://127.0.0.1:9"), None, tmp_path / "data2", [str(owners / "images.zip")])

    def test_what_a_folder_lacks_is_downloaded(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path
    ) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/images.zip").write_bytes((owners / "images.zip").read_bytes())
        fetch(definition(owners, server.url), None, tmp_path / "data", [str(tmp_path / "mine")])
        assert found(tmp_path / "data") == content
        assert set(server.seen) == {"masks.tar.gz"}

    def test_a_wrong_archive_of_ones_own_is_named_and_left_alone(self, owners: Path, tmp_path: Path) -> None:
        wanted = definition(owners, "http://127.0.0.1:9")
        bad = (owners / "images.zip").read_bytes()[:-1] + b"?"
        (owners / "images.zip").write_bytes(bad)
        with pytest.raises(DataError, match=r"images\.zip: SHA-256 .*config/datasets/tiny\.yaml means"):
            fetch(wanted, None, tmp_path / "data", [str(owners)])
        assert (owners / "images.zip").read_bytes() == bad
        assert found(tmp_path / "data") == {}

    @pytest.mark.parametrize("beside", [False, True])
    def test_a_folder_of_what_they_unpack_to(
        self, owners: Path, content: dict[str, bytes], tmp_path: Path, beside: bool
    ) -> None:
        mine = owners if beside else tmp_path / "mine"
        for name, data in content.items():
            (mine / name).parent.mkdir(parents=True, exist_ok=True)
            (mine / name).write_bytes(data)
        report = fetch(definition(owners, "http://127.0.0.1:9"), None, tmp_path / "data", [str(mine)])
        assert found(tmp_path / "data") == content
        assert (tmp_path / "data/images/0.png").samefile(mine / "images/0.png")
        assert report.archives == []

    def test_archives_beside_a_part_of_what_they_unpack_to(
        self, owners: Path, content: dict[str, bytes], tmp_path: Path
    ) -> None:
        (owners / "images").mkdir()
        (owners / "images/0.png").write_bytes(content["images/0.png"])
        report = fetch(definition(owners, "http://127.0.0.1:9"), None, tmp_path / "data", [str(owners)])
        assert found(tmp_path / "data") == content
        assert len(report.archives) == 2

    def test_a_folder_of_neither(self, owners: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for given in ("empty", "nowhere"):
            with pytest.raises(DataError, match=r"neither images nor one of the archives images\.zip, masks\.tar\.gz"):
                fetch(definition(owners, "http://127.0.0.1:9"), None, tmp_path / "data", [str(tmp_path / given)])


class TestUnpackedElsewhere:
    """Archives that another data set, or an earlier definition of this one, has unpacked already."""

    def test_they_are_linked_and_not_downloaded(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path
    ) -> None:
        one, both = definition(owners, server.url), definition(owners, server.url)
        both["source"]["archives"][1]["only"] = ["?.png"]  # another choice of the second one
        fetch(one, None, tmp_path / "one")
        server.seen.clear()
        report = fetch(both, None, tmp_path / "both")
        assert found(tmp_path / "both") == content
        assert set(server.seen) == {"masks.tar.gz"}
        assert (tmp_path / "both/images/1.png").samefile(tmp_path / "one/images/1.png")
        assert [each["origin"] for each in report.archives] == [
            f"{server.url}/{file}" for file in ("images.zip", "masks.tar.gz")
        ]
        assert fetch(both, None, tmp_path / "both").n_new == 0

    @pytest.mark.parametrize("change", ["touched", "of another digest", "unpinned"])
    def test_but_not_what_may_be_something_else(
        self, server: Server, owners: Path, tmp_path: Path, change: str
    ) -> None:
        wanted = definition(owners, server.url)
        fetch(wanted, None, tmp_path / "one")
        if change == "touched":
            (tmp_path / "one/images/1.png").write_bytes(b"x")
        elif change == "unpinned":
            wanted = definition(owners, server.url, pinned=False)
        else:
            with zipfile.ZipFile(owners / "images.zip", "a") as archive:
                archive.writestr("release/more.md", b"x")
            wanted = definition(owners, server.url)
        server.seen.clear()
        fetch(wanted, None, tmp_path / "two")
        assert "images.zip" in server.seen

    @pytest.mark.parametrize("damage", ["leads out", "no json", "no keys", "no list"])
    def test_a_note_of_strangers_is_not_trusted(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path, damage: str
    ) -> None:
        wanted = definition(owners, server.url)
        fetch(wanted, None, tmp_path / "one")
        note = tmp_path / "one/.archives/images.zip.json"
        (tmp_path / "secret.png").write_bytes(picture(9, "RGB"))
        status = (tmp_path / "secret.png").stat()
        files = [["../secret.png", status.st_size, status.st_mtime_ns]]
        said = json.loads(note.read_text())
        note.write_text(
            {
                "leads out": json.dumps(said | {"files": files}),
                "no json": "{",
                "no keys": "{}",
                "no list": json.dumps(said | {"files": 5}),
            }[damage]
        )
        server.seen.clear()
        fetch(wanted, None, tmp_path / "two", [str(tmp_path / "one")])
        assert found(tmp_path / "two") == content
        assert set(server.seen) == {"images.zip"}

    def test_the_folder_of_an_unpinned_fetch_serves_the_pinned_one(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path
    ) -> None:
        first = fetch(definition(owners, server.url, pinned=False), None, tmp_path / "one")
        server.seen.clear()
        report = fetch(definition(owners, server.url), None, tmp_path / "runs/two", [str(tmp_path / "one")])
        assert found(tmp_path / "runs/two") == content
        assert (report.archives, report.digest) == (first.archives, first.digest)
        assert not server.seen


class TestAgain:
    def test_what_is_in_place_is_kept(self, server: Server, owners: Path, tmp_path: Path) -> None:
        first = fetch(definition(owners, server.url), None, tmp_path / "data")
        asked = server.seen.total()
        again = fetch(definition(owners, server.url), None, tmp_path / "data")
        assert (again.n_new, again.digest, again.archives) == (0, first.digest, first.archives)
        assert server.seen.total() == asked

    @pytest.mark.parametrize("change", ["deleted", "changed", "chosen otherwise"])
    def test_what_was_touched_is_unpacked_again(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path, change: str
    ) -> None:
        wanted = definition(owners, server.url)
        fetch(wanted, None, tmp_path / "data")
        server.seen.clear()
        if change == "deleted":
            (tmp_path / "data/masks/1.png").unlink()
        elif change == "changed":
            (tmp_path / "data/masks/1.png").write_bytes(b"x")
        else:
            wanted["source"]["archives"][1]["only"] = ["?.png"]
        fetch(wanted, None, tmp_path / "data")
        assert found(tmp_path / "data") == content
        assert set(server.seen) == {"masks.tar.gz"}

    def test_files_of_something_else_are_set_aside(
        self, server: Server, owners: Path, content: dict[str, bytes], tmp_path: Path
    ) -> None:
        stray = tmp_path / "data/images/deep/stray.png"
        stray.parent.mkdir(parents=True)
        stray.write_bytes(picture(9, "RGB"))
        fetch(definition(owners, server.url), None, tmp_path / "data")
        assert found(tmp_path / "data") == content
        assert (tmp_path / "data/.quarantine/images__deep__stray.png").exists()

    def test_links_are_not_followed_out_of_the_folder(self, server: Server, owners: Path, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "data/images").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(DataError, match="a link, where files are to be put"):
            fetch(definition(owners, server.url), None, tmp_path / "data")
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_too_few_images_are_found(self, server: Server, owners: Path, tmp_path: Path) -> None:
        wanted = {**definition(owners, server.url), "images": {"all": 5}}
        with pytest.raises(DataError, match="4 images of split all, but the definition of tiny states 5"):
            fetch(wanted, None, tmp_path / "data")

    def test_two_archives_of_one_file(self, server: Server, owners: Path, tmp_path: Path) -> None:
        wanted = definition(owners, server.url)
        wanted["source"]["archives"][1]["into"] = "images"
        with pytest.raises(DataError, match=r"masks\.tar\.gz and images\.zip both hold images/0\.png"):
            fetch(wanted, None, tmp_path / "data")

    @pytest.mark.parametrize("moment", ["_merge", "write_json", "unpack", "sha256_file", "set_aside"])
    def test_a_call_that_breaks_off_is_continued(
        self,
        server: Server,
        owners: Path,
        content: dict[str, bytes],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        moment: str,
    ) -> None:
        """At every step, before it and after it; what is downloaded already is not downloaded again."""
        wanted = definition(owners, server.url)
        for after in (False, True):
            server.seen.clear()
            data = tmp_path / f"{moment} {after}" / "data"
            real = getattr(archives_module, moment)

            def breaking(*arguments: Any, real: Any = real, after: bool = after) -> Any:
                if after:
                    real(*arguments)
                raise KeyboardInterrupt

            with monkeypatch.context() as patched:
                patched.setattr(archives_module, moment, breaking)
                if moment == "set_aside":
                    patched.setattr(archives_module, "unpack", lambda *_: (_ for _ in ()).throw(DataError("bad")))
                with pytest.raises(KeyboardInterrupt):
                    fetch(wanted, None, data)
            fetch(wanted, None, data)
            assert found(data) == content
            asked = 2 if moment == "set_aside" and after else 1
            assert (server.seen["images.zip"], server.seen["masks.tar.gz"]) == (asked, 1)


def listing(*images: str, **entry: Any) -> bytes:
    """A JSON file of COCO's kind that lists images of 40 x 30 pixels."""
    listed = [
        {"id": number, "file_name": name, "height": 30, "width": 40, **entry} for number, name in enumerate(images)
    ]
    return json.dumps({"images": listed, "annotations": [], "categories": []}).encode()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


RGB, GREY, MAT = picture(0, "RGB"), picture(0, "L"), b"MATLAB 5.0 MAT-file, of nothing"
VOC = {
    "VOCdevkit/VOC2012/JPEGImages/a.jpg": RGB,
    "VOCdevkit/VOC2012/JPEGImages/b.jpg": RGB,
    "VOCdevkit/VOC2012/JPEGImages/c.jpg": RGB,
    "VOCdevkit/VOC2012/SegmentationClass/a.png": GREY,
    "VOCdevkit/VOC2012/SegmentationObject/a.png": GREY,
    "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt": b"a\n",
    "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt": b"b\n",
    "VOCdevkit/VOC2012/Annotations/a.xml": b"<annotation/>",
}
PANOPTIC = {
    "annotations/panoptic_train2017.json": listing(),
    "annotations/panoptic_val2017.json": listing(),
    "annotations/panoptic_train2017.zip": zipped({"panoptic_train2017/1.png": RGB, "__MACOSX/._panoptic": b""}),
    "annotations/panoptic_val2017.zip": zipped({"panoptic_val2017/2.png": RGB}),
}
PUBLISHED: dict[str, dict[str, dict[str, bytes]]] = {
    "voc2012": {"VOCtrainval_11-May-2012.tar": VOC},
    "voc2012_aug": {
        "VOCtrainval_11-May-2012.tar": VOC,
        "benchmark.tgz": {
            "benchmark_RELEASE/dataset/inst/c.mat": MAT,
            "benchmark_RELEASE/dataset/cls/c.mat": MAT,
            "benchmark_RELEASE/dataset/img/c.jpg": RGB,
            "benchmark_RELEASE/dataset/train.txt": b"c\n",
            "benchmark_RELEASE/benchmark_code_RELEASE/demo.txt": b"x",
        },
    },
    "coco2017": {
        "train2017.zip": {"train2017/1.jpg": RGB},
        "val2017.zip": {"val2017/2.jpg": RGB},
        "annotations_trainval2017.zip": {
            "annotations/instances_train2017.json": listing("1.jpg"),
            "annotations/instances_val2017.json": listing("2.jpg"),
            "annotations/captions_val2017.json": b"{}",
        },
        "panoptic_annotations_trainval2017.zip": PANOPTIC,
    },
    "coco2014": {
        "train2014.zip": {"train2014/COCO_train2014_1.jpg": RGB},
        "val2014.zip": {"val2014/COCO_val2014_2.jpg": RGB},
        "annotations_trainval2014.zip": {
            "annotations/instances_train2014.json": listing("COCO_train2014_1.jpg"),
            "annotations/instances_val2014.json": listing("COCO_val2014_2.jpg"),
        },
        "panoptic_annotations_trainval2017.zip": PANOPTIC,
    },
    "lvis": {
        "train2017.zip": {"train2017/1.jpg": RGB},
        "val2017.zip": {"val2017/2.jpg": RGB},
        "lvis_v1_val.json.zip": {"lvis_v1_val.json": listing("", coco_url="http://a/train2017/1.jpg")},
    },
    "duts": {
        "DUTS-TR.zip": {"DUTS-TR/DUTS-TR-Image/a.jpg": RGB, "DUTS-TR/DUTS-TR-Mask/a.png": GREY},
        "DUTS-TE.zip": {"DUTS-TE/DUTS-TE-Image/b.jpg": RGB, "DUTS-TE/DUTS-TE-Mask/b.png": GREY},
    },
}
"""What owners' archives look like inside, in small."""


def test_every_definition_with_archives_is_tried(root: Path) -> None:
    definitions = (root / "config" / "datasets").glob("*.yaml")
    assert {path.stem for path in definitions if "archives:" in path.read_text()} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_archives_unpack_to_what_their_layout_reads(root: Path, tmp_path: Path, name: str) -> None:
    wanted = Workbench(root).dataset_map(name)
    (tmp_path / "mine").mkdir()
    for archive in wanted["source"]["archives"]:
        members, file = PUBLISHED[name][archive["file"]], tmp_path / "mine" / archive["file"]
        if file.suffix == ".zip":
            file.write_bytes(zipped(members))
        else:
            with tarfile.open(file, "w:gz" if file.suffix == ".tgz" else "w") as tar:
                for path, data in members.items():
                    info = tarfile.TarInfo(path)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        archive["bytes"], archive["sha256"] = file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest()
    wanted["images"] = dict.fromkeys(wanted["images"], 2 if name == "voc2012_aug" else 1)
    report = fetch(wanted, None, tmp_path / "data", [str(tmp_path / "mine")])
    assert len(report.archives) == len(PUBLISHED[name])
    left_out = {path for path in found(tmp_path / "data") if "captions" in path or "benchmark_code" in path}
    assert not left_out
    if name.startswith("coco"):
        assert (tmp_path / "data/annotations/panoptic_train2017/1.png").exists()
        assert (tmp_path / "data/annotations/panoptic_val2017/2.png").exists()


SCRIPT = """
import json, sys
from edgebench.data.fetch import fetch
print("ready", flush=True)
fetch(json.loads(sys.argv[1]), None, sys.argv[2])
"""


def test_a_killed_process_goes_on_where_it_stood(server: Server, owners: Path, tmp_path: Path) -> None:
    """Killed a few times, at whatever it does, on archives of many files."""
    count, noise = 600, np.random.default_rng(0)
    members = {f"{number:04d}.png": picture(number, "L") for number in range(count)}
    with zipfile.ZipFile(owners / "images.zip", "w") as archive:
        for name, data in members.items():
            archive.writestr(f"release/images/{name}", data + noise.bytes(2000))
    with tarfile.open(owners / "masks.tar.gz", "w:gz", compresslevel=1) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    wanted = {**definition(owners, server.url), "images": {"all": count}}
    command = [sys.executable, "-c", SCRIPT, json.dumps(wanted), str(tmp_path / "data")]
    killed = 0
    for delay in (0.02, 0.1, 0.2, 0.3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "EDGEBENCH_QUIET": "1"}) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(delay)
            process.kill()
        killed += process.returncode == -signal.SIGKILL
        there = list((tmp_path / "data").glob("*/*.png"))
        assert len(there) in (0, count, 2 * count), "the files of an archive came into place in part"
    assert killed, "every call was over before it was killed"
    fetch(wanted, None, tmp_path / "data")
    files = found(tmp_path / "data")
    assert sorted(files) == [f"{kind}/{name}" for kind in ("images", "masks") for name in members]
    assert all(files[f"masks/{name}"] == data for name, data in members.items())
