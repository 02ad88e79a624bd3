"""Synthesis of labels as a run: shards, failures, restarts, processes, and training reads what it wrote."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgebench.data.edge_maps import decode_levels, encode_levels
from edgebench.data.scenes import draw_dataset
from edgebench.errors import DataError
from edgebench.files import read_json, write_json
from edgebench.stages import inputs, synthesise
from edgebench.stages.inputs import LabelledBy, open_input
from edgebench.stages.run import carry_out
from edgebench.stages.spec import RunSpec
from tests.unit.methods.sam_models import MODELS

SETTINGS = {
    "method": "mask_edges",
    "split": "train",
    "limit": None,
    "generator": "felzenszwalb",
    "points_per_side": [4],
    "points_per_batch": 128,
    "iou_threshold": [0.8],
    "stability_threshold": [0.85],
    "crop_layers": 1,
    "crop_downscale": 2,
    "precision": "fp32",
    "device": "cpu",
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A plan of seven images, the fourth of which is damaged, in shards of three."""
    draw_dataset(tmp_path / "photos", splits={"train": 7}, size=32, layout="folder")
    (tmp_path / "photos" / "train00003.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    write_json(tmp_path / "photos" / "run.json", {})
    monkeypatch.setattr(synthesise, "IMAGES_PER_SHARD", 3)
    return {
        "id": "0123456789",
        "stage": "predict",
        "role": "synthesise",
        "label": "test",
        "folder": str(tmp_path / "run"),
        "version": 2,
        "scale": "demo",
        "seed": None,
        "settings": dict(SETTINGS),
        "inputs": {"dataset": str(tmp_path / "photos")},
        "dataset": {"name": "photos", "layout": "folder"},
        "protocol": None,
        "resources": {},
    }


def carried_out(run: dict[str, Any], threads: int = 1) -> Path:
    path = Path(run["folder"]).parent / "plan.json"
    write_json(path, run)
    return carry_out(path, threads)


def contents(folder: Path) -> dict[str, bytes]:
    """Every member of every shard."""
    found = {}
    for path in sorted((folder / "maps").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                found[f"{path.name}/{member.name}"] = file.read()
    return found


def test_a_bad_image_is_named_and_the_others_are_labelled(run: dict[str, Any]) -> None:
    folder = carried_out(run)
    assert list(contents(folder)) == [
        *(f"00000.tar/train0000{number}.png" for number in (0, 1, 2)),
        *(f"00001.tar/train0000{number}.png" for number in (4, 5)),
        "00002.tar/train00006.png",
    ]
    for content in contents(folder).values():
        with Image.open(io.BytesIO(content)) as image:
            assert (image.mode, image.size) == ("1", (32, 32))
    record = read_json(folder / "run.json")
    assert (record["n_images"], record["n_failed"], record["failures"]) == (6, 1, "maps/failures.jsonl")
    lines = [json.loads(line) for line in (folder / "maps" / "failures.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["train00003"]
    assert "train00003.png: " in lines[0]["reason"]


def test_training_reads_the_labels(run: dict[str, Any]) -> None:
    folder = carried_out(run)
    labelled = LabelledBy(open_input(RunSpec(run)), folder)
    assert labelled.ids == [f"train0000{number}" for number in (0, 1, 2, 4, 5, 6)]
    edges = labelled.boundaries("train00004")
    assert [each.shape for each in edges] == [(32, 32)]
    assert 0.02 < edges[0].mean() < 0.3
    assert labelled.image("train00004").shape == (32, 32, 3)


def test_an_interrupted_run_ends_with_the_same_files(run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = contents(carried_out(run))
    real, seen = synthesise._classical_label, []

    def interrupted(image_id: str, image: np.ndarray) -> Any:
        seen.append(image_id)
        if image_id == "train00005" and seen.count("train00005") == 1:
            raise KeyboardInterrupt
        return real(image_id, image)

    monkeypatch.setattr(synthesise, "_classical_label", interrupted)
    with pytest.raises(KeyboardInterrupt):
        carried_out(run)
    folder = carried_out(run)
    assert contents(folder) == expected
    assert seen.count("train00000") == 1  # its shard was whole
    assert read_json(folder / "run.json")["n_failed"] == 1


def test_two_processes_give_the_same_files(run: dict[str, Any]) -> None:
    expected = contents(carried_out(run))
    Path(run["folder"], "run.json").unlink()
    assert contents(carried_out(run, threads=2)) == expected


def test_refuses_when_every_image_is_bad(run: dict[str, Any]) -> None:
    for path in Path(run["inputs"]["dataset"]).glob("*.png"):
        path.write_bytes(b"<html>log in</html>")
    with pytest.raises(DataError, match=r"all of the first 3 failed(.|\n)*train00000: .*an HTML page"):
        carried_out(run)
    assert not Path(run["folder"], "run.json").exists()


def test_labels_of_other_images_are_refused(run: dict[str, Any], tmp_path: Path) -> None:
    folder = carried_out(run)
    draw_dataset(tmp_path / "others", splits={"val": 2}, size=32, layout="folder")
    other = run | {"inputs": {"dataset": str(tmp_path / "others")}}
    write_json(tmp_path / "others" / "run.json", {})
    with pytest.raises(DataError, match="labels none of the 2 images"):
        LabelledBy(open_input(RunSpec(other)), folder)


def test_large_images_are_labelled_and_seen_smaller(run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (inputs, synthesise):
        monkeypatch.setattr(module, "LABEL_LONG_SIDE", 20)
    labelled = LabelledBy(open_input(RunSpec(run)), carried_out(run))
    assert labelled.boundaries("train00000")[0].shape == (20, 20)
    assert labelled.image("train00000").shape == (20, 20, 3)


def test_levels_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for highest in (1, 6):
        levels = rng.integers(0, highest + 1, (9, 13), dtype=np.uint8)
        np.testing.assert_array_equal(decode_levels(encode_levels(levels), tmp_path), levels)
    assert not decode_levels(encode_levels(np.zeros((3, 4), dtype=np.uint8)), tmp_path).any()
    with pytest.raises(DataError, match=r"0\.tar/a\.png: not a readable PNG"):
        decode_levels(b"<html>", tmp_path / "0.tar" / "a.png")


@pytest.mark.parametrize("kind", ["sam2", "sam"])
def test_a_model_proposes_the_masks(run: dict[str, Any], tmp_path: Path, kind: str) -> None:
    MODELS[kind][0]().save_pretrained(tmp_path / "weights")
    write_json(tmp_path / "weights" / "run.json", {})
    run["inputs"]["generator_weights"] = str(tmp_path / "weights")
    run["settings"] |= {"generator": kind, "iou_threshold": [0.0], "stability_threshold": [0.0], "limit": 4}
    folder = carried_out(run)
    assert len(contents(folder)) == 3
    run["settings"]["stability_threshold"] = [0.0, 0.9]  # several settings vote
    several = contents(carried_out(run))
    assert len(several) == 3


def test_missing_weights_are_named_before_any_work(run: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    write_json(tmp_path / "weights" / "run.json", {})
    run["inputs"]["generator_weights"] = str(tmp_path / "weights")
    run["settings"] |= {"generator": "sam2"}
    with pytest.raises(DataError, match="holds no readable sam2 model"):
        carried_out(run)
