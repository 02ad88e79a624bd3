"""BSDS500 itself: its layout, its annotations, and its boundaries made from its segmentations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from edgebench.data.adapters import open_dataset
from edgebench.data.adapters.bsds_mat import (
    read_bsds_annotations,
    read_bsds_segmentations,
    segmentation_boundaries,
    write_bsds_annotation,
)
from edgebench.data.fetch import fetch
from edgebench.data.manifest import read_manifest


@pytest.fixture(scope="module")
def bsds500(shared: Path) -> Path:
    folder = shared / "data" / "bsds500"
    if not folder.is_dir():
        pytest.skip("needs BSDS500")
    return folder


@pytest.mark.parametrize(
    ("split", "count", "first", "last"),
    [("train", 200, "100075", "97017"), ("val", 100, "101085", "97033"), ("test", 200, "100007", "97010")],
)
def test_splits(bsds500, split, count, first, last):
    ids = open_dataset("bsds", bsds500, split).ids
    assert len(ids) == count
    assert (ids[0], ids[-1]) == (first, last)


def test_trainval(bsds500):
    dataset = open_dataset("bsds", bsds500, "trainval")
    assert len(dataset.ids) == 300
    assert dataset.ids == sorted(dataset.ids)


def test_images_and_annotations(bsds500):
    dataset = open_dataset("bsds", bsds500, "test")
    for image_id in dataset.ids[::20]:
        shape = dataset.size(image_id)
        assert shape in ((321, 481), (481, 321))
        assert dataset.image(image_id).shape == (*shape, 3)
        boundaries = dataset.boundaries(image_id)
        assert 4 <= len(boundaries) <= 8
        for boundary in boundaries:
            assert boundary.shape == shape
            assert 0 < boundary.mean() < 0.2


def test_boundaries_follow_from_segmentations(bsds500):
    for path in sorted((bsds500 / "groundTruth" / "val").glob("*.mat"))[::20]:
        made = segmentation_boundaries(read_bsds_segmentations(path))
        for found, expected in zip(made, read_bsds_annotations(path), strict=True):
            assert np.array_equal(found, expected)


def test_written_annotations_read_like_the_real_ones(bsds500, tmp_path):
    path = bsds500 / "groundTruth/test/100007.mat"
    segmentations, boundaries = read_bsds_segmentations(path), read_bsds_annotations(path)
    write_bsds_annotation(tmp_path / "copy.mat", segmentations, boundaries)
    for original, copy in zip(segmentations, read_bsds_segmentations(tmp_path / "copy.mat"), strict=True):
        assert np.array_equal(original, copy)
    for original, copy in zip(boundaries, read_bsds_annotations(tmp_path / "copy.mat"), strict=True):
        assert np.array_equal(original, copy)


def test_manifest_is_the_whole_data_set(root, bsds500):
    definition = yaml.safe_load((root / "config/datasets/bsds500.yaml").read_text())
    manifest = read_manifest(root / "config/datasets" / definition["source"]["manifest"])
    assert len(manifest) == definition["files"]
    assert sum(entry.size for entry in manifest) == definition["bytes"]
    assert all((bsds500 / entry.path).stat().st_size == entry.size for entry in manifest)


def test_fetch_from_a_local_mirror(root, bsds500, tmp_path):
    definition = yaml.safe_load((root / "config/datasets/bsds500.yaml").read_text())
    definition["source"]["mirrors"] = []
    manifest = [entry for entry in read_manifest(root / "config/datasets/bsds500.sha256") if "/val/1" in entry.path]
    report = fetch(definition, manifest, tmp_path, [str(bsds500)])
    assert report.n_new == len(manifest) > 20
    dataset = open_dataset("bsds", tmp_path, "val")
    assert dataset.boundaries(dataset.ids[0])[0].shape == dataset.size(dataset.ids[0])
