"""The automatic mask generator: its parts by hand, the whole with known masks and with small random models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgebench.errors import DataError
from edgebench.methods.sam.crops import Crop, crop_boxes, cut_by_crop, point_grid, suppress_boxes
from edgebench.methods.sam.generator import GeneratorSettings, propose_masks, stability_scores
from edgebench.methods.sam.masks import PackedMask
from edgebench.methods.sam.scorer import Sam2Scorer, SamScorer, load_scorer
from tests.unit.methods.sam_models import MODELS, small_sam2

PLAIN = GeneratorSettings(points_per_side=4, crop_layers=0)


# The parts


def test_points_are_centres_of_cells() -> None:
    expected = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    np.testing.assert_array_equal(point_grid(2), expected)
    assert point_grid(64).shape == (4096, 2)
    assert point_grid(1).tolist() == [[0.5, 0.5]]


def test_crops_of_a_known_image() -> None:
    # Overlap int(512 / 1500 * 1000) = 341; crops of ceil((341 + 1500) / 2) = 921 and ceil((341 + 1000) / 2) = 671.
    crops = crop_boxes(1000, 1500, layers=1, overlap_ratio=512 / 1500)
    assert crops == [
        Crop(0, 0, 1500, 1000, 0),
        Crop(0, 0, 921, 671, 1),
        Crop(0, 330, 921, 1000, 1),
        Crop(580, 0, 1500, 671, 1),
        Crop(580, 330, 1500, 1000, 1),
    ]
    assert [crop.layer for crop in crop_boxes(1000, 1500, 2, 512 / 1500)] == [0] + [1] * 4 + [2] * 16
    assert crop_boxes(7, 5, 0, 0.3) == [Crop(0, 0, 5, 7, 0)]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (31, 200), (3000, 1999)])
def test_crops_cover_the_image(height: int, width: int) -> None:
    covered = np.zeros((height, width), dtype=bool)
    for crop in crop_boxes(height, width, 1, 512 / 1500)[1:]:
        covered[crop.top : crop.bottom, crop.left : crop.right] = True
    assert covered.all()


def test_masks_cut_by_their_crop() -> None:
    crop = Crop(100, 0, 400, 300, 1)
    boxes = np.array(
        [
            [119, 50, 300, 200],  # 19 px from the crop's left side
            [120, 50, 300, 200],  # 20 px, which still counts
            [121, 50, 300, 200],
            [150, 0, 300, 200],  # at the top, which is the image's own border
            [150, 50, 379, 200],  # 21 px from the right side
            [150, 50, 385, 200],
            [150, 50, 300, 299],  # at the bottom, where the crop ends and the image goes on
        ],
        dtype=np.float32,
    )
    assert cut_by_crop(boxes, crop, 600, 800).tolist() == [True, True, False, False, False, True, True]
    assert not cut_by_crop(boxes, Crop(0, 0, 800, 600, 0), 600, 800).any()


def test_boxes_are_suppressed_by_better_ones() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 7], [20, 20, 30, 30]], dtype=np.float32)
    scores = np.array([0.5, 0.9, 0.7, 0.1])
    # IoUs: 0.8 of the first two, 0.875 of the second and third, 0.7 of the first and third.
    assert suppress_boxes(boxes, scores, 0.75).tolist() == [1, 3]
    assert suppress_boxes(boxes, scores, 0.85).tolist() == [1, 0, 3]
    assert suppress_boxes(boxes, scores, 0.875).tolist() == [1, 2, 0, 3]  # at the threshold a box stays
    assert suppress_boxes(boxes, np.ones(4), 0.75).tolist() == [0, 2, 3]  # of equals the first
    assert suppress_boxes(np.zeros((2, 4), np.float32), np.ones(2), 0.7).tolist() == [0, 1]  # no area, no overlap
    assert suppress_boxes(np.zeros((0, 4), np.float32), np.ones(0), 0.7).tolist() == []


def test_stability_of_known_logits() -> None:
    steep = torch.full((2, 2), -9.0)
    steep[0] = 9.0
    ramp = torch.tensor([[2.0, 0.5], [-0.5, -2.0]])
    scores = stability_scores(torch.stack([steep, ramp, torch.full((2, 2), -9.0)]), threshold=0.0, offset=1.0)
    assert scores[:2].tolist() == [1.0, pytest.approx(1 / 3)]
    assert scores[2].isnan()


# The whole, with a segmenter that knows the objects


class Known:
    """Answers a point with the objects there: one mask each, with a given IoU; logits are +-`sharpness`."""

    def __init__(self, objects: list[tuple[np.ndarray, float]], sharpness: float = 8.0) -> None:
        self.objects, self.sharpness = objects, sharpness
        self.seen: list[tuple[int, ...]] = []
        self.batches: list[int] = []

    def __call__(self, crop: np.ndarray) -> Any:
        self.seen.append(crop.shape[:2])
        return KnownView(self, crop)


class KnownView:
    def __init__(self, known: Known, crop: np.ndarray) -> None:
        self.known, self.shape = known, crop.shape[:2]
        self.top, self.left = (int(value) for value in crop[0, 0, :2])  # the image says where the crop lies

    def score(self, points: np.ndarray) -> tuple[Tensor, Tensor]:
        self.known.batches.append(len(points))
        rows, columns = np.s_[self.top : self.top + self.shape[0]], np.s_[self.left : self.left + self.shape[1]]
        logits = torch.full((len(points), 3, *self.shape), -self.known.sharpness)
        ious = torch.zeros(len(points), 3)
        for k, (x, y) in enumerate(points):
            hit = [each for each in self.known.objects if each[0][rows, columns][int(y), int(x)]]
            for m, (mask, iou) in enumerate(hit[:3]):
                logits[k, m][torch.from_numpy(mask[rows, columns].copy())] = self.known.sharpness
                ious[k, m] = iou
        return logits, ious

    def enlarge(self, logits: Tensor) -> Tensor:
        return logits


def position_image(height: int, width: int) -> np.ndarray:
    """An image whose pixels hold their own row and column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, rows * 0], axis=2).astype(np.uint8)


