"""The training schedules of MEMO's five released configurations, and which runs the ablations share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgebench.plan.runs import Run
from edgebench.plan.workbench import Workbench

RECIPES = [
    "memo_bsds",
    "memo_bsds_late",
    "memo_bsds_real",
    "memo_bsds_dino",
    "memo_tiny",
    "memo_biped",
    "memo_biped_tiny",
]
SCALES = ["demo", "mini", "paper"]

# Side of the crop, samples and micro-batches of a step (2 GPUs), learning rate, steps, start of the average.
RELEASED = {
    ("memo_bsds", "pretrain"): (256, 8, 4, 5e-5, 80 * 800, 50_000),
    ("memo_bsds_late", "pretrain"): (256, 8, 4, 5e-5, 280 * 800, 50_000),
    ("memo_tiny", "pretrain"): (256, 4, 8, 5e-5, 500 * 400, 5_000),
    ("memo_bsds", "finetune"): (None, 2, 8, 2e-5, 200 * 800, 1_000),
    ("memo_biped", "finetune"): (384, 2, 8, 2e-5, 200 * 800, 1_000),
    ("memo_biped_tiny", "finetune"): (384, 2, 8, 2e-5, 40 * 800, 1_000),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Workbench:
    """The definitions, with one table that has a row for each recipe."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(root / "config", folder / "config")
    experiment = {
        "title": "All recipes",
        "shows": {"paper": "memo"},
        "recipe": "memo_bsds",
        "protocol": ["crispness"],
        "rows": [{"key": name, "label": name, "recipe": name} for name in RECIPES],
        "columns": ["ac"],
    }
    (folder / "config/experiments/memo/recipes.yaml").write_text(yaml.safe_dump(experiment))
    return Workbench(folder)


def chain(bench: Workbench, scale: str, recipe: str, table: str = "memo/recipes") -> dict[str, Run]:
    """The runs that the row of a recipe needs, by role."""
    row = next(row for row in bench.find_table(scale, table).rows if row.key == recipe)
    predict = row.runs[0].predict
    return {run.role: run for run in [*predict.upstream(), predict]}


def settings(run: Run) -> dict[str, Any]:
    return run.settings


@pytest.mark.parametrize(("recipe", "role"), RELEASED)
def test_the_released_schedules(bench: Workbench, recipe: str, role: str) -> None:
    crop, batch, accumulate, rate, steps, ema_start = RELEASED[recipe, role]
    chosen = settings(chain(bench, "paper", recipe)[role])
    assert chosen["crop"] == crop
    assert (chosen["batch"], chosen["accumulate"]) == (batch, 2 * accumulate)
    assert (chosen["learning_rate"], chosen["schedule"], chosen["weight_decay"]) == (rate, "constant", 0.01)
    assert (chosen["steps"], chosen["ema_decay"], chosen["ema_start"]) == (steps, 0.99, ema_start)
    assert chosen["gradient_clip"] is None
    assert chosen["precision"] == "fp32"
    assert (chosen["loss"], chosen["mask"], chosen["mask_ratio"], chosen["image_drop"]) == (
        "released",
        "bernoulli",
        "uniform",
        0.1,
    )
    assert (chosen["full_mask_share"], chosen["warm_start_steps"]) == (0, 0)
    assert chosen["crop_rule"] == "released"
    assert chosen["lora_rank"] == (8 if role == "finetune" else None)


def test_augmentations_of_the_three_data_sets(bench: Workbench) -> None:
    keys = ("drop_first", "vertical_flip", "rotate", "crest_labels")
    synthetic = settings(chain(bench, "paper", "memo_bsds")["pretrain"])
    bsds = settings(chain(bench, "paper", "memo_bsds")["finetune"])
    assert [synthetic[key] for key in keys] == [False, True, "sample", False]
    assert [bsds[key] for key in keys] == [True, False, "none", False]
    for recipe in ("memo_biped", "memo_biped_tiny"):
        biped = settings(chain(bench, "paper", recipe)["finetune"])
        assert [biped[key] for key in keys] == [False, True, "batch", True]
        assert (biped["dataset"], biped["split"]) == ("bipedv2", "train")


