"""Mask2Former: its start, its samples and loss, its weights, and how its answers become segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage
from torch import Tensor

from edgebench.data.panoptic import Category, Segment
from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.methods.mask2former.augment import PADDING, jitter
from edgebench.methods.mask2former.network import Answer, Mask2FormerNetwork, padded
from edgebench.methods.mask2former.objective import Objective, ObjectiveSettings
from edgebench.methods.mask2former.panoptic import panoptic_segments
from edgebench.methods.mask2former.predictor import Predictor, PredictSettings
from edgebench.methods.mask2former.presets import PRESETS, network_config
from edgebench.methods.mask2former.pretrained import from_backbone
from edgebench.methods.mask2former.weights import load_weights, trained_size, weight_metadata
from tests.unit.methods.mask2former_models import SIZES, save_classifier, save_segmenter, tiny_config

torch.set_num_threads(1)
CATEGORIES = {2: Category("cup", True), 5: Category("plate", True), 9: Category("wall", False)}


class Drawn:
    """Two pictures of another size each: two cups, one of them a crowd, before a wall."""

    ids = ("a", "b")
    classes = {7: Segment(2), 300: Segment(9), 11: Segment(5), 12: Segment(2, crowd=True)}

    def image(self, image_id: str) -> np.ndarray:
        ids, _ = self.panoptic(image_id)
        return np.repeat((ids % 251)[..., None], 3, axis=2).astype(np.uint8)

    def panoptic(self, image_id: str) -> tuple[np.ndarray, dict[int, Segment]]:
        ids = np.full((40, 64) if image_id == "a" else (50, 30), 300, np.uint32)
        ids[5:20, 4:24], ids[22:38, 6:20], ids[2:10, 26:29] = 7, 11, 12
        ids[:2] = 0
        return ids, dict(self.classes)


def network(classes: int = 3) -> Mask2FormerNetwork:
    torch.manual_seed(0)
    return Mask2FormerNetwork(tiny_config(classes))


def objective(**settings: Any) -> Objective:
    return Objective(network(), Drawn(), CATEGORIES, ObjectiveSettings(**{"size": 64, **settings}))  # type: ignore[arg-type]


def batch_of(ours: Objective, count: int = 3) -> dict[str, Tensor]:
    return ours.collate([ours.sample(number % 2, np.random.default_rng(number)) for number in range(count)])


# How it starts.


def test_presets_have_the_published_sizes() -> None:
    config = network_config("resnet50", 133)
    assert (config.num_queries, config.train_num_points, config.num_labels) == (100, 12544, 133)
    assert (config.class_weight, config.mask_weight, config.dice_weight, config.no_object_weight) == (2, 5, 5, 0.1)
    assert (config.encoder_layers, config.decoder_layers) == (6, 10)
    with torch.device("meta"):
        counts = {
            name: sum(each.numel() for each in Mask2FormerNetwork(network_config(name, 133)).parameters())
            for name in PRESETS
        }
    # The paper (table 1) says 44 M and 216 M.
    assert round(counts["resnet50"] / 1e6) == 44
    assert round(counts["swin_large"] / 1e6) in (215, 216)
    assert counts["small"] < 2e6
    with pytest.raises(ConfigError, match="there is no preset 'resnet'"):
        network_config("resnet", 3)


@pytest.mark.parametrize(("kind", "preset"), [("swin", "swin_large"), ("resnet", "resnet50")])
def test_the_backbone_is_that_of_the_classifier(tmp_path: Path, kind: str, preset: str) -> None:
    classifier = save_classifier(tmp_path, kind).eval()
    ours = from_backbone(tmp_path, preset, 3, **SIZES)
    pixels = torch.rand(1, 3, 128, 128)  # a smaller one than its windows is too much for the classifier
    with torch.no_grad():
        theirs = getattr(classifier, kind)(pixels, output_hidden_states=True)
        found = ours.eval().backbone(pixels, output_hidden_states=True)
    if kind == "resnet":
        torch.testing.assert_close(found.feature_maps[-1], theirs.last_hidden_state)
        norms = [each for each in ours.train().backbone.modules() if isinstance(each, torch.nn.BatchNorm2d)]
        assert norms
        assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    else:
        torch.testing.assert_close(found.hidden_states[-1].flatten(2).mT, theirs.hidden_states[-1])
    assert ours.config.num_queries == SIZES["num_queries"]


def test_weights_that_have_seen_masks_are_refused(tmp_path: Path) -> None:
    save_segmenter(tmp_path / "segmenter")
    with pytest.raises(ConfigError, match=r"config\.json: a model Mask2FormerForUniversalSegmentation, .* would leak"):
        from_backbone(tmp_path / "segmenter", "swin_large", 3)
    save_classifier(tmp_path / "swin", "swin")
    with pytest.raises(ConfigError, match="preset 'resnet50' has a backbone of the kind resnet"):
        from_backbone(tmp_path / "swin", "resnet50", 3)


def test_a_damaged_classifier_is_named(tmp_path: Path) -> None:
    save_classifier(tmp_path, "swin")
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    state.pop("swin.encoder.layers.0.blocks.0.layernorm_before.weight")
    save_file(state, weights)
    with pytest.raises(DataError, match=r"1 differ, first missing: .*encoder\..*layernorm_before\.weight"):
        from_backbone(tmp_path, "swin_large", 3, **SIZES)
    weights.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="weights are read from safetensors alone"):
        from_backbone(tmp_path, "swin_large", 3, **SIZES)


# Samples.


def test_jitter_moves_picture_and_segments_alike() -> None:
    ids = np.random.default_rng(1).integers(1, 9, (12, 20)).astype(np.int32).repeat(4, 0).repeat(4, 1)
    image = np.repeat(ids[..., None] * 20, 3, axis=2).astype(np.uint8)
    flipped = set()
    for seed in range(12):
        square, cut = jitter(image, ids, np.random.default_rng(seed), 64, 0.5, 2.0)
        assert square.shape == (64, 64, 3)
        assert cut.shape == (64, 64)
        even = ndimage.minimum_filter(cut, 3) == ndimage.maximum_filter(cut, 3)  # not at interpolated borders
        agree = np.abs(square[..., 0].astype(int) - cut * 20) <= 10
        assert agree[even & (cut > 0)].mean() > 0.85
        inside = (cut > 0).any(1).sum(), (cut > 0).any(0).sum()
        assert max(inside) >= 31  # half of the square at least
        assert (cut > 0).all() or (square[cut == 0] == PADDING).mean() > 0.9
        flipped.add(bool(cut[0, 0] == 0))
    same = jitter(image, ids, np.random.default_rng(0), 80, 1.0, 1.0, flip=False)
    np.testing.assert_array_equal(same[0][:48], image)
    np.testing.assert_array_equal(same[1][:48], ids)
    assert not same[1][48:].any()


def test_a_sample_is_a_function_of_its_generator() -> None:
    ours = objective()
    first, again = (ours.sample(0, np.random.default_rng(4)) for _ in range(2))
    other = ours.sample(0, np.random.default_rng(5))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["image"], other["image"])


def test_samples_hold_what_the_crop_shows_by_class() -> None:
    ours = objective(smallest_scale=1.0, largest_scale=1.0, flip=False)
    sample = ours.sample(0, np.random.default_rng(0))
    assert sample["classes"].tolist() == [0, 1, 2]  # ascending ids of segments: 7, 11 and 300; a crowd is none
    for place, colour in enumerate((7, 11, 300 % 251), start=1):
        assert sample["image"][0][sample["ids"] == place].eq(colour).float().mean() > 0.9
    assert not sample["ids"][:2].any()
    batch = ours.collate([sample, {**sample, "classes": sample["classes"][:1]}])
    assert batch["classes"].tolist() == [[0, 1, 2], [0, -1, -1]]


def test_wrong_data_are_named() -> None:
    class Shifted(Drawn):
        def image(self, image_id: str) -> np.ndarray:
            return np.zeros((9, 9, 3), np.uint8)

    settings = ObjectiveSettings(size=64)
    with pytest.raises(DataError, match="a: the image is 9 x 9 pixels, its segments 64 x 40"):
        Objective(network(), Shifted(), CATEGORIES, settings).sample(0, np.random.default_rng(0))  # type: ignore[arg-type]
    few = {key: CATEGORIES[key] for key in (2, 5)}
    with pytest.raises(DataError, match="a: has a segment of the class 9"):
        Objective(network(), Drawn(), few, settings).sample(0, np.random.default_rng(0))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="size 60 must be a multiple of 32"):
        ObjectiveSettings(size=60)
    with pytest.raises(ConfigError, match=r"from smallest_scale 2\.0 to largest_scale 1\.0"):
        ObjectiveSettings(smallest_scale=2.0, largest_scale=1.0)


# Loss.


def test_the_loss_is_that_of_transformers() -> None:
    ours = objective()
    batch = batch_of(ours)
    torch.manual_seed(7)
    loss, parts = ours.loss(ours.model.train(), batch, torch.Generator(), 0)
    theirs: Any = ours.model.network
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    classes = [each[each >= 0] for each in batch["classes"]]
    torch.manual_seed(7)
    out = theirs(
        pixel_values=(batch["image"] / 255 - mean) / std,
        mask_labels=[
            torch.stack([(ids == number).float() for number in range(1, len(each) + 1)])
            for ids, each in zip(batch["ids"], classes, strict=True)
        ],
        class_labels=classes,
    )
    torch.testing.assert_close(loss, out.loss)
    assert sum(parts.values()) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert set(parts) == {"class_loss", "mask_loss", "dice_loss"}


def test_a_picture_without_segments_trains_the_class_of_none() -> None:
    ours = objective()
    batch = batch_of(ours, 2)
    batch["ids"][:], batch["classes"] = 0, torch.zeros(2, 0, dtype=torch.int64)
    loss, parts = ours.loss(ours.model.train(), batch, torch.Generator(), 0)
    loss.backward()
    assert parts["mask_loss"] == parts["dice_loss"] == 0
    assert parts["class_loss"] > 0


def test_checkpointing_changes_nothing_but_memory() -> None:
    gradients = []
    for switched in (False, True):
        ours = objective()
        if switched:
            ours.model.enable_gradient_checkpointing()
            chosen = [each for each in ours.model.modules() if getattr(each, "gradient_checkpointing", None) is True]
            assert {type(each).__name__ for each in chosen} == {"SwinStage", "Mask2FormerMaskedAttentionDecoderLayer"}
        torch.manual_seed(7)
        loss, _ = ours.loss(ours.model.train(), batch_of(ours), torch.Generator(), 0)
        loss.backward()
        gradients.append({name: each.grad for name, each in ours.model.named_parameters() if each.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_groups_hold_every_parameter_once_at_its_rate() -> None:
    ours = objective(backbone_rate=0.1)
    groups = ours.parameter_groups()
    placed = [id(each) for group in groups for each in group["params"]]
    assert len(placed) == len(set(placed)) == len(list(ours.model.parameters()))
    of = {id(each): group for group in groups for each in group["params"]}
    backbone = {id(each) for each in ours.model.backbone.parameters()}
    assert all((group.get("lr_scale", 1) == 0.1) == (each in backbone) for each, group in of.items())
    plain = {name for name, each in ours.model.named_parameters() if of[id(each)].get("weight_decay") == 0}
    assert any("layernorm" in name for name in plain)
    assert any("queries_embedder" in name for name in plain)
    assert not any("class_predictor" in name for name in plain)


# Weights and answers.


def test_weights_are_read_as_they_were_written(tmp_path: Path) -> None:
    ours = objective()
    path = tmp_path / "weights.safetensors"
    save_file(ours.exported(ours.model.state_dict()), path, metadata=ours.export_metadata())
    found, categories = load_weights(path)
    assert categories == CATEGORIES
    assert trained_size(path) == 64
    pictures = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        for one, other in zip(found(pictures), ours.model.eval()(pictures), strict=True):
            assert torch.equal(one, other)
    save_file(ours.model.state_dict(), path, metadata=weight_metadata(ours.model.config, {}, 64))
    with pytest.raises(DataError, match="tells 0 classes of 3 apart"):
        load_weights(path)


def slowly(classes: Tensor, masks: Tensor, things: set[int], least: float, share: float) -> np.ndarray:
    """The rules of the authors' panoptic inference, pixel by pixel: (class, query or None) of each pixel."""
    probabilities = classes.softmax(-1).numpy()
    own = masks.sigmoid().numpy()
    queries = [
        q
        for q in range(len(own))
        if probabilities[q].argmax() < probabilities.shape[1] - 1 and probabilities[q].max() > least
    ]
    found = np.zeros(own.shape[1:], object)
    found[...] = None
    if not queries:
        return found
    won: dict[int, list[tuple[int, int]]] = {q: [] for q in queries}
    for y, x in np.ndindex(*own.shape[1:]):
        won[max(queries, key=lambda q: probabilities[q].max() * own[q, y, x])].append((y, x))
    for q in queries:
        inside = int((own[q] >= 0.5).sum())
        if not inside or len(won[q]) / inside < share:
            continue
        label = int(probabilities[q].argmax())
        for place in won[q]:
            if own[q][place] >= 0.5:
                found[place] = (label, q if label in things else None)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_segments_are_those_of_the_rules(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randn(9, 5, generator=generator) * 2
    masks = torch.nn.functional.interpolate(
        torch.randn(1, 9, 4, 5, generator=generator) * 4, (12, 15), mode="bilinear"
    )[0]
    found = panoptic_segments(classes, masks, {0, 1}, 0.3, 0.4)
    expected = slowly(classes, masks, {0, 1}, 0.3, 0.4)
    numbers: dict[Any, set[int]] = {}
    for place, key in np.ndenumerate(expected):
        numbers.setdefault(key, set()).add(int(found.ids[place]))
    assert all(len(each) == 1 for each in numbers.values())  # one number per segment ...
    assert len({frozenset(each) for each in numbers.values()}) == len(numbers)  # ... and one segment per number
    for key, (number,) in ((key, tuple(each)) for key, each in numbers.items()):
        assert number == 0 if key is None else found.classes[number - 1] == key[0]
    assert len(numbers) - (None in numbers) == len(found.classes)


def test_queries_of_a_stuff_class_are_one_segment() -> None:
    classes = torch.full((3, 3), -9.0)
    classes[0, 0], classes[1, 1], classes[2, 1] = 9, 9, 9
    masks = torch.full((3, 4, 9), -9.0)
    for query in range(3):
        masks[query, :, 3 * query : 3 * query + 3] = 9
    found = panoptic_segments(classes, masks, {0})
    assert found.classes == [0, 1]
    assert found.ids[0].tolist() == [1, 1, 1, 2, 2, 2, 2, 2, 2]
    assert panoptic_segments(classes, masks, {0, 1}).classes == [0, 1, 1]
    assert panoptic_segments(torch.zeros(3, 3), masks, {0}).classes == []


def test_pictures_of_any_size_are_answered_at_their_own() -> None:
    predictor = Predictor(
        network(), CATEGORIES, PredictSettings(32, 48, class_threshold=0.0, overlap_threshold=0.0), batch_size=2
    )
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((40, 52), (70, 31), (40, 52))]
    together = predictor.predict(images, ["a", "b", "c"])
    for image, found in zip(images, together, strict=True):
        assert found.ids.shape == image.shape[:2]
        assert found.ids.dtype == np.uint32
        assert set(np.unique(found.ids).tolist()) - {0} == set(found.segments)
        assert {each.category for each in found.segments.values()} <= set(CATEGORIES)
    assert any(found.segments for found in together)
    alone = predictor.predict(images[2:], ["c"])[0]
    assert (alone.ids == together[2].ids).mean() > 0.99
    assert predictor.working_size(40, 52) == (32, 42)
    assert predictor.working_size(70, 31) == (48, 21)


def test_what_is_no_number_is_refused() -> None:
    class Broken(Mask2FormerNetwork):
        def forward(self, pictures: Tensor, *_: Any) -> Answer:
            return Answer(torch.full((1, 6, 4), torch.nan), torch.zeros(1, 6, 8, 8))

    with pytest.raises(EdgebenchError, match="a: the network's answer is not a number"):
        Predictor(Broken(tiny_config()), CATEGORIES, PredictSettings(32, 32)).predict(
            [np.zeros((32, 32, 3), np.uint8)], ["a"]
        )
    with pytest.raises(ConfigError, match="size 40 is not between 1 and longest 32"):
        PredictSettings(40, 32)


def test_padding_is_the_mean_of_imagenet() -> None:
    pictures = torch.randint(0, 256, (2, 3, 30, 64), dtype=torch.uint8)
    full = padded(pictures)
    assert full.shape == (2, 3, 32, 64)
    assert torch.equal(full[:, :, :30], pictures)
    assert full[0, :, 31, 5].tolist() == [124, 116, 104]
    assert padded(full) is full
