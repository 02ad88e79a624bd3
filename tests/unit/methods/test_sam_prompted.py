"""SAM prompted by masks: the prompts, the choice among its answers, and the models themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgebench.errors import ConfigError
from edgebench.methods.sam.prompted import PromptSettings, box_of, interior_points, redraw
from tests.unit.methods.sam_models import MODELS

torch.set_num_threads(1)


def disc(size: tuple[int, int], row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return np.hypot(y - row, x - column) <= radius


class Echo:
    """A segmenter whose answers are told beforehand: logits (M, H, W) and IoUs (M,) per prompt."""

    def __init__(self, answers: list[tuple[np.ndarray, list[float]]]) -> None:
        self.answers, self.seen = answers, 0
        self.prompts: list[tuple[np.ndarray, np.ndarray]] = []

    def __call__(self, crop: np.ndarray) -> Any:
        self.seen += 1
        return self

    def prompt(self, points: np.ndarray, boxes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        self.prompts += list(zip(points, boxes, strict=True))
        # By the left edge of the box, so that the order of the calls does not matter.
        chosen = [self.answers[int(box[0]) // 32] for box in boxes]
        logits = torch.stack([torch.from_numpy(np.where(masks, 1.0, -1.0)) for masks, _ in chosen])
        return logits.float(), torch.tensor([ious for _, ious in chosen])

    def enlarge(self, logits: torch.Tensor) -> torch.Tensor:
        return logits


def test_points_lie_deep_inside_and_apart() -> None:
    both = disc((60, 120), 30, 30, 20) | disc((60, 120), 30, 90, 14)
    points = interior_points(both, 3)
    np.testing.assert_allclose(points[0], (30, 30), atol=1)
    np.testing.assert_allclose(points[1], (90, 30), atol=1)
    assert interior_points(both, 1).shape == (1, 2)
    assert all(both[int(y), int(x)] for x, y in points)
    small = disc((60, 120), 30, 30, 20) | disc((60, 120), 30, 90, 6)
    assert interior_points(small, 2)[:, 0].max() < 60  # less than half as deep: left out


def test_the_border_of_the_image_is_outside() -> None:
    (point,) = interior_points(np.ones((21, 21), bool), 1)
    np.testing.assert_allclose(point, (10, 10), atol=1)
    assert len(interior_points(np.pad(np.ones((1, 1), bool), 3), 3)) == 1


def test_a_box_ends_beyond_its_last_pixels() -> None:
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    np.testing.assert_array_equal(box_of(mask), (3, 2, 9, 5))


def test_the_best_answer_that_is_still_the_object_is_taken() -> None:
    seed, grown, other = (disc((64, 64), 16, 16, radius) for radius in (8, 9, 15))
    scorer = Echo([(np.stack([grown, other, seed]), [0.7, 0.95, 0.6])])
    (found,) = redraw(np.zeros((64, 64, 3), np.uint8), [seed], scorer)
    np.testing.assert_array_equal(found.mask, grown)  # the one of IoU 0.95 covers too much
    assert found.iou == pytest.approx(0.7)
    (found,) = redraw(np.zeros((64, 64, 3), np.uint8), [seed], scorer, PromptSettings(least_iou=0.1))
    np.testing.assert_array_equal(found.mask, other)


def test_a_mask_stays_where_no_answer_is_the_object() -> None:
    seed, other = disc((64, 64), 16, 16, 8), disc((64, 64), 50, 50, 8)
    (found,) = redraw(np.zeros((64, 64, 3), np.uint8), [seed], Echo([(np.stack([other] * 3), [0.9, 0.8, 0.7])]))
    np.testing.assert_array_equal(found.mask, seed)
    assert found.iou is None


def test_masks_keep_their_order_and_the_image_is_seen_once() -> None:
    size = (64, 96)
    long = np.zeros(size, bool)
    long[10:20, 40:62] = True
    masks = [disc(size, 16, 16, 8), long, np.zeros(size, bool), disc(size, 40, 80, 9)]
    answers = [(np.stack([mask] * 3), [0.5, 0.6, 0.7]) for mask in (masks[0], masks[1], masks[3])]
    scorer = Echo(answers)
    found = redraw(np.zeros((*size, 3), np.uint8), masks, scorer, PromptSettings(prompts_at_once=1))
    for each, mask in zip(found, masks, strict=True):
        np.testing.assert_array_equal(each.mask, mask)
    assert [each.iou is None for each in found] == [False, False, True, False]
    assert scorer.seen == 1
    assert sorted({len(points) for points, _ in scorer.prompts}) == [1, 3]  # the long one has more points
    assert redraw(np.zeros((*size, 3), np.uint8), [masks[2]], Echo([]))[0].iou is None


@pytest.mark.parametrize("kind", MODELS)
def test_prompts_reach_the_model_as_transformers_takes_them(kind: str) -> None:
    make, scorer_class = MODELS[kind]
    model = make()
    image = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    points, boxes = (
        np.array([[[10.0, 20.0], [12.0, 30.0]], [[60.0, 20.0], [70.0, 8.0]]]),
        np.array([[4.0, 8.0, 30.0, 36.0], [50.0, 2.0, 78.0, 30.0]]),
    )
    view = scorer_class(model)(image)
    logits, ious = view.prompt(points, boxes)
    assert logits.shape[:2] == ious.shape == (2, 3)
    scale = np.array((64 / 80, 64 / 40)) if kind == "sam2" else np.array((64 / 80, 32 / 40))
    with torch.inference_mode():
        out = model(
            image_embeddings=view.embeddings,
            input_points=torch.from_numpy(points * scale).float()[None],
            input_labels=torch.ones(1, 2, 2, dtype=torch.int32),
            input_boxes=torch.from_numpy(boxes * np.tile(scale, 2)).float()[None],
            multimask_output=True,
        )
    torch.testing.assert_close(logits, out.pred_masks[0])
    torch.testing.assert_close(ious, out.iou_scores[0])
    moved, _ = view.prompt(points, boxes + 5)
    assert not torch.allclose(moved, logits)
    alone, _ = view.prompt(points[1:], boxes[1:])
    torch.testing.assert_close(alone[0], logits[1], atol=1e-5, rtol=1e-4)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be 1 or more"):
        PromptSettings(points=0)
    with pytest.raises(ConfigError, match=r"least_iou 1\.5 is not in"):
        PromptSettings(least_iou=1.5)
