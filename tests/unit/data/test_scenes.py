"""The drawn scenes: deterministic, well formed, and as misleading as they are meant to be."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.feature import canny

from edgebench.data.adapters import open_dataset
from edgebench.data.adapters.bsds import BsdsDataset
from edgebench.data.adapters.bsds_mat import read_bsds_segmentations, segmentation_boundaries
from edgebench.data.scenes import STYLES, annotate, draw_dataset, draw_scene, outline_length
from edgebench.errors import ConfigError, DataError


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("style", sorted(STYLES))
def test_scenes_are_well_formed(style):
    size = STYLES[style].size
    counts = []
    for index in range(12):
        scene = draw_scene(np.random.default_rng(index), STYLES[style])
        assert scene.image.shape == (size, size, 3)
        assert scene.image.dtype == np.uint8
        assert scene.instances.dtype == scene.classes.dtype == np.int32
        labels = np.unique(scene.instances[scene.instances > 0])
        assert labels.tolist() == list(range(1, len(labels) + 1))
        assert len(scene.classes) == len(labels) + 1
        assert scene.classes[0] == 0
        assert scene.classes[1:].min(initial=1) >= 1
        for label in labels:
            assert ndimage.label(scene.instances == label, np.ones((3, 3)))[1] == 1
        counts.append(len(labels))
    assert 3 < np.mean(counts) < 9


def test_annotators_disagree_a_little():
    equal, shared = 0, []
    for index in range(20):
        rng = np.random.default_rng(index)
        scene = draw_scene(rng, STYLES["M"])
        (truth,) = segmentation_boundaries([scene.instances])
        near_truth = ndimage.binary_dilation(truth, np.ones((3, 3)), iterations=2)
        annotations = annotate(scene, rng)
        assert len(annotations) == 3
        for segmentation, boundary in annotations:
            assert segmentation.min() == 1
            assert np.array_equal(np.unique(segmentation), np.arange(1, segmentation.max() + 1))
            assert boundary.dtype == bool
            assert (boundary & ~near_truth).sum() == 0  # nothing is invented
            shared.append(boundary.sum() / truth.sum())
            equal += np.array_equal(boundary, truth)
    assert 0 < equal < 40  # of 60: some are exact, many are shifted or miss a piece
    assert 0.8 < np.mean(shared) < 1  # pieces are missing, not most of it


def test_default_canny_is_misled():
    """With every edge within 1.5 pixels of a true one forgiven, most of what Canny finds is still texture."""
    found = true = hit = 0
    for index in range(20):
        scene = draw_scene(np.random.default_rng(index), STYLES["M"])
        (truth,) = segmentation_boundaries([scene.instances])
        edges = canny(scene.image.mean(axis=2) / 255)
        hit += (edges & (ndimage.distance_transform_edt(~truth) <= 1.5)).sum()
        found += edges.sum()
        true += truth.sum()
    assert hit / found < 0.5
    assert found > 1.5 * true


def test_bsds_layout_is_read_by_its_adapter(tmp_path):
    assert draw_dataset(tmp_path, {"train": 3, "val": 1}, seed=5) == 4
    dataset = BsdsDataset(tmp_path, "trainval")
    assert dataset.ids == ["train00000", "train00001", "train00002", "val00000"]
    for image_id in dataset.ids:
        assert dataset.image(image_id).shape == (64, 64, 3)
        boundaries = dataset.boundaries(image_id)
        assert len(boundaries) == 3
        split = dataset.image_path(image_id).parent.name
        segmentations = read_bsds_segmentations(tmp_path / f"groundTruth/{split}/{image_id}.mat")
        for expected, found in zip(segmentation_boundaries(segmentations), boundaries, strict=True):
            assert np.array_equal(expected, found)
        with Image.open(tmp_path / f"instances/{split}/{image_id}.png") as instances:
            assert instances.mode == "I;16"
            assert np.asarray(instances).max() >= 1


def test_folder_layout_holds_images_alone(tmp_path):
    draw_dataset(tmp_path, {"train": 3}, layout="folder", style="T")
    dataset = open_dataset("folder", tmp_path, "")
    assert dataset.ids == ["train00000", "train00001", "train00002"]
    assert dataset.size("train00000") == (96, 96)


def test_scenes_do_not_depend_on_count_order_or_processes(tmp_path):
    draw_dataset(tmp_path / "one", {"train": 5, "test": 2}, size=32)
    draw_dataset(tmp_path / "two", {"test": 2, "train": 5}, size=32, jobs=2)
    draw_dataset(tmp_path / "few", {"train": 2}, size=32)
    one, two, few = (digests(tmp_path / name) for name in ("one", "two", "few"))
    for listing in (one, two, few):
        del listing[".drawn.json"]
    assert one == two
    assert few.items() <= one.items()
    images = [value for name, value in one.items() if name.startswith("images/")]
    assert len(set(images)) == 7


def test_seeds_differ(tmp_path):
    draw_dataset(tmp_path / "a", {"train": 1}, size=32, seed=0)
    draw_dataset(tmp_path / "b", {"train": 1}, size=32, seed=1)
    name = "images/train/train00000.png"
    assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()


def test_dis5k_layout_shows_the_same_objects_as_masks(tmp_path):
    splits = {"train": 2, "vd": 1, "te1": 1, "te2": 1, "te3": 1, "te4": 1}
    draw_dataset(tmp_path / "masks", splits, size=32, layout="dis5k")
    draw_dataset(tmp_path / "edges", {"train": 2}, size=32, layout="bsds")
    for split, count in splits.items():
        assert len(open_dataset("dis5k", tmp_path / "masks", split).ids) == count
    masks, edges = open_dataset("dis5k", tmp_path / "masks", "train"), open_dataset("bsds", tmp_path / "edges", "train")
    assert masks.ids == edges.ids == ["train00000", "train00001"]
    for image_id in masks.ids:
        assert np.array_equal(masks.image(image_id), edges.image(image_id))
        instances = np.asarray(Image.open(tmp_path / "edges/instances/train" / f"{image_id}.png"))
        assert np.array_equal(masks.mask(image_id), np.where(instances > 0, 255, 0))


def test_coco_layout_agrees_with_itself(tmp_path):
    """Objects, segments and classes are three views of one scene, and the image is that of the other layouts."""
    draw_dataset(tmp_path / "coco", {"train": 6, "val": 1}, layout="coco", style="T", seed=3)
    draw_dataset(tmp_path / "bsds", {"train": 6}, layout="bsds", style="T", seed=3)
    dataset, edges = open_dataset("coco", tmp_path / "coco", "train"), BsdsDataset(tmp_path / "bsds", "train")
    assert dataset.ids == [f"{k:012d}" for k in range(1, 7)]
    assert open_dataset("coco", tmp_path / "coco", "val").ids == ["000000100001"]
    assert [each.thing for each in dataset.categories.values()] == [True] * 4 + [False] * 4
    alike = 0
    for image_id, other in zip(dataset.ids, edges.ids, strict=True):
        assert np.array_equal(dataset.image(image_id), edges.image(other))
        drawn = np.asarray(Image.open(tmp_path / "bsds/instances/train" / f"{other}.png"))
        ids, segments = dataset.panoptic(image_id)
        objects, classes = dataset.instances(image_id), dataset.semantic(image_id)
        assert len(objects.items) == drawn.max() == sum(dataset.categories[s.category].thing for s in segments.values())
        for number, (item, mask) in enumerate(zip(objects.items, objects.masks(), strict=True), 1):
            (segment,) = np.unique(ids[mask])
            assert segments[segment].category == item.category
            assert segments[segment].area == item.area == mask.sum()
            label = np.unique(drawn[mask])
            assert len(label) == 1
            assert np.array_equal(drawn == label[0], mask), number
            assert (classes[mask] == item.category).all()
            near = ndimage.binary_dilation(mask)
            alike += any(
                other.category == item.category and (near & ground).any()
                for other, ground in zip(objects.items, objects.masks(), strict=True)
                if other is not item
            )
        (ground,) = np.unique(classes[drawn == 0])
        assert 5 <= ground <= 8
    assert alike > 4  # objects of one class that touch: what instance edges are about


def test_coco_lists_are_made_of_the_maps_alone(tmp_path):
    draw_dataset(tmp_path, {"train": 3}, size=32, layout="coco")
    before = digests(tmp_path)
    for name in ("annotations/instances_train.json", "annotations/panoptic_train/000000000002.png"):
        (tmp_path / name).unlink()
    assert draw_dataset(tmp_path, {"train": 3}, size=32, layout="coco") == 1
    assert digests(tmp_path) == before


def test_test_splits_rise_in_complexity(tmp_path):
    splits = [f"te{k}" for k in (1, 2, 3, 4)]
    draw_dataset(tmp_path, dict.fromkeys(splits, 6), layout="dis5k")
    lengths = []
    for split in splits:
        dataset = open_dataset("dis5k", tmp_path, split)
        lengths.append([outline_length(dataset.mask(each) > 0) for each in dataset.ids])
    assert np.all(np.diff(lengths, axis=0) > 0)  # image by image, for they come from the same four scenes


def test_outline_length_counts_sides_of_pixels():
    mask = np.zeros((6, 8), bool)
    mask[2:4, 0:3] = True  # at the left border, where it has no outline
    assert outline_length(mask) == 2 + 3 + 3
    assert outline_length(np.ones((4, 4), bool)) == 0


def test_drawing_is_resumed(tmp_path):
    draw_dataset(tmp_path, {"train": 4}, size=32)
    before = digests(tmp_path)
    (tmp_path / "groundTruth/train/train00001.mat").unlink()
    (tmp_path / "images/train/train00003.png").unlink()
    assert draw_dataset(tmp_path, {"train": 4}, size=32) == 2
    assert digests(tmp_path) == before
    assert draw_dataset(tmp_path, {"train": 4}, size=32) == 0


@pytest.mark.parametrize("change", [{"seed": 1}, {"style": "T"}, {"layout": "folder"}, {"splits": {"train": 2}}])
def test_two_ways_of_drawing_are_not_mixed(tmp_path, change):
    draw_dataset(tmp_path, splits={"train": 1})
    with pytest.raises(DataError, match="drawn with another"):
        draw_dataset(tmp_path, **{"splits": {"train": 1}, **change})


def test_unknown_style(tmp_path):
    with pytest.raises(ConfigError, match="style 'X'"):
        draw_dataset(tmp_path, {"train": 1}, style="X")


@pytest.mark.parametrize(("layout", "split"), [("dis5k", "test"), ("coco", "vd")])
def test_layouts_have_no_other_splits(tmp_path, layout, split):
    with pytest.raises(ConfigError, match=f"no split '{split}'"):
        draw_dataset(tmp_path, {split: 1}, layout=layout)
