"""Mask2Former trained and asked by runs: on annotations and on segments of another run, killed and resumed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file

from edgebench.errors import ConfigError, DataError
from edgebench.methods.mask2former import presets
from edgebench.methods.mask2former.weights import load_weights
from edgebench.stages.predict import predict
from edgebench.stages.train import train
from edgebench.training.records import Records
from tests.unit.diffdis_processes import forkserver
from tests.unit.methods.mask2former_models import RESNET, SIZES, save_classifier, save_segmenter
from tests.unit.stages.panoptic_runs import draw, planned
from tests.unit.stages.test_panoptic_runs import quality

torch.set_num_threads(1)
TRAIN: dict[str, Any] = {"preset": "small", "size": 64, "steps": 2, "batch": 2, "accumulate": 1, "split": "train"}
TRAIN |= {"learning_rate": 1e-3, "device": "cpu", "points": 64}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw(tmp_path / "data", train=4, test=2)
    monkeypatch.setitem(presets.PRESETS, "small", (*presets.PRESETS["small"][:1], RESNET, SIZES))
    return tmp_path


def trained(root: Path, out: str, inputs: dict[str, str] | None = None, **settings: Any) -> dict[str, torch.Tensor]:
    train(planned(root, out, "train", "mask2former", inputs or {}, **{**TRAIN, **settings}))
    return load_file(root / out / "weights.safetensors")


def test_train_predict_evaluate(root: Path) -> None:
    trained(root, "train")
    network, categories = load_weights(root / "train" / "weights.safetensors")
    assert network.config.num_labels == len(categories) == 8
    asked = {"size": 64, "longest": 64, "class_threshold": 0.1, "overlap_threshold": 0.1, "batch": 2}
    for precision in ("fp32", "bf16"):
        spec = planned(root, precision, "predict", "mask2former", {"weights": "train"}, precision=precision, **asked)
        predict(spec)
        scores = quality(root, root / precision)
        assert 0 <= scores["all"]["pq"] <= 1
    log = (root / "train" / "log.csv").read_text().splitlines()
    assert {"class_loss", "mask_loss", "dice_loss"} <= set(log[0].split(","))


def test_labels_of_another_run_are_learnt_instead(root: Path) -> None:
    predict(planned(root, "semantic", "predict", "true_semantic", {}, split="train"))
    predict(planned(root, "panoptic", "predict", "trace_panoptic", {"semantic": "semantic"}, split="train"))
    annotated, made = trained(root, "annotated"), trained(root, "made", {"labels": "panoptic"})
    assert annotated.keys() == made.keys()
    assert any(not torch.equal(annotated[name], made[name]) for name in made)
    first = sorted((root / "panoptic" / "panoptic").glob("*.json"))[0]
    first.unlink()
    with pytest.raises(
        DataError, match=rf"{first.name}: the segments of image {first.stem} are missing, one of 1 of 4"
    ):
        trained(root, "again", {"labels": "panoptic"})


@pytest.mark.parametrize(("kind", "preset"), [("swin", "swin_large"), ("resnet", "resnet50")])
def test_from_a_classifier(root: Path, monkeypatch: pytest.MonkeyPatch, kind: str, preset: str) -> None:
    save_classifier(root / kind, kind)
    monkeypatch.setitem(presets.PRESETS, preset, (*presets.PRESETS[preset][:2], SIZES))
    sparing = {"precision": "bf16", "gradient_checkpointing": True, "accumulate": 2}
    rates = {"learning_rate": 1e-9, "steps": 1}
    state = trained(root, "train", {"backbone": kind}, preset=preset, queries=5, **sparing, **rates)
    stock = load_file(root / kind / "model.safetensors")
    name = {
        "swin": "encoder.layers.0.blocks.0.layernorm_before.weight",
        "resnet": "embedder.embedder.convolution.weight",
    }
    (kept,) = (tensor for key, tensor in state.items() if key.endswith(name[kind]))
    torch.testing.assert_close(kept, stock[f"{kind}.{name[kind]}"], atol=1e-6, rtol=1e-6)
    network, _ = load_weights(root / "train" / "weights.safetensors")
    assert network.config.num_queries == 5


def test_weights_that_have_seen_masks_are_refused(root: Path) -> None:
    save_segmenter(root / "segmenter")
    with pytest.raises(ConfigError, match="would leak annotations"):
        trained(root, "train", {"backbone": "segmenter"}, preset="swin_large")


def kill_at_save(spec: Any, sizes: dict[str, Any]) -> None:
    """Train and die right after the first checkpoint."""
    presets.PRESETS["small"] = (*presets.PRESETS["small"][:1], RESNET, sizes)
    ours = Records.save

    def save(self: Records, *given: Any) -> None:
        ours(self, *given)
        os.kill(os.getpid(), signal.SIGKILL)

    with mock.patch.object(Records, "save", save):
        train(spec)


def test_killed_and_resumed_is_undisturbed(root: Path) -> None:
    spec = planned(root, "train", "train", "mask2former", {}, **TRAIN | {"steps": 3})
    spec.content["runtime"]["checkpoint_minutes"] = 1e-9
    process = forkserver().Process(target=kill_at_save, args=(spec, SIZES))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in (root / "train" / "work").glob("step-*.json")]
    train(spec)
    resumed = (root / "train" / "weights.safetensors").read_bytes()
    shutil.rmtree(root / "train")
    train(spec)
    assert (root / "train" / "weights.safetensors").read_bytes() == resumed


def test_other_classes_are_refused(root: Path) -> None:
    trained(root, "train", steps=1)
    path = root / "data" / "annotations" / "panoptic_test.json"
    path.write_text(path.read_text().replace('"ellipse"', '"oval"'))
    with pytest.raises(DataError, match=r"was trained on the class 1 \(ellipse\), which data set 'scenes_coco'"):
        predict(planned(root, "out", "predict", "mask2former", {"weights": "train"}))
