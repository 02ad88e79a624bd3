"""SAM prompted by the instances and segments of other runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgebench.data.adapters import open_dataset
from edgebench.data.instances import read_instances
from edgebench.data.panoptic import read_segmentation
from edgebench.stages.predict import predict
from edgebench.stages.predictors import sam
from tests.unit.methods.sam_models import small_sam
from tests.unit.stages.panoptic_runs import draw, planned
from tests.unit.stages.test_panoptic_runs import quality

torch.set_num_threads(1)


class Halves:
    """A segmenter that answers the left half of each box, surely, and the whole of it, unsurely."""

    def __call__(self, crop: np.ndarray) -> Halves:
        self.size = crop.shape[:2]
        return self

    def prompt(self, points: np.ndarray, boxes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        logits = torch.full((len(boxes), 3, *self.size), -1.0)
        for each, (left, top, right, bottom) in zip(logits, boxes.astype(int), strict=True):
            each[0, top:bottom, left : (left + right) // 2] = 1
            each[1, top:bottom, left:right] = 1
        return logits, torch.tensor([[0.9, 0.6, 0.3]]).expand(len(boxes), 3)

    def enlarge(self, logits: torch.Tensor) -> torch.Tensor:
        return logits


@pytest.fixture
def root(tmp_path: Path) -> Path:
    draw(tmp_path / "data", test=2)
    small_sam().save_pretrained(tmp_path / "sam")
    return tmp_path


def run(root: Path, out: str, method: str, inputs: dict[str, str] | None = None, /, **settings: Any) -> Path:
    predict(planned(root, out, "predict", method, inputs or {}, **settings))
    return root / out


def test_a_model_answers_instances(root: Path) -> None:
    before = run(root, "masks", "true_masks")
    after = run(root, "out", "sam_prompted", {"instances": "masks", "generator_weights": "sam"}, least_iou=0.0)
    for image_id in open_dataset("coco", root / "data", "test").ids:
        given, found = (read_instances(each / "instances" / f"{image_id}.json") for each in (before, after))
        assert [each.category for each in found.items] == [each.category for each in given.items]
        assert found.size == given.size
    assert (after / "results.json").is_file()


def test_good_answers_replace_masks_and_others_do_not(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam, "load_scorer", lambda *_: Halves())
    before = run(root, "masks", "true_masks")
    inputs = {"instances": "masks", "generator_weights": "sam"}
    after = run(root, "out", "sam_prompted", inputs, score="predicted_iou")
    whole, kept = 0, 0
    for image_id in open_dataset("coco", root / "data", "test").ids:
        given, found = (read_instances(each / "instances" / f"{image_id}.json") for each in (before, after))
        for old, new, one, score in zip(
            given.masks(), found.masks(), found.items, [each.score for each in found.items], strict=True
        ):
            if (old != new).any():
                assert np.count_nonzero(old & new) >= 0.5 * np.count_nonzero(old | new)
                assert score in (pytest.approx(0.9), pytest.approx(0.6))
                assert one.area is None
                whole += 1
            else:
                kept += 1
    assert whole > 0
    strict = run(root, "strict", "sam_prompted", inputs, least_iou=1.0)
    for path in (before / "instances").iterdir():
        np.testing.assert_array_equal(
            read_instances(path).masks(), read_instances(strict / "instances" / path.name).masks()
        )


def test_things_are_drawn_anew_and_stuff_is_not(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam, "load_scorer", lambda *_: Halves())
    run(root, "semantic", "true_semantic")
    before = run(root, "panoptic", "trace_panoptic", {"semantic": "semantic"})
    after = run(root, "out", "sam_prompted_panoptic", {"segments": "panoptic", "generator_weights": "sam"})
    dataset = open_dataset("coco", root / "data", "test")
    moved = 0
    for image_id in dataset.ids:
        given, found = (read_segmentation(each / "panoptic" / f"{image_id}.json") for each in (before, after))
        assert set(found.segments) <= set(given.segments)
        for number, segment in found.segments.items():
            if dataset.categories[segment.category].thing:
                moved += int((found.ids == number).sum() != (given.ids == number).sum())
            else:
                assert not ((found.ids == number) & (given.ids != number)).any()  # stuff only yields
    assert moved
    assert 0 < quality(root, after)["all"]["pq"] < 1
    same = run(
        root, "same", "sam_prompted_panoptic", {"segments": "panoptic", "generator_weights": "sam"}, least_iou=1.0
    )
    for path in (before / "panoptic").glob("*.png"):
        assert path.read_bytes() == (same / "panoptic" / path.name).read_bytes()
