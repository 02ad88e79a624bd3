"""Settings of synthesised labels, and what tables say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgebench.errors import ConfigError
from edgebench.plan.methods.sam import MaskEdges
from edgebench.plan.runs import Run
from edgebench.plan.workbench import Workbench

PLAIN: dict[str, Any] = {"stage": "predict", "method": "mask_edges", "dataset": "laion"}


def synthesis(bench: Workbench, scale: str) -> list[Run]:
    """The runs of a scale that synthesise labels."""
    runs = bench.plan(scale).runs.values()
    return [run for run in runs if run.settings.get("method") == "mask_edges"]


def test_models_need_weights_and_the_classical_segmenter_takes_none() -> None:
    MaskEdges(**PLAIN)
    MaskEdges(**PLAIN, generator="sam", generator_weights="sam_vit_huge")
    with pytest.raises(ValidationError, match="generator sam2 needs generator_weights"):
        MaskEdges(**PLAIN, generator="sam2")
    with pytest.raises(ValidationError, match="generator felzenszwalb takes no generator_weights"):
        MaskEdges(**PLAIN, generator_weights="sam_vit_huge")
    with pytest.raises(ValidationError, match="points_per_side"):
        MaskEdges(**PLAIN, points_per_side=())


@pytest.mark.parametrize("scale", ["demo", "mini", "paper"])
def test_tables_say_whose_masks_theirs_are(root: Path, scale: str) -> None:
    bench = Workbench(root)
    runs = synthesis(bench, scale)
    assert runs
    classical = {run.settings["generator"] == "felzenszwalb" for run in runs}
    noted = any("classical segmenter's masks" in note for note in bench.scale(scale).notes.get("memo", []))
    assert classical == {noted}
    for name in bench.names("experiments"):
        assert not any("classical segmenter" in note for note in bench.experiment(name).notes), name


def test_the_paper_scale_uses_the_released_settings(root: Path) -> None:
    (run,) = {run.id: run for run in synthesis(Workbench(root), "paper")}.values()
    assert run.inputs["generator_weights"].label == "sam2_hiera_large"
    released = {
        "generator": "sam2",
        "points_per_side": [64],
        "points_per_batch": 128,
        "iou_threshold": [0.8],
        "stability_threshold": [0.85],
        "crop_layers": 1,
        "crop_downscale": 2,
        "precision": "fp16",
    }
    assert {key: run.settings[key] for key in released} == released
    assert run.dataset is not None
    assert run.dataset["layout"] == "shards"


def test_labels_come_from_synthesis_only(root: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(root / "config", tmp_path / "config")
    path = tmp_path / "config" / "recipes" / "memo_bsds.yaml"
    path.write_text(
        path.read_text()
        .replace("labels: synthesise", "labels: edges")
        .replace(
            "  pretrain:\n", "  edges: {stage: predict, method: sobel, dataset: laion, split: train}\n  pretrain:\n", 1
        )
    )
    with pytest.raises(ConfigError, match="only a run of method 'mask_edges' makes labels"):
        Workbench(tmp_path).plan("paper")
