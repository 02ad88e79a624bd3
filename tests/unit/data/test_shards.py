"""Tar shards: whole or not at all, read at any place, and nothing bad gets through."""

from __future__ import annotations

import io
import json
import multiprocessing
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgebench.data.adapters import open_dataset
from edgebench.data.shards import Failure, Shards, fill_shards, gather_failures, make_shards, split
from edgebench.errors import DataError

Member = tuple[str, bytes] | Failure


def made(part: Sequence[str]) -> Iterator[Member]:
    """Each item's own name as its content; items that begin with `bad` fail."""
    for name in part:
        yield Failure(name, "too bad") if name.startswith("bad") else (f"{name}.txt", name.encode() * 100)


def png(height: int = 5, width: int = 7, value: int = 9) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def tar_of(path: Path, members: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if change is not None:
                change(member)
            tar.addfile(member, io.BytesIO(content))


def test_parts_are_cut_by_number_and_by_size() -> None:
    assert split("abcde", 2) == [["a", "b"], ["c", "d"], ["e"]]
    assert split([], 2) == []
    assert split("abcd", 9, sizes=[5, 5, 20, 1], limit=10) == [["a", "b"], ["c"], ["d"]]


def test_members_come_back_from_any_place(tmp_path: Path) -> None:
    names = [f"n{number:02d}" for number in range(25)]
    assert fill_shards(tmp_path, split(names, 10), made, "test") == []
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["00000.tar", "00001.tar", "00002.tar"]
    shards = Shards(tmp_path, [".txt"])
    for name in reversed(names):
        assert shards.read(f"{name}.txt") == name.encode() * 100
    assert shards.where("n11.txt") == tmp_path / "00001.tar" / "n11.txt"
    with pytest.raises(DataError, match=r"no member 'n99\.txt' in its 3 tar files"):
        shards.read("n99.txt")
    with tarfile.open(tmp_path / "00002.tar") as tar:  # any tool opens them
        assert tar.getnames() == [f"{name}.txt" for name in names[20:]]


def test_equal_members_give_equal_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        fill_shards(tmp_path / folder, [["x", "y"]], made, "test")
    assert (tmp_path / "a/00000.tar").read_bytes() == (tmp_path / "b/00000.tar").read_bytes()


def test_interrupted_work_goes_on_at_its_shard(tmp_path: Path) -> None:
    parts = split([f"n{number}" for number in range(6)] + ["bad7"], 2)
    seen: list[Member] = []

    def breaking(part: Sequence[str]) -> Iterator[Member]:
        for each in made(part):
            if part == ["n4", "n5"] and len(seen) == 5:
                raise KeyboardInterrupt
            seen.append(each)
            yield each

    with pytest.raises(KeyboardInterrupt):
        fill_shards(tmp_path, parts, breaking, "test")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".notes", "00000.tar", "00001.tar"]
    again: list[list[str]] = []

    def noting(part: Sequence[str]) -> Iterator[Member]:
        again.append(list(part))
        return made(part)

    failures = fill_shards(tmp_path, parts, noting, "test")
    assert again == [["n4", "n5"], ["bad7"]]
    assert failures == [Failure("bad7", "too bad")]
    assert [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()] == [
        {"id": "bad7", "reason": "too bad"}
    ]
    # What failed in a shard that is there is known to the next call as well.
    assert fill_shards(tmp_path, parts, made, "test") == failures


def test_refuses_when_everything_fails(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"all of the first 2 failed(.|\n)*bad0: too bad(.|\n)*same command again"):
        fill_shards(tmp_path, [["bad0", "bad1"], ["c"]], made, "test")
    assert not list(tmp_path.glob("*.tar"))
    # The cause being gone, the same call does all of it.
    better = fill_shards(tmp_path, [["bad0", "bad1"], ["c"]], lambda part: [(name, b"") for name in part], "test")
    assert better == []


def test_one_shard_may_fail_when_others_do_not(tmp_path: Path) -> None:
    assert len(fill_shards(tmp_path, [["a"], ["bad0", "bad1"], ["c"]], made, "test")) == 2
    assert sorted(Shards(tmp_path, [".txt"]).names) == ["a.txt", "c.txt"]


def test_calls_that_share_the_shards_make_those_of_one(tmp_path: Path) -> None:
    parts = split([f"n{number}" for number in range(7)] + ["bad7"], 2)
    failures = fill_shards(tmp_path / "one", parts, made, "test")
    for numbers in ([1, 3], [0, 2]):
        make_shards(tmp_path / "two", parts, numbers, made, "test")
    assert gather_failures(tmp_path / "two", range(4)) == failures
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / each).rglob("*.*") if path.is_file()}
        for each in ("one", "two")
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 10


def test_one_call_may_fail_at_first_when_another_does_not(tmp_path: Path) -> None:
    parts = [["a"], ["bad0"], ["bad1"]]
    with pytest.raises(DataError, match="all of the first 1 failed"):
        make_shards(tmp_path, parts, [1], made, "test")
    make_shards(tmp_path, parts, [0], made, "test")
    make_shards(tmp_path, parts, [1, 2], made, "test")
    assert [each.id for each in gather_failures(tmp_path, range(3))] == ["bad0", "bad1"]