def whole(mask: PackedMask, shape: tuple[int, int]) -> np.ndarray:
    out = np.zeros(shape, dtype=bool)
    out[mask.window] = mask.unpack()
    return out


def rectangle(shape: tuple[int, int], top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_every_object_is_found_once() -> None:
    shape = (60, 80)
    objects = [
        (rectangle(shape, 0, 0, 60, 80), 0.95),
        (rectangle(shape, 5, 5, 40, 30), 0.99),
        (rectangle(shape, 8, 50, 50, 78), 0.85),
    ]
    known = Known(objects)
    masks = propose_masks(position_image(*shape), known, PLAIN)
    expected = [objects[1][0], objects[0][0], objects[2][0]]  # by predicted IoU
    assert len(masks) == 3
    for mask, truth in zip(masks, expected, strict=True):
        np.testing.assert_array_equal(whole(mask, shape), truth)
    assert known.seen == [shape]  # encoded once


def test_points_come_in_batches_of_one_embedding() -> None:
    known = Known([(rectangle((40, 40), 5, 5, 30, 30), 0.9)])
    settings = GeneratorSettings(points_per_side=5, points_per_batch=8, crop_layers=0)
    assert len(propose_masks(position_image(40, 40), known, settings)) == 1
    assert known.batches == [8, 8, 8, 1]
    assert len(known.seen) == 1


@pytest.mark.parametrize(
    ("iou", "sharpness", "settings", "count"),
    [
        (0.8, 8.0, PLAIN, 0),  # the predicted IoU must exceed the threshold
        (0.81, 8.0, PLAIN, 1),
        (0.9, 0.9, PLAIN, 0),  # all logits within the offset: stability 0
        (0.9, 0.9, GeneratorSettings(points_per_side=4, crop_layers=0, stability_offset=0.5), 1),
        (0.9, 8.0, GeneratorSettings(points_per_side=4, crop_layers=0, iou_threshold=0.95), 0),
    ],
)
def test_bad_masks_are_left_out(iou: float, sharpness: float, settings: GeneratorSettings, count: int) -> None:
    known = Known([(rectangle((40, 40), 5, 5, 30, 30), iou)], sharpness)
    assert len(propose_masks(position_image(40, 40), known, settings)) == count


def test_crops_find_small_objects_and_leave_out_what_they_cut() -> None:
    shape = (200, 200)
    small, large = rectangle(shape, 60, 60, 66, 66), rectangle(shape, 10, 10, 190, 190)
    settings = GeneratorSettings(points_per_side=4, crop_layers=1, crop_downscale=1)
    known = Known([(small, 0.9), (large, 0.9)])
    masks = propose_masks(position_image(*shape), known, settings)
    assert known.seen == [shape, *[(134, 134)] * 4]  # ceil((68 + 200) / 2)
    assert sum(np.array_equal(whole(mask, shape), large) for mask in masks) == 1
    # Each crop sees a part of the large object that ends at the crop's edge, and none of these is there.
    assert all(np.array_equal(whole(mask, shape), large) or np.array_equal(whole(mask, shape), small) for mask in masks)


def test_of_two_crops_the_smaller_one_is_believed() -> None:
    shape = (200, 200)
    truth = rectangle(shape, 30, 30, 80, 80)  # within the first crop, far from its edges

    class Blurred(Known):
        """Sees the object two pixels larger in the whole image."""

        def __call__(self, crop: np.ndarray) -> Any:
            size = 2 if crop.shape[:2] == shape else 0
            self.objects = [(rectangle(shape, 30, 30, 80 + size, 80 + size), 0.99 if size else 0.85)]
            return super().__call__(crop)

    settings = GeneratorSettings(points_per_side=8, crop_layers=1)
    masks = propose_masks(position_image(*shape), Blurred([]), settings)
    assert len(masks) == 1
    np.testing.assert_array_equal(whole(masks[0], shape), truth)


def test_nothing_found_is_no_error() -> None:
    assert propose_masks(position_image(30, 50), Known([]), GeneratorSettings(points_per_side=2)) == []


# With transformers' models


LENIENT = GeneratorSettings(points_per_side=4, iou_threshold=-9.0, stability_threshold=-1.0, box_overlap=1.0)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_small_random_models_give_masks_of_the_image(kind: str, precision: str) -> None:
    make, scorer = MODELS[kind]
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    masks = propose_masks(image, scorer(make(), precision), LENIENT)
    assert masks
    for mask in masks:
        assert 0 <= mask.top <= mask.top + mask.height <= 48
        assert 0 <= mask.left <= mask.left + mask.width <= 80
        assert mask.area == mask.unpack().sum()


@pytest.mark.parametrize("kind", MODELS)
def test_batches_and_embeddings_change_nothing(kind: str) -> None:
    make, scorer = MODELS[kind]
    model = make()
    crop = np.random.default_rng(1).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    view = scorer(model)(crop)
    points = point_grid(3) * (64, 40)
    logits, ious = view.score(points)
    assert logits.shape == (9, 3, 16, 16)
    assert ious.shape == (9, 3)
    one, score = view.score(points[4:5])
    torch.testing.assert_close(one[0], logits[4], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(score[0], ious[4], atol=1e-5, rtol=1e-4)
    assert view.enlarge(logits[0]).shape == (3, 40, 64)


def test_sam2_stretches_and_sam_keeps_the_aspect() -> None:
    seen = {}
    for kind, (make, scorer) in MODELS.items():
        model = make()
        real = model.get_image_embeddings

        def spy(pixels: Tensor, *, kind: str = kind, real: Any = real) -> Any:
            seen[kind] = pixels
            return real(pixels)

        model.get_image_embeddings = spy
        scorer(model)(np.full((32, 64, 3), 255, dtype=np.uint8))
    white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    for pixels in seen.values():
        assert pixels.shape == (1, 3, 64, 64)
        torch.testing.assert_close(pixels[0, :, 0, 0], white)
    torch.testing.assert_close(seen["sam2"][0, :, 63, 63], white)
    assert (seen["sam"][:, :, 32:] == 0).all()  # filled after normalising
    torch.testing.assert_close(seen["sam"][0, :, 31, 63], white)


def test_points_are_given_in_pixels_of_what_the_model_sees() -> None:
    for kind, expected in (("sam2", [32.0, 16.0]), ("sam", [32.0, 8.0])):
        make, scorer = MODELS[kind]
        model = make()
        view = scorer(model)(np.zeros((40, 80, 3), dtype=np.uint8))
        prompts: list[Tensor] = []
        model.prompt_encoder.register_forward_pre_hook(
            lambda module, arguments, keywords, prompts=prompts: prompts.append(keywords["input_points"]),
            with_kwargs=True,
        )
        view.score(np.array([[40.0, 10.0]]))
        assert prompts[0].flatten().tolist() == expected


# Loading


@pytest.mark.parametrize("kind", MODELS)
def test_a_saved_model_comes_back(kind: str, tmp_path: Path) -> None:
    make, scorer = MODELS[kind]
    model = make()
    model.save_pretrained(tmp_path)
    loaded = load_scorer(kind, tmp_path, "cpu", "fp32")  # type: ignore[arg-type]
    crop = np.random.default_rng(1).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    points = np.array([[3.0, 30.0]])
    for one, other in zip(scorer(model)(crop).score(points), loaded(crop).score(points), strict=True):
        torch.testing.assert_close(one, other)


def test_the_released_files_of_sam2_hold_its_video_model_too(tmp_path: Path) -> None:
    small_sam2().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    extra = {"memory_encoder.projection.weight": torch.zeros(2), "no_object_pointer": torch.zeros(1)}
    save_file(load_file(weights) | extra, weights, metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "sam2_video"}))
    load_scorer("sam2", tmp_path, "cpu", "fp32")


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no readable sam2 model .* Fetch the checkpoint again"):
        load_scorer("sam2", tmp_path, "cpu", "fp32")
    small_sam2().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    first = sorted(state)[0]
    save_file({name: value for name, value in state.items() if name != first}, weights, metadata={"format": "pt"})
    with pytest.raises(DataError, match=rf"missing keys: 1, such as {first}"):
        load_scorer("sam2", tmp_path, "cpu", "fp32")
    save_file(state | {"another.weight": torch.zeros(1)}, weights, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"unexpected keys: 1, such as another\.weight"):
        load_scorer("sam2", tmp_path, "cpu", "fp32")
    weights.write_bytes(b"<html>log in</html>")
    with pytest.raises(DataError, match="holds no readable sam2 model"):
        load_scorer("sam2", tmp_path, "cpu", "fp32")
    weights.unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")  # a pickle is never read
    with pytest.raises(DataError, match="holds no readable sam2 model"):
        load_scorer("sam2", tmp_path, "cpu", "fp32")


