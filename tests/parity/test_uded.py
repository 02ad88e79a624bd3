"""UDED as published: its two forms of annotation agree, and no test image is one that BSDS500 trains on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgebench.data.adapters import open_dataset
from edgebench.data.adapters.uded import UdedDataset
from edgebench.data.edge_maps import read_boundaries
from edgebench.data.images import read_image


@pytest.fixture(scope="module")
def uded(shared: Path) -> Path:
    return shared / "data" / "UDED"


def test_drawings_and_matlab_files_agree(uded: Path) -> None:
    for split, count in (("test", 19), ("bsds_trainval", 1)):
        dataset = open_dataset("uded", uded, split)
        assert len(dataset.ids) == count
        for image_id in dataset.ids:
            (drawn,) = dataset.boundaries(image_id)
            (picture,) = read_boundaries(uded / "gt" / f"{image_id}.png")
            assert np.array_equal(drawn, picture)
            assert drawn.shape == dataset.size(image_id) == dataset.image(image_id).shape[:2]


def test_images_of_bsds_are_where_the_split_says(uded: Path, shared: Path) -> None:
    """Pictures are compared, not names: every image of UDED with every one of BSDS500."""
    bsds = {
        part: [_fingerprint(path) for path in sorted((shared / f"data/bsds500/images/{part}").glob("*.jpg"))]
        for part in ("train", "val", "test")
    }
    for split in ("test", "bsds_trainval"):
        dataset = UdedDataset(uded, split)
        for image_id in dataset.ids:
            own = _fingerprint(dataset.image_path(image_id))
            parts = {part for part, prints in bsds.items() if max(float(own @ each) for each in prints) > 0.99}
            known = {"03-35028": {"test"}, "10-196062": {"test"}, "22-335094": {"test"}, "30-167062": {"val"}}
            assert parts == known.get(image_id, set())
            assert ("val" in parts or "train" in parts) == (split == "bsds_trainval")


def _fingerprint(path: Path) -> np.ndarray:
    small = Image.fromarray(read_image(path)).convert("L").resize((24, 24), Image.Resampling.BILINEAR)
    values = np.asarray(small, dtype=np.float64).ravel()
    values -= values.mean()
    return values / np.linalg.norm(values)
