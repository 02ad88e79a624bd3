"""Class maps, panoptic segmentations, Mask2Former and prompted SAM in the plan."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from edgebench.errors import ConfigError
from edgebench.plan.experiments import TableMaker
from edgebench.plan.methods.mask2former import Mask2formerPredict, Mask2formerTrain
from edgebench.plan.runs import Run
from edgebench.plan.workbench import Workbench

DATA = "scenes_coco"
TRAIN: dict[str, Any] = {"stage": "train", "method": "mask2former", "dataset": DATA, "steps": 4}
SAM = {"generator": "sam", "generator_weights": "sam_vit_base"}


@pytest.fixture
def plan(tmp_path: Path, root: Path) -> Callable[..., Run]:
    """Plans the way from class maps to a network's segments; keywords change settings by run, None takes one away."""
    shutil.copytree(root / "config", tmp_path / "config")
    (tmp_path / "config/experiments/trace").mkdir(exist_ok=True)

    def make(evaluates: str = "segmented", **changes: dict[str, Any] | None) -> Run:
        seen = {"stage": "predict", "dataset": DATA, "split": "train"}
        runs: dict[str, dict[str, Any]] = {
            "semantic": {**seen, "method": "true_semantic"},
            "edges": {**seen, "method": "canny"},
            "panoptic": {**seen, "method": "trace_panoptic", "semantic": "semantic", "edges": "edges"},
            "train": {**TRAIN, "labels": "panoptic"},
            "segmented": {**seen, "split": "test", "method": "mask2former", "weights": "train"},
        }
        for role, each in changes.items():
            runs[role] = {**runs.get(role, {}), **(each or {})}
        recipe = {"title": "Weakly supervised", "runs": runs, "evaluates": evaluates}
        (tmp_path / "config/recipes/weak.yaml").write_text(yaml.safe_dump(recipe))
        experiment = {
            "title": "Weakly supervised",
            "shows": {"paper": "trace"},
            "recipe": "weak",
            "protocol": ["panoptic"],
            "columns": ["pq"],
            "rows": [{"key": "one", "label": "One"}],
        }
        (tmp_path / "config/experiments/trace/weak.yaml").write_text(yaml.safe_dump(experiment))
        bench = Workbench(tmp_path)
        return TableMaker(bench, "trace/weak", "paper", bench.scale("paper")).table().rows[0].runs[0].predict

    return make


def test_a_network_is_trained_on_the_segments_of_another_run(plan: Callable[..., Run]) -> None:
    run = plan()
    train = run.inputs["weights"]
    assert {
        name: each.settings["method"] for name, each in train.inputs["labels"].inputs.items() if name != "dataset"
    } == {
        "semantic": "true_semantic",
        "edges": "canny",
    }
    assert "true-labels" not in train.label
    assert "true-labels" in plan(train={"labels": None}).inputs["weights"].label
    assert train.id != plan(train={"labels": None}).inputs["weights"].id


def test_what_a_run_takes_must_be_of_its_kind_and_images(plan: Callable[..., Run]) -> None:
    with pytest.raises(
        ConfigError, match=r"the labels of run 'train' come from 'edges' .* Name a run that writes panoptic"
    ):
        plan(train={"labels": "edges"})
    with pytest.raises(ConfigError, match="the semantic of run 'panoptic' come from 'edges' of method 'canny'"):
        plan(panoptic={"semantic": "edges"})
    with pytest.raises(ConfigError, match=rf"trains on {DATA}/val, but its labels come from {DATA}/train"):
        plan(train={"split": "val"})
    with pytest.raises(ConfigError, match=rf"works on {DATA}/train, but its edges come from {DATA}/test"):
        plan(edges={"split": "test"})


def test_without_edges_nothing_of_the_walk_counts(plan: Callable[..., Run]) -> None:
    bare: dict[str, Any] = {"edges": None}
    first = plan("panoptic", panoptic=bare)
    assert "no-edges" in first.label
    assert first.id == plan("panoptic", panoptic={**bare, "stride": 1, "beta": 3.0, "edge_threshold": 0.9}).id
    assert first.id != plan("panoptic", panoptic={**bare, "connectivity": 8}).id
    walked = plan("panoptic")
    assert walked.id != plan("panoptic", panoptic={"beta": 3.0}).id
    assert plan("panoptic", panoptic={"grid": 32}).id == plan("panoptic", panoptic={"grid": 32, "stride": 9}).id


