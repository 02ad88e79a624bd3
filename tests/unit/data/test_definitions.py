"""The data sets and checkpoints that come with edgebench are defined completely."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgebench.data.adapters import LAYOUTS, open_dataset
from edgebench.data.manifest import read_manifest
from edgebench.data.scenes import STYLES

FOLDER = Path(__file__).resolve().parents[3] / "config" / "datasets"
CHECKPOINTS = FOLDER.parent / "checkpoints"
KEYS = {
    "name",
    "title",
    "layout",
    "source",
    "files",
    "bytes",
    "images",
    "gate",
    "licence",
    "terms",
}
MASKS = {"davis", "dis5k", "duts", "ecssd", "hrsod", "pairs"}
"""Layouts with masks in place of edges."""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_definition_is_complete(path, tmp_path):
    definition = yaml.safe_load(path.read_text())
    has_edges = definition["layout"] not in MASKS
    assert set(definition) == KEYS | {"citation"} | ({"edge_tolerance"} if has_edges else set())
    assert definition["name"] == path.stem
    assert definition["layout"] in LAYOUTS
    assert definition["gate"] in ("none", "accept", "manual")
    assert not has_edges or 0 < definition["edge_tolerance"] < 0.1
    assert all(isinstance(count, int) and count > 0 for count in definition["images"].values())
    source = definition["source"]
    if "manifest" in source:
        assert all(mirror.startswith("https://") for mirror in source["mirrors"])
        manifest = read_manifest(FOLDER / source["manifest"])
        assert len(manifest) == definition["files"]
        assert sum(entry.size for entry in manifest) == definition["bytes"]
        for entry in manifest:  # the layout finds as many images among these names as the definition says
            if entry.path.endswith(".json"):  # which would have to list them
                continue
            (tmp_path / entry.path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / entry.path).touch()
        for split, count in definition["images"].items():
            assert len(open_dataset(definition["layout"], tmp_path, split).ids) == count
    elif "draw" in source and has_edges:
        size = STYLES[source["draw"]["style"]].size
        assert definition["edge_tolerance"] * size * 2**0.5 == pytest.approx(1.5, abs=0.01)
    elif "draw" in source:
        assert definition["files"] == 2 * sum(definition["images"].values())
    elif "archives" in source:
        sizes = [archive.get("bytes") for archive in source["archives"]]
        assert None in sizes or sum(sizes) == definition["bytes"]
        for archive in source["archives"]:
            assert "sha256" in archive or "md5" in archive or len(archive["unpinned"]) > 20
            assert all(url.rsplit("/", 1)[-1] == archive["file"] for url in archive["urls"])  # what a mirror calls it
        assert definition["gate"] == "accept"
        assert "--mirror" in definition["terms"]
    else:
        assert source == {"local": True}
        assert definition["gate"] == "manual"
        assert "--mirror" in definition["terms"]


def test_archives_of_one_name_are_one_archive():
    """COCO's lie in three definitions; a size or digest that is corrected in one must be in the others."""
    seen: dict[str, dict[str, object]] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for archive in yaml.safe_load(path.read_text())["source"].get("archives", []):
            known = {key: archive.get(key) for key in ("urls", "bytes", "sha256", "md5")}
            assert seen.setdefault(archive["file"], known) == known


@pytest.mark.parametrize("path", sorted(CHECKPOINTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_checkpoint_is_complete(path):
    definition = yaml.safe_load(path.read_text())
    assert all(len(definition[key]) > 2 for key in ("title", "licence", "terms", "citation"))
    assert definition["bytes"] > 0
    source = definition["source"]
    # The hub states a digest of each file; elsewhere the definition has to.
    assert "hub" in source or all(known["sha256"] for known in definition["files"].values())
    assert definition.get("gate", "none") != "manual" or "--mirror" in definition["terms"]
