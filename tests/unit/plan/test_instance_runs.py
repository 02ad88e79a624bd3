"""Runs of instances in the plan: what they may be made from, and what makes them another run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from edgebench.errors import ConfigError
from edgebench.plan.experiments import TableMaker
from edgebench.plan.methods import all_settings
from edgebench.plan.methods.instances import BroughtInstances, FelzenszwalbMasks, TraceRefine
from edgebench.plan.runs import Run
from edgebench.plan.workbench import Workbench

DATA = "scenes_coco"
COMMON = {"stage": "predict", "dataset": DATA, "split": "test"}


@pytest.fixture
def plan(tmp_path: Path, root: Path) -> Callable[..., Run]:
    """Plans masks, edges and their refinement; keywords change settings by run."""
    shutil.copytree(root / "config", tmp_path / "config")
    (tmp_path / "config/experiments/trace").mkdir(exist_ok=True)

    def make(evaluates: str = "refine", **changes: dict[str, Any]) -> Run:
        runs: dict[str, dict[str, Any]] = {
            "masks": {"method": "true_masks"},
            "edges": {"method": "canny"},
            "refine": {"method": "trace_refine", "masks": "masks", "edges": "edges"},
        }
        runs = {role: {**COMMON, **each, **changes.get(role, {})} for role, each in runs.items()}
        recipe = {"title": "Refined", "runs": runs, "evaluates": evaluates}
        (tmp_path / "config/recipes/refined.yaml").write_text(yaml.safe_dump(recipe))
        experiment = {
            "title": "Refined",
            "shows": {"paper": "trace"},
            "recipe": "refined",
            "protocol": ["instances"],
            "columns": ["ap"],
            "rows": [{"key": "one", "label": "One"}],
        }
        (tmp_path / "config/experiments/trace/refined.yaml").write_text(yaml.safe_dump(experiment))
        bench = Workbench(tmp_path)
        return TableMaker(bench, "trace/refined", "demo", bench.scale("demo")).table().rows[0].runs[0].predict

    return make


def test_refinement_needs_masks_and_edges_of_the_same_images(plan: Callable[..., Run]) -> None:
    run = plan()
    assert {name: each.settings["method"] for name, each in run.inputs.items() if name != "dataset"} == {
        "masks": "true_masks",
        "edges": "canny",
    }
    with pytest.raises(
        ConfigError, match=r"the masks of run 'refine' come from 'edges' of method 'canny', which writes"
    ):
        plan(refine={"masks": "edges"})
    with pytest.raises(ConfigError, match=r"which writes instances. Name a run that writes maps, of one of .*canny"):
        plan(refine={"edges": "masks"})
    with pytest.raises(ConfigError, match=f"works on {DATA}/test, but its edges come from {DATA}/train"):
        plan(edges={"split": "train"})
    with pytest.raises(ConfigError, match=r"works on all images, but its masks come from 'masks', which stops after 2"):
        plan(masks={"limit": 2}, edges={"limit": None}, refine={"limit": None})
    with pytest.raises(ConfigError, match=r"works on 3 images, but its masks"):
        plan(masks={"limit": 2}, refine={"limit": 3})
    assert plan(masks={"limit": 3}, refine={"limit": 2}).settings["limit"] == 2


def test_idle_settings_make_no_other_run(plan: Callable[..., Run]) -> None:
    assert plan().id == plan(refine={"stride": 4}).id
    assert plan().id != plan(refine={"stride": 2}).id
    assert plan(refine={"grid": 64}).id == plan(refine={"grid": 64, "stride": 2}).id
    only = {"order": "components_only"}
    assert plan(refine=only).id == plan(refine={**only, "steps": 9, "grid": 7, "beta": 2}).id
    assert plan(refine=only).id != plan(refine={**only, "edge_threshold": 0.4}).id
    only = {"order": "propagate_only"}
    assert plan(refine=only).id == plan(refine={**only, "edge_threshold": 0.4, "connectivity": 8, "smallest": 0.5}).id


def test_brought_files_are_part_of_the_identity(plan: Callable[..., Run], tmp_path: Path) -> None:
    file, folder = tmp_path / "mine.json", tmp_path / "mine"
    file.write_text("[]")
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.png").write_bytes(b"1")

    def planned(**named: str) -> str:
        return plan(masks={"method": "brought_instances", **named}).inputs["masks"].id

    by_file, by_folder = planned(file=str(file)), planned(folder=str(folder))
    both = planned(file=str(file), folder=str(folder))
    assert len({by_file, by_folder, both}) == 3
    assert planned(file=str(file)) == by_file
    file.write_text(json.dumps([{"image_id": 1}]))
    assert planned(file=str(file)) != by_file
    by_file = planned(file=str(file))
    (tmp_path / "mine_images.json").write_text("{}")  # which image is which: read beside the results
    assert planned(file=str(file)) != by_file
    (folder / "a" / "1.png").write_bytes(b"22")
    assert planned(folder=str(folder)) != by_folder
    (folder / "a" / "1.png").write_bytes(b"1")
    assert planned(folder=str(folder)) == by_folder
    (folder / "a" / "1.png").rename(folder / "a" / "2.png")
    assert planned(folder=str(folder)) != by_folder
    with pytest.raises(ConfigError, match="run 'masks': key 'file': there is no file"):
        planned(file=str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="run 'masks': key 'folder': there is no folder"):
        planned(folder=str(file))


def test_settings_that_do_not_go_together() -> None:
    common = {"stage": "predict", "dataset": "d"}
    with pytest.raises(ValidationError, match="needs a file, a folder, or both"):
        BroughtInstances.model_validate({**common, "method": "brought_instances"})
    with pytest.raises(ValidationError, match=r"smallest 0\.6 is above largest 0.5"):
        FelzenszwalbMasks.model_validate({**common, "method": "felzenszwalb_masks", "smallest": 0.6})
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        TraceRefine.model_validate({**common, "method": "trace_refine", "masks": "m", "edges": "e", "radius": 1})


def test_what_is_needed_is_named_by_a_field() -> None:
    for model in all_settings().values():
        assert set(model.NEEDS) <= set(model.model_fields)
        assert set(model.BRINGS) <= set(model.model_fields)


def test_the_images_that_canny_is_tuned_to_are_told_of(root: Path) -> None:
    bench = Workbench(root)
    table = bench.find_table("paper", "trace/instance_edges")
    tuned = [run.predict for row in table.rows for run in row.runs if run.predict.settings.get("tune_on")]
    assert tuned
    for run in tuned:
        data = bench.dataset(run.settings["dataset"])
        assert run.settings["tune_on"] in data.images or run.settings["tune_on"] in str(data.terms)