def test_brought_maps_are_part_of_the_identity(plan: Callable[..., Run], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"1")
    brought = {"method": "brought_semantic", "folder": str(folder), "values": {15: 1, 0: 255}}

    def planned(**settings: Any) -> str:
        return plan("panoptic", semantic={**brought, **settings}).inputs["semantic"].id

    first = planned()
    assert first == planned()
    assert first != planned(values={15: 2, 0: 255})
    (folder / "1.png").write_bytes(b"22")
    assert first != planned()
    with pytest.raises(ConfigError, match="run 'semantic': key 'folder': there is no folder"):
        planned(folder="nowhere")
    (tmp_path / "mine.json").write_text("{}")
    whole = {"method": "brought_panoptic", "folder": str(folder), "file": str(tmp_path / "mine.json")}
    replaced = plan("mine", mine={"stage": "predict", "dataset": DATA, **whole})
    (tmp_path / "mine.json").write_text("{ }")
    assert replaced.id != plan("mine", mine={"stage": "predict", "dataset": DATA, **whole}).id


def test_sam_takes_instances_or_segments(plan: Callable[..., Run]) -> None:
    seen = {"stage": "predict", "dataset": DATA, "split": "train", **SAM}
    run = plan("sam", sam={**seen, "method": "sam_prompted_panoptic", "segments": "panoptic"})
    assert run.inputs["generator_weights"].label == "sam_vit_base"
    assert "sam_vit_base" in run.label
    with pytest.raises(ConfigError, match=r"the instances of run 'sam' come from 'panoptic' .* writes panoptic"):
        plan("sam", sam={**seen, "method": "sam_prompted", "instances": "panoptic"})
    # A protocol of segments cannot score instances.
    masks = {"stage": "predict", "dataset": DATA, "split": "train", "method": "true_masks"}
    with pytest.raises(ConfigError, match="scores panoptic, but run 'sam' of method 'sam_prompted' writes instances"):
        plan("sam", masks=masks, sam={**seen, "method": "sam_prompted", "instances": "masks"})


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="size 100 is not a multiple of 32"):
        Mask2formerTrain(**TRAIN, size=100)
    with pytest.raises(ValidationError, match=r"smallest_scale 3\.0 is above largest_scale 2\.0"):
        Mask2formerTrain(**TRAIN, smallest_scale=3.0)
    with pytest.raises(ValidationError, match="takes no start"):
        Mask2formerTrain(**TRAIN, start="other")
    with pytest.raises(ValidationError, match="size 900 is above longest 800"):
        Mask2formerPredict(stage="predict", method="mask2former", dataset=DATA, weights="train", size=900, longest=800)


def test_defaults_are_the_published_ones() -> None:
    train = Mask2formerTrain(**TRAIN)
    assert train.batch * train.accumulate == 16
    assert (train.learning_rate, train.weight_decay, train.gradient_clip, train.backbone_rate) == (
        1e-4,
        0.05,
        0.01,
        0.1,
    )
    assert (train.size, train.smallest_scale, train.largest_scale) == (1024, 0.1, 2.0)
    assert (train.class_weight, train.mask_weight, train.dice_weight, train.no_object_weight) == (2, 5, 5, 0.1)


@pytest.mark.parametrize("name", ["resnet50_imagenet", "swin_large_in22k"])
def test_backbones_are_classifiers(root: Path, name: str) -> None:
    checkpoint = Workbench(root).checkpoint(name)
    assert checkpoint.source.hub is not None
    assert checkpoint.source.hub.patterns == ["config.json", "model.safetensors"]
    assert not any(word in checkpoint.source.hub.repo for word in ("coco", "ade", "cityscapes", "former-"))


def test_voc_is_learnt_from_the_augmented_split_for_as_many_epochs_as_stated(root: Path) -> None:
    bench = Workbench(root)
    row = next(row for row in bench.find_table("paper", "trace/panoptic").rows if row.key == "voc2012/network")
    predict = row.runs[0].predict
    runs = {run.role: run.settings for run in [*predict.upstream(), predict]}
    images = bench.dataset("voc2012_aug").images["trainaug"]
    for role in ("distill", "segmenter", "pseudo", "panoptic"):
        assert (runs[role]["dataset"], runs[role]["split"]) == ("voc2012_aug", "trainaug")
    assert (runs["predict"]["dataset"], runs["predict"]["split"]) == ("voc2012", "val")
    for role, epochs in (("distill", 10), ("segmenter", 50)):
        samples = runs[role]["steps"] * runs[role]["batch"] * runs[role]["accumulate"]
        assert samples / images == pytest.approx(epochs, rel=0.01)