@pytest.mark.parametrize("scale", SCALES)
def test_equal_trainings_stand_once(bench: Workbench, scale: str) -> None:
    chains = {recipe: chain(bench, scale, recipe) for recipe in RECIPES}
    assert chains["memo_biped"]["pretrain"].id == chains["memo_bsds_late"]["pretrain"].id
    assert chains["memo_biped_tiny"]["pretrain"].id == chains["memo_tiny"]["pretrain"].id
    assert chains["memo_bsds"]["pretrain"].id != chains["memo_bsds_late"]["pretrain"].id
    assert chains["memo_biped"]["predict"].settings["dataset"] == chains["memo_biped"]["finetune"].settings["dataset"]
    assert "finetune" not in chains["memo_tiny"]
    late, early = (settings(chains[name]["pretrain"])["steps"] for name in ("memo_bsds_late", "memo_bsds"))
    assert late == 3.5 * early


@pytest.mark.parametrize("scale", SCALES)
def test_training_on_real_data_alone_needs_no_other(bench: Workbench, scale: str) -> None:
    real = chain(bench, scale, "memo_bsds_real")
    assert set(real) <= {"fetch", "finetune", "predict"}
    assert settings(real["finetune"])["lora_rank"] is None
    both = chain(bench, scale, "memo_bsds")
    steps = [settings(both[role])["steps"] for role in ("pretrain", "finetune")]
    assert settings(real["finetune"])["steps"] == sum(steps)


def test_rows_of_the_training_data(bench: Workbench) -> None:
    table = "memo/ablation_training_data"
    early, late = (chain(bench, "demo", f"synthetic_{each}", table) for each in ("early", "late"))
    both = chain(bench, "demo", "both_late", table)
    assert "finetune" not in early
    assert both["pretrain"].id == late["pretrain"].id != early["pretrain"].id


@pytest.mark.parametrize(("scale", "trainings"), [("demo", 1), ("mini", 2), ("paper", 2)])
def test_the_encoder_counts_where_there_is_one(bench: Workbench, scale: str, trainings: int) -> None:
    rows = bench.find_table(scale, "memo/ablation_dino").rows
    pretrained = {chain(bench, scale, row.key, "memo/ablation_dino")["pretrain"].id for row in rows}
    assert len(pretrained) == trainings


def test_adapters_of_every_rank_and_none(bench: Workbench) -> None:
    table = bench.find_table("paper", "memo/ablation_lora_rank")
    tuned = [chain(bench, "paper", row.key, table.name)["finetune"] for row in table.rows]
    assert [settings(run)["lora_rank"] for run in tuned] == [2, 8, 32, None]
    assert tuned[1].id == chain(bench, "paper", "memo_bsds")["finetune"].id


def test_released_weights_stand_for_what_the_authors_trained(bench: Workbench) -> None:
    pulled = Workbench(bench.root, {"checkpoints": "pull"})
    expected = {
        "memo_bsds": "memo_bsds_early",
        "memo_bsds_late": "memo_bsds_late",
        "memo_bsds_real": None,
        "memo_tiny": "memo_laion_tiny",
        "memo_biped": "memo_biped_late",
        "memo_biped_tiny": "memo_biped_tiny",
    }
    for recipe, checkpoint in expected.items():
        predict = (
            next(row for row in pulled.find_table("paper", "memo/recipes").rows if row.key == recipe).runs[0].predict
        )
        weights = predict.inputs["weights"]
        assert (weights.role == "released") == (checkpoint is not None), recipe
        if checkpoint:
            assert checkpoint in weights.name
    for table in ("memo/ablation_loss", "memo/ablation_lora_rank"):
        for row in pulled.find_table("paper", table).rows:
            released = row.runs[0].predict.inputs["weights"].role == "released"
            assert released == (row.key in ("released", "rank8")), row.key


def test_only_the_data_sets_that_a_table_uses_are_said_to_be_replaced(bench: Workbench) -> None:
    for scale, expected in (("demo", {"laion": "scenes_photos", "bsds500": "scenes"}), ("mini", {"laion": "bsds500"})):
        assert bench.find_table(scale, "memo/ablation_loss").spec()["stand_ins"] == expected
        assert "bipedv2" in bench.find_table(scale, "memo/recipes").spec()["stand_ins"]
