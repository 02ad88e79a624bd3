"""ECSSD and DAVIS as published, their outlines as the authors draw them, and frames in the layout of DIS5K."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from edgebench.data.adapters import open_dataset
from edgebench.data.fetch import fetch
from edgebench.data.manifest import read_manifest
from edgebench.methods.diffdis.contours import contour

DATASETS = Path(__file__).resolve().parents[2] / "config" / "datasets"


@pytest.mark.parametrize("name", ["ecssd", "davis"])
def test_real_pairs_are_fetched_and_fit(shared: Path, tmp_path: Path, name: str) -> None:
    definition = yaml.safe_load((DATASETS / f"{name}.yaml").read_text())
    manifest = read_manifest(DATASETS / f"{name}.sha256")
    report = fetch(definition, manifest, tmp_path, [str(shared / "data" / name.upper())])
    assert (report.n_files, report.n_bytes) == (definition["files"], definition["bytes"])
    assert not report.quarantined
    seen: set[str] = set()
    for split, count in definition["images"].items():
        dataset = open_dataset(name, tmp_path, split)
        assert len(dataset.ids) == count
        assert not seen & set(dataset.ids)
        seen |= set(dataset.ids)
        dataset.check_sizes()  # type: ignore[attr-defined]
        for image_id in dataset.ids[:: 20 if name == "ecssd" else 3]:
            mask = dataset.mask(image_id)
            assert mask.shape == dataset.image(image_id).shape[:2]
            assert set(np.unique(mask)) == {0, 255}


def test_frames_in_the_layout_of_dis5k(shared: Path, tmp_path: Path) -> None:
    frames = open_dataset("davis", shared / "data" / "DAVIS", "val")
    parts = {"train": "DIS-TR", "vd": "DIS-VD", "te1": "DIS-TE1", "te2": "DIS-TE2", "te3": "DIS-TE3", "te4": "DIS-TE4"}
    for part, image_id in zip(parts.values(), frames.ids, strict=False):
        files = {"im": frames.image_path(image_id), "gt": frames.mask_path(image_id)}  # type: ignore[attr-defined]
        for kind, file in files.items():
            (tmp_path / "mine" / part / kind).mkdir(parents=True)
            shutil.copy(file, tmp_path / "mine" / part / kind / f"1#Bird#{image_id}{file.suffix}")
    definition = yaml.safe_load((DATASETS / "dis5k.yaml").read_text()) | {"images": dict.fromkeys(parts, 1)}
    report = fetch(definition, None, tmp_path / "run", [str(tmp_path / "mine")])
    assert report.n_new == 12
    for (split, _), image_id in zip(parts.items(), frames.ids, strict=False):
        dataset = open_dataset("dis5k", tmp_path / "run", split)
        assert dataset.ids == [f"1#Bird#{image_id}"]
        np.testing.assert_array_equal(dataset.mask(dataset.ids[0]), frames.mask(image_id))


def test_outlines_are_those_of_opencv(shared: Path) -> None:
    """The authors' script calls OpenCV: dilation minus erosion, 5 x 5, kept from level 6 on."""
    cv2 = pytest.importorskip("cv2")
    frames = open_dataset("davis", shared / "data" / "DAVIS", "val")
    for image_id in frames.ids[::6]:
        hard = frames.mask(image_id)
        for mask in (hard, cv2.resize(hard, (321, 203), interpolation=cv2.INTER_AREA)):
            kernel = np.ones((5, 5), np.uint8)
            difference = cv2.dilate(mask, kernel) - cv2.erode(mask, kernel)
            np.testing.assert_array_equal(contour(mask), np.where(difference >= 6, 255, 0))
