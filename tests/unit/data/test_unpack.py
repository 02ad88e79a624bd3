"""Archives of every temper: what is good is unpacked as it is, what is bad leaves nothing behind."""

from __future__ import annotations

import io
import lzma
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgebench.data import unpack as unpack_module
from edgebench.data.unpack import Selection, unpack
from edgebench.errors import DataError
from tests.unit.data.servers import PAGE

WANTED = Selection({".png", ".json", ".txt"})
ROOM = 10**9
TAR_KINDS = {"a.tar": "w", "a.tar.gz": "w:gz", "a.tgz": "w:gz", "a.tar.xz": "w:xz", "a.tar.bz2": "w:bz2"}
KINDS = ["a.zip", *TAR_KINDS]


def picture(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pack(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """An archive of whichever kind its name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return path
    with tarfile.open(path, TAR_KINDS.get(path.name, "w")) as tar:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def special(path: Path, name: str, kind: bytes, target: str = "") -> Path:
    """A tar file with a good member and one of another kind."""
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("good.png")
        info.size = len(picture())
        tar.addfile(info, io.BytesIO(picture()))
        other = tarfile.TarInfo(name)
        other.type, other.linkname = kind, target
        tar.addfile(other)
    return path


def refused(archive: Path, folder: Path, match: str, selection: Selection = WANTED, room: int = ROOM) -> None:
    """Unpacking fails for this reason, and puts nothing anywhere but into the folder that the caller removes."""
    before = set(folder.parent.rglob("*"))
    with pytest.raises(DataError, match=match):
        unpack(archive, folder, selection, room)
    assert {path for path in folder.parent.rglob("*") if folder not in (path, *path.parents)} == before


class TestGood:
    @pytest.mark.parametrize("name", KINDS)
    def test_every_kind(self, tmp_path: Path, name: str) -> None:
        big = bytes(range(256)) * 6  # a multiple of tar's block
        members = [("top/a.png", picture()), ("./top/deep/b.png", picture(1)), ("list.txt", big), ("c.txt", b"")]
        archive = pack(tmp_path / name, members[:3])
        assert unpack(archive, tmp_path / "out", WANTED, ROOM) == ["top/a.png", "top/deep/b.png", "list.txt"]
        for member, content in members[:3]:
            assert (tmp_path / "out" / member).read_bytes() == content

    def test_the_content_decides_and_not_the_name(self, tmp_path: Path) -> None:
        archive = pack(tmp_path / "a.tar", [("a.png", picture())]).rename(tmp_path / "benchmark.tgz")
        assert unpack(archive, tmp_path / "out", WANTED, ROOM) == ["a.png"]

    def test_tar_files_older_than_posix(self, tmp_path: Path) -> None:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            info = tarfile.TarInfo("a.png")
            info.size = len(picture())
            tar.addfile(info, io.BytesIO(picture()))
        header = bytearray(content.getvalue())
        header[257:512] = bytes(255)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header[:512])
        (tmp_path / "a.tar").write_bytes(header)
        assert unpack(tmp_path / "a.tar", tmp_path / "out", WANTED, ROOM) == ["a.png"]

    def test_only_what_is_wanted_is_taken(self, tmp_path: Path) -> None:
        names = ["a/1.png", "a/2.png", "b/3.png", "a/notes.md", "a/.DS_Store", "__MACOSX/a/._1.png", "a/Thumbs.db"]
        archive = pack(tmp_path / "a.zip", [(name, picture(seed)) for seed, name in enumerate(names)])
        selection = Selection({".png", ".db"}, only=["a/*"], strip=1, into="into/it")
        assert unpack(archive, tmp_path / "out", selection, ROOM) == ["into/it/1.png", "into/it/2.png"]
        assert (tmp_path / "out/into/it/2.png").read_bytes() == picture(1)

    def test_archives_in_an_archive(self, tmp_path: Path) -> None:
        inner = pack(tmp_path / "a.zip", [("maps/1.png", picture(1)), ("__MACOSX/x.png", b"")]).read_bytes()
        other = pack(tmp_path / "a.zip", [("more/2.png", picture(2))]).read_bytes()
        members = [("labels/maps.zip", inner), ("labels/other.zip", other), ("labels/list.json", b"{}")]
        archive = pack(tmp_path / "a.zip", members)
        selection = Selection({".png", ".json"}, inner=["labels/maps.zip"])
        assert unpack(archive, tmp_path / "out", selection, ROOM) == ["labels/maps/1.png", "labels/list.json"]
        assert sorted(path.name for path in (tmp_path / "out/labels").iterdir()) == ["list.json", "maps"]


class TestLeadingOut:
    @pytest.mark.parametrize("name", KINDS)
    @pytest.mark.parametrize(
        "member",
        ["../evil.png", "a/../../evil.png", "/tmp/evil.png", "a\\..\\evil.png", "C:/evil.png", "a\nb.png", "x" * 300],
    )
    def test_names(self, tmp_path: Path, name: str, member: str) -> None:
        archive = pack(tmp_path / name, [("good.png", picture()), (member, picture())])
        refused(archive, tmp_path / "out", "leads out of the folder or is none")

    def test_a_name_that_ends_at_a_zero_byte(self, tmp_path: Path) -> None:
        archive = pack(tmp_path / "a.zip", [("evilX.png", picture())])
        archive.write_bytes(archive.read_bytes().replace(b"evilX", b"evil\0"))
        refused(archive, tmp_path / "out", r"leads out|damaged")

    @pytest.mark.parametrize(
        ("name", "kind", "target"),
        [
            ("link.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("link.png", tarfile.SYMTYPE, "../../etc/passwd"),
            ("folder", tarfile.SYMTYPE, ".."),
            ("inside.png", tarfile.SYMTYPE, "good.png"),
            ("hard.png", tarfile.LNKTYPE, "../../etc/passwd"),
            ("hard.png", tarfile.LNKTYPE, "good.png"),
            ("pipe.png", tarfile.FIFOTYPE, ""),
            ("null.png", tarfile.CHRTYPE, ""),
            ("disk", tarfile.BLKTYPE, ""),
        ],
    )
    def test_links_and_devices(self, tmp_path: Path, name: str, kind: bytes, target: str) -> None:
        refused(special(tmp_path / "a.tar", name, kind, target), tmp_path / "out", "a link or a device")

    def test_a_link_in_a_zip_file(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            info = zipfile.ZipInfo("link.png")
            info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
        refused(tmp_path / "a.zip", tmp_path / "out", "a link or a device")

    def test_a_bad_archive_in_a_good_one(self, tmp_path: Path) -> None:
        inner = pack(tmp_path / "a.zip", [("../../../evil.png", picture())]).read_bytes()
        archive = pack(tmp_path / "a.zip", [("a/inner.zip", inner)])
        refused(archive, tmp_path / "out", "leads out", Selection({".png"}, inner=["*.zip"]))


class TestSameNames:
    @pytest.mark.parametrize("name", ["a.zip", "a.tar"])
    @pytest.mark.parametrize(
        "names",
        [
            ("a.png", "a.png"),
            ("a.png", "./a.png"),
            ("a/b.png", "a//b.png"),
            ("a.png", "A.PNG"),
            ("\u00e9.png", "e\u0301.png"),
            ("a.png", "a.png/b.png"),
            ("a.png/b.png", "a.png"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_two_members_that_would_be_one_file(self, tmp_path: Path, name: str, names: tuple[str, str]) -> None:
        archive = pack(tmp_path / name, [(each, picture()) for each in names])
        refused(archive, tmp_path / "out", "would be one file")


class TestBombs:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(unpack_module, "ALWAYS_ALLOWED_BYTES", 20_000)

    @pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
    @pytest.mark.parametrize("member", ["a.txt", "unwanted.bin"])
    def test_a_small_archive_of_much(self, tmp_path: Path, name: str, member: str) -> None:
        archive = pack(tmp_path / name, [(member, bytes(3_000_000))])
        refused(archive, tmp_path / "out", "as bombs do")
        assert not list((tmp_path / "out").rglob("*.*"))

    def test_many_members(self, tmp_path: Path) -> None:
        archive = pack(tmp_path / "a.tar.xz", [(f"{number}.md", b"") for number in range(3000)])
        refused(archive, tmp_path / "out", "as bombs do")

    def test_a_header_that_would_fill_the_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(unpack_module, "LARGEST_READ", 50_000)
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
            info = tarfile.TarInfo("a.png")
            info.pax_headers = {"comment": "x" * 200_000}
            tar.addfile(info)
        refused(tmp_path / "a.tar.gz", tmp_path / "out", "a record of 0 MB, as bombs do")

    def test_a_bomb_in_a_good_archive(self, tmp_path: Path) -> None:
        inner = pack(tmp_path / "a.zip", [("a.txt", bytes(3_000_000))]).read_bytes()
        archive = pack(tmp_path / "a.zip", [("inner.zip", inner), ("b.png", picture())])
        refused(archive, tmp_path / "out", "as bombs do", Selection({".txt", ".png"}, inner=["*.zip"]))

    def test_a_zip_file_that_lies_about_sizes(self, tmp_path: Path) -> None:
        archive = pack(tmp_path / "a.zip", [("a.txt", bytes(15_000))])
        true, told = (15_000).to_bytes(4, "little"), (9_000).to_bytes(4, "little")
        archive.write_bytes(archive.read_bytes().replace(true, told))
        refused(archive, tmp_path / "out", r"damaged in its member 'a\.txt'")
        assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.txt")) <= 9_000

    def test_a_sparse_file(self, tmp_path: Path) -> None:
        (tmp_path / "hole.txt").write_bytes(b"")
        with open(tmp_path / "hole.txt", "r+b") as file:
            file.truncate(2_000_000)
        done = subprocess.run(["tar", "-S", "-cf", "a.tar", "hole.txt"], cwd=tmp_path, check=False)
        if done.returncode:
            pytest.skip("GNU tar is needed to write a sparse file")
        refused(tmp_path / "a.tar", tmp_path / "out", "a link or a device|as bombs do")

    def test_more_than_the_disk_has_room_for(self, tmp_path: Path) -> None:
        archive = pack(tmp_path / "a.tar", [("a.txt", bytes(5000)), ("b.txt", bytes(5000))])
        refused(archive, tmp_path / "out", "more space than is left", room=9000)
        assert unpack(archive, tmp_path / "out2", WANTED, 10_000) == ["a.txt", "b.txt"]


class TestDamaged:
    @pytest.mark.parametrize("name", KINDS)
    @pytest.mark.parametrize("kept", [0.3, 0.7, 0.95, 0.999])
    def test_cut_short(self, tmp_path: Path, name: str, kept: float) -> None:
        noise = np.random.default_rng(0)
        members = [(f"{number}.txt", noise.bytes(3000)) for number in range(20)]
        archive = pack(tmp_path / name, members)
        # Of a plain tar file the padding behind its end may be missing.
        end = archive.read_bytes().rstrip(b"\0") if name == "a.tar" else archive.read_bytes()
        archive.write_bytes(end[: int(len(end) * kept)])
        refused(archive, tmp_path / "out", "damaged|not a zip or tar file")

    @pytest.mark.parametrize("size", [-512, -(2**40)])  # to itself, and to nowhere
    def test_a_member_that_leads_back(self, tmp_path: Path, size: int) -> None:
        archive = pack(tmp_path / "a.tar", [("a.txt", bytes(512))])
        back = tarfile.TarInfo("not wanted")
        back.size = size
        with open(archive, "r+b") as file:
            file.seek(1024)
            file.write(back.tobuf(tarfile.GNU_FORMAT))
        refused(archive, tmp_path / "out", "damaged after its member 'a.txt' .*negative size")

    def test_cut_between_two_members(self, tmp_path: Path) -> None:
        archive = pack(tmp_path / "a.tar", [("a.txt", bytes(512)), ("b.txt", bytes(512))])
        archive.write_bytes(archive.read_bytes()[:1024])
        refused(archive, tmp_path / "out", "damaged after its member 'a.txt'")

    @pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
    def test_a_flipped_byte(self, tmp_path: Path, name: str) -> None:
        archive = pack(tmp_path / name, [("a.txt", np.random.default_rng(0).bytes(20_000))])
        content = bytearray(archive.read_bytes())
        content[len(content) // 2] ^= 255
        archive.write_bytes(content)
        refused(archive, tmp_path / "out", "damaged")

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (PAGE, "an HTML page"),
            (b"", "empty"),
            (b"Rar!\x1a\x07\x00" + bytes(600), "not a zip or tar file"),
            (lzma.compress(b"no tar"), "damaged"),
        ],
    )
    def test_what_is_no_archive(self, tmp_path: Path, content: bytes, says: str) -> None:
        (tmp_path / "a.zip").write_bytes(content)
        refused(tmp_path / "a.zip", tmp_path / "out", says)

    def test_encrypted(self, tmp_path: Path) -> None:
        archive = pack(tmp_path / "a.zip", [("a.png", picture())])
        content = bytearray(archive.read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= 1
        archive.write_bytes(content)
        refused(archive, tmp_path / "out", "encrypted")

    @pytest.mark.parametrize(("name", "content"), [("a.png", PAGE), ("a.png", b"x" * 50), ("a.json", b"no json")])
    def test_members_that_are_something_else(self, tmp_path: Path, name: str, content: bytes) -> None:
        refused(pack(tmp_path / "a.zip", [(name, content)]), tmp_path / "out", rf"its member '{name}' is wrong")

    def test_nothing_that_is_wanted(self, tmp_path: Path) -> None:
        archive = pack(tmp_path / "a.zip", [("a.png", picture())])
        refused(archive, tmp_path / "out", "holds none of the files", Selection({".png"}, only=["b/*"]))

    def test_a_full_disk_is_not_damage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        archive = pack(tmp_path / "a.zip", [("a.png", picture())])
        monkeypatch.setattr(Path, "mkdir", full)
        with pytest.raises(OSError, match="No space left"):
            unpack(archive, tmp_path / "out", WANTED, ROOM)
