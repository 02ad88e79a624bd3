"""Manifests: read, written, and kept inside the data set's folder."""

from __future__ import annotations

import hashlib

import pytest

from edgebench.data.manifest import ManifestEntry, read_manifest, scan_folder, write_manifest
from edgebench.errors import DataError

SHA = "0" * 64


def test_a_folder_survives_the_round_trip(tmp_path):
    for name in ("images/b c.png", "images/a.jpg", "groundTruth/a.mat", "images/Thumbs.db", ".verified.json"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    entries = scan_folder(tmp_path / "set")
    assert [entry.path for entry in entries] == ["groundTruth/a.mat", "images/a.jpg", "images/b c.png"]
    assert entries[1] == ManifestEntry("images/a.jpg", 12, hashlib.sha256(b"images/a.jpg").hexdigest())
    write_manifest(tmp_path / "set.sha256", entries)
    assert read_manifest(tmp_path / "set.sha256") == entries
    assert scan_folder(tmp_path / "set", ["groundTruth"]) == entries[:1]


@pytest.mark.parametrize(
    "path",
    [
        "../a.jpg",
        "/etc/a.jpg",
        "a/../../b.jpg",
        "a\\..\\b.jpg",
        ".quarantine/a.jpg",
        "a//b.jpg",
        "./a.jpg",
        "a/",
    ],
)
def test_paths_that_lead_out_are_refused(tmp_path, path):
    (tmp_path / "m.sha256").write_text(f"{SHA}  1  ok.jpg\n{SHA}  1  {path}\n")
    with pytest.raises(DataError, match=r"m\.sha256:2: .*leads out"):
        read_manifest(tmp_path / "m.sha256")


@pytest.mark.parametrize(
    "line",
    [
        f"{SHA}  a.jpg",
        f"{SHA[:-1]}  1  a.jpg",
        f"{SHA}  one  a.jpg",
        f"{SHA}  0  a.jpg",
        f"{SHA[:-1]}G  1  a.jpg",
    ],
)
def test_malformed_lines_are_named(tmp_path, line):
    (tmp_path / "m.sha256").write_text(f"# comment\n\n{line}\n")
    with pytest.raises(DataError, match=r"m\.sha256:3: expected"):
        read_manifest(tmp_path / "m.sha256")


def test_repeated_paths_are_refused(tmp_path):
    (tmp_path / "m.sha256").write_text(f"{SHA}  1  a.jpg\n{SHA}  1  a.jpg\n")
    with pytest.raises(DataError, match="listed twice"):
        read_manifest(tmp_path / "m.sha256")


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_missing_empty_or_binary(tmp_path, content):
    path = tmp_path / "m.sha256"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"m\.sha256"):
        read_manifest(path)