def test_full_size_models_have_the_published_number_of_weights() -> None:
    from transformers import (
        Sam2Config,
        Sam2HieraDetConfig,
        Sam2Model,
        Sam2VisionConfig,
        SamConfig,
        SamModel,
        SamVisionConfig,
    )

    large = Sam2HieraDetConfig(
        hidden_size=144,
        embed_dim_per_stage=[144, 288, 576, 1152],
        num_attention_heads_per_stage=[2, 4, 8, 16],
        blocks_per_stage=[2, 6, 36, 4],
        global_attention_blocks=[23, 33, 43],
        window_positional_embedding_background_size=[7, 7],
        window_size_per_stage=[8, 4, 16, 8],
    )
    huge = SamVisionConfig(
        hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, global_attn_indexes=[7, 15, 23, 31]
    )
    with torch.device("meta"):
        vision = Sam2VisionConfig(backbone_config=large, backbone_channel_list=[1152, 576, 288, 144])
        sam2 = Sam2Model(Sam2Config(vision_config=vision))
        sam = SamModel(SamConfig(vision_config=huge))
    assert sum(parameter.numel() for parameter in sam2.parameters()) == 216_924_865  # without the memory for videos
    # As published for ViT-H, and the 2 x 128 matrix of positions, which the authors' code keeps as a buffer.
    assert sum(parameter.numel() for parameter in sam.parameters()) == 641_090_608 + 256
    assert (Sam2Scorer(sam2).side, SamScorer(sam).side) == (1024, 1024)
