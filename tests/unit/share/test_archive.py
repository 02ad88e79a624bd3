"""Archives of runs: the same bytes for the same files, and nothing of a foreign one trusted."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgebench.errors import DataError, EdgebenchError
from edgebench.files import sha256_file
from edgebench.share.archive import Content, differences, pack, unpack


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Where archives are unpacked: a run's folder is two below that of all runs."""
    return tmp_path / "role" / "there"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run, with what its own bookkeeping left."""
    folder = tmp_path / "run"
    (folder / "maps").mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    (folder / "maps" / "a.png").write_bytes(b"a" * 2000)
    (folder / "maps" / ("long" * 40 + ".png")).write_bytes(b"")
    (folder / ".snakemake_timestamp").touch()
    return folder


def made(path: Path, fill: Callable[[tarfile.TarFile], None]) -> Path:
    """An archive that somebody else made."""
    with tarfile.open(path, "w") as tar:
        fill(tar)
    return path


def member(name: str, content: bytes = b"{}", **fields: object) -> Callable[[tarfile.TarFile], None]:
    """Puts one member into an archive."""

    def fill(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for key, value in fields.items():
            setattr(info, key, value)
        tar.addfile(info, io.BytesIO(content))

    return fill


class TestPacking:
    def test_the_same_files_give_the_same_bytes(self, run: Path, tmp_path: Path) -> None:
        pack(run, tmp_path / "one.tar")
        for path in run.rglob("*"):
            os.utime(path, (1, 1))
            path.chmod(0o700)
        pack(run, tmp_path / "other.tar")
        assert sha256_file(tmp_path / "one.tar") == sha256_file(tmp_path / "other.tar")

    def test_there_and_back(self, run: Path, tmp_path: Path, there: Path) -> None:
        files = pack(run, tmp_path / "run.tar")
        assert len(files) == 3
        there.mkdir(parents=True)
        (there / "old").write_text("of a run that was killed")
        unpack(tmp_path / "run.tar", files, there)
        assert differences(there, files) == []
        assert sorted(path.name for path in there.iterdir()) == ["maps", "run.json"]
        (there / "maps" / "a.png").write_bytes(b"b" * 2000)
        (there / "more").touch()
        (there / "run.json").unlink()
        expected = ["run.json is missing", "maps/a.png differs", "more is not one of its files"]
        assert differences(there, files) == expected

    def test_what_stood_there_goes_last(
        self, run: Path, tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = pack(run, tmp_path / "run.tar")
        there.mkdir(parents=True)
        (there / "checkpoint").write_text("of hours")
        rename = Path.rename

        def failing(self: Path, target: Path) -> Path:
            if target == there and (self / "run.json").exists():
                raise OSError(5, "Input/output error")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", failing)
        with pytest.raises(OSError, match="Input/output"):
            unpack(tmp_path / "run.tar", files, there)
        assert [path.name for path in there.iterdir()] == ["checkpoint"]
        monkeypatch.undo()
        unpack(tmp_path / "run.tar", files, there)
        assert differences(there, files) == []
        assert not list(tmp_path.glob(".part-*"))

    def test_links_are_refused(self, run: Path, tmp_path: Path) -> None:
        (run / "weights").symlink_to("/elsewhere")
        with pytest.raises(DataError, match="weights: is a link"):
            pack(run, tmp_path / "run.tar")
        assert not (tmp_path / "run.tar").exists()


class TestForeign:
    @pytest.mark.parametrize("name", ["../outside", "/outside", "maps/../../outside", ".hidden", "a\\b"])
    def test_no_path_leads_out(self, tmp_path: Path, name: str) -> None:
        archive = made(tmp_path / "hostile.tar", member(name))
        files = {name: Content(2, sha256_file(archive))}  # even where the manifest is hostile, too
        with pytest.raises(DataError, match="is not a file of its manifest"):
            unpack(archive, files, tmp_path / "here" / "run")
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["here", "hostile.tar"]

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
    def test_only_plain_files(self, tmp_path: Path, kind: bytes) -> None:
        archive = made(tmp_path / "hostile.tar", member("run.json", b"", type=kind, linkname="/etc/passwd"))
        with pytest.raises(DataError, match=r"run\.json"):
            unpack(archive, {"run.json": Content(0, "0" * 64)}, tmp_path / "role" / "run")
        assert list((tmp_path / "role").iterdir()) == []

    def test_contents_must_be_those_of_the_manifest(self, run: Path, tmp_path: Path, there: Path) -> None:
        files = pack(run, tmp_path / "run.tar")
        (run / "run.json").write_text("[]")
        pack(run, tmp_path / "other.tar")
        there.mkdir(parents=True)
        (there / "work").touch()
        with pytest.raises(DataError, match=r"'run\.json' is not what its manifest says"):
            unpack(tmp_path / "other.tar", files, there)
        assert [path.name for path in there.iterdir()] == ["work"]  # as it was

    def test_nor_may_one_lack_or_repeat(self, run: Path, tmp_path: Path, there: Path) -> None:
        files = pack(run, tmp_path / "run.tar")
        with pytest.raises(DataError, match="lacks 'more'"):
            unpack(tmp_path / "run.tar", files | {"more": Content(1, "0" * 64)}, there)
        with tarfile.open(tmp_path / "run.tar", "a") as tar:
            member("run.json")(tar)
        with pytest.raises(DataError, match=r"'run\.json' is not a file"):
            unpack(tmp_path / "run.tar", files, there)

    @pytest.mark.parametrize("content", [b"", b"<html>not here</html>" * 100])
    def test_what_is_no_archive(self, tmp_path: Path, there: Path, content: bytes) -> None:
        (tmp_path / "page.tar").write_bytes(content)
        with pytest.raises(EdgebenchError, match=r"page\.tar"):
            unpack(tmp_path / "page.tar", {"run.json": Content(2, "0" * 64)}, there)

    def test_a_full_disk_leaves_nothing_half_unpacked(
        self, run: Path, tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = pack(run, tmp_path / "run.tar")

        def full() -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "sync", full)
        with pytest.raises(OSError, match="No space left"):
            unpack(tmp_path / "run.tar", files, there)
        assert sorted(path.name for path in tmp_path.rglob("*") if run not in path.parents) == [
            "role",
            "run",
            "run.tar",
        ]