def test_shards_of_other_items_are_not_mixed(tmp_path: Path) -> None:
    fill_shards(tmp_path, [["a"]], made, "test")
    with pytest.raises(DataError, match=r"shards of other items.*Delete the folder"):
        fill_shards(tmp_path, [["a", "b"]], made, "test")


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    tar_of(tmp_path / "0.tar", {name: png()})
    with pytest.raises(DataError, match=r"0\.tar: the name .* leads out of the folder"):
        Shards(tmp_path, [".png"])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname, member.size = kind, "/etc/passwd", 0

    tar_of(tmp_path / "0.tar", {"a.png": b""}, change)
    with pytest.raises(DataError, match=r"0\.tar: its member 'a\.png' is no plain file"):
        Shards(tmp_path, [".png"])


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    tar_of(path, {"a.png": png(50, 50), "b.png": bytes(5000)})
    content = path.read_bytes()
    path.write_bytes(content[:3000])  # within b, whose header says 5000 bytes
    with pytest.raises(DataError, match=r"0\.tar: ends within its member 'b\.png'"):
        Shards(tmp_path, [".png"])
    start = content.index(b"b.png")
    path.write_bytes(content[:start] + b"?" * 512 + content[start + 512 :])
    with pytest.raises(DataError, match=r"0\.tar: damaged at what follows member 'a\.png'"):
        Shards(tmp_path, [".png"])
    path.write_bytes(content[:start])  # cut between two members
    with pytest.raises(DataError, match=r"0\.tar: damaged at what follows member 'a\.png'"):
        Shards(tmp_path, [".png"])
    path.write_bytes(b"<html>log in</html>" * 100)
    with pytest.raises(DataError, match=r"0\.tar: damaged at its first member"):
        Shards(tmp_path, [".png"])
    path.unlink()
    with pytest.raises(DataError, match="holds no tar files"):
        Shards(tmp_path, [".png"])


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", [-512, -(2**70), 2**70])
def test_sizes_that_are_none_are_damage(tmp_path: Path, kind: bytes, size: int) -> None:
    tar_of(tmp_path / "0.tar", {"a.png": png()})
    header = tarfile.TarInfo(".b.png")  # hidden, so that its size would not be looked at
    header.size, header.type = size, kind
    with open(tmp_path / "0.tar", "r+b") as file:
        file.seek(1024)
        file.write(header.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(DataError, match=r"0\.tar: (damaged|ends within)"):
        Shards(tmp_path, [".png"])


def test_a_shard_that_shrinks_or_goes_while_open_is_named(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    tar_of(path, {"a.png": png(50, 50)})
    shards = Shards(tmp_path, [".png"])
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=r"0\.tar: ends within its member 'a\.png'"):
        shards.read("a.png")
    path.unlink()
    with pytest.raises(DataError, match=r"0\.tar: cannot be read \(No such file"):
        shards.read("a.png")


def test_a_name_in_two_shards_is_refused(tmp_path: Path) -> None:
    for name in ("0.tar", "1.tar"):
        tar_of(tmp_path / name, {"a.png": png()})
    with pytest.raises(DataError, match=r"1\.tar: its member 'a\.png' is in .*0\.tar too"):
        Shards(tmp_path, [".png"])


def test_processes_read_side_by_side(tmp_path: Path) -> None:
    names = [f"n{number:03d}" for number in range(40)]
    fill_shards(tmp_path, split(names, 15), made, "test")
    shards = Shards(tmp_path, [".txt"])
    members = [f"{name}.txt" for name in names]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(shards.read, members, chunksize=3) == [shards.read(name) for name in members]


# The data set layout


def test_images_of_img2dataset(tmp_path: Path) -> None:
    for shard in range(2):
        keys = [f"{shard:05d}{number:04d}" for number in range(3)]
        members: dict[str, bytes] = {}
        for key in keys:
            members |= {f"{key}.jpg": png(value=int(key) % 251), f"{key}.json": b"{}", f"{key}.txt": b"a dog"}
        tar_of(tmp_path / f"{shard:05d}.tar", members)
        (tmp_path / f"{shard:05d}.parquet").write_bytes(b"PAR1")
        (tmp_path / f"{shard:05d}_stats.json").write_text("{}")
    dataset = open_dataset("shards", tmp_path, "train")
    assert dataset.ids == ["000000000", "000000001", "000000002", "000010000", "000010001", "000010002"]
    assert dataset.image("000010002").shape == (5, 7, 3)
    assert dataset.image("000010002")[0, 0, 0] == 10002 % 251
    assert dataset.size("000000001") == (5, 7)
    with pytest.raises(DataError, match="has no boundaries"):
        dataset.boundaries("000000001")
    with pytest.raises(DataError, match="no image with the id 'x' among 6"):
        dataset.image("x")


def test_ids_of_packed_folders(tmp_path: Path) -> None:
    tar_of(tmp_path / "0.tar", {"./deep/a.png": png(), "b.PNG": png(), "deep/._a.png": b"junk of a Mac"})
    assert open_dataset("shards", tmp_path, "train").ids == ["b", "deep__a"]
    tar_of(tmp_path / "1.tar", {"b.jpg": png()})
    with pytest.raises(DataError, match="would both have the id 'b'"):
        open_dataset("shards", tmp_path, "train")


def test_a_damaged_image_is_named_by_shard_and_member(tmp_path: Path) -> None:
    tar_of(tmp_path / "0.tar", {"a.png": png(90, 90)[:150], "b.png": b"<html>no</html>"})
    dataset = open_dataset("shards", tmp_path, "train")
    with pytest.raises(DataError, match=r"0\.tar/a\.png: truncated or damaged"):
        dataset.image("a")
    with pytest.raises(DataError, match=r"0\.tar/b\.png: an HTML page"):
        dataset.image("b")
    tar_of(tmp_path / "0.tar", {"a.txt": b"no image"})
    with pytest.raises(DataError, match="hold no images"):
        open_dataset("shards", tmp_path, "train")
