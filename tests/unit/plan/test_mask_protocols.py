"""Protocols of masks in the plan."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from edgebench.errors import ConfigError
from edgebench.metrics.masks import METRICS
from edgebench.plan.chains import LARGE_SET
from edgebench.plan.definitions import Protocol
from edgebench.plan.experiments import COLUMNS_OF
from edgebench.plan.runs import Run
from edgebench.plan.tables import Table
from edgebench.plan.workbench import Workbench


def test_the_plan_knows_every_metric() -> None:
    assert tuple(COLUMNS_OF["masks"]) == METRICS


def test_both_protocols_are_defined_with_columns_of_their_own(root: Path) -> None:
    bench = Workbench(root)
    assert (bench.protocol("masks_diffdis").columns, bench.protocol("masks_diffdis").rule) == ("", "diffdis")
    assert (bench.protocol("masks_standard").columns, bench.protocol("masks_standard").rule) == ("standard", "standard")


def test_a_rule_belongs_to_masks_alone() -> None:
    with pytest.raises(ValidationError, match="needs 'rule'"):
        Protocol(name="p", title="", method="masks", columns="")
    with pytest.raises(ValidationError, match="needs 'rule'"):
        Protocol(name="p", title="", method="edges", columns="", rule="diffdis")


def test_fields_of_other_methods_are_no_part_of_a_protocol(root: Path) -> None:
    bench = Workbench(root)
    assert set(bench.protocol("masks_standard").content()) == {"name", "title", "method", "columns", "rule"}
    assert "rule" not in bench.protocol("bsds_seval").content()


@pytest.fixture
def repository(tmp_path: Path, root: Path) -> Path:
    """The definitions with one more experiment: two methods on one data set under both protocols of masks."""
    shutil.copytree(root / "config", tmp_path / "config")
    experiment = {
        "title": "Masks",
        "shows": {"paper": "diffdis"},
        "recipe": "sobel_bsds",
        "protocol": ["masks_diffdis", "masks_standard"],
        "columns": ["max_f", "hce", "iou", "standard_max_f", "standard_biou"],
        "rows": [
            {"key": "sobel", "label": "Sobel"},
            {"key": "canny", "label": "Canny", "recipe": "canny_bsds"},
            {"key": "val", "label": "Sobel", "set": {"predict.split": "val"}},
        ],
    }
    (tmp_path / "config/experiments/masks").mkdir()
    (tmp_path / "config/experiments/masks/both.yaml").write_text(yaml.safe_dump(experiment))
    return tmp_path


def skeletons(table: Table) -> list[Run]:
    return [each.inputs["skeletons"] for each in table.evaluations]


@pytest.mark.parametrize("scale", ["demo", "mini", "paper"])
def test_methods_and_protocols_share_the_skeletons_of_a_split(repository: Path, scale: str) -> None:
    table = Workbench(repository).plan(scale).tables["masks/both"]
    assert len(table.evaluations) == 6
    drawn = {run.id: run for run in skeletons(table)}
    splits = {run.settings["split"] for run in table.predictions}
    assert sorted(run.settings["split"] for run in drawn.values()) == sorted(splits)
    for run, predict in zip(skeletons(table)[::2], table.predictions, strict=True):
        assert {key: run.settings[key] for key in ("dataset", "split", "limit")} == {
            key: predict.settings[key] for key in ("dataset", "split", "limit")
        }
        assert run.inputs == {"dataset": predict.inputs["dataset"]}
        assert (run.stage, run.role, run.settings["method"]) == ("predict", "skeletons", "mask_skeletons")


def test_rules_and_commands_find_the_skeletons(repository: Path) -> None:
    bench = Workbench(repository)
    run = skeletons(bench.plan("demo").tables["masks/both"])[0]
    assert bench.find_run(run.name) == run
    assert run.id in bench.plan("demo").runs
    assert re.fullmatch(bench.roles("predict"), run.role)
    for stage in ("train", "evaluate", "fetch"):
        assert not re.fullmatch(bench.roles(stage), run.role)
    assert re.match(r"mask_skeletons-scenes-\w+-[0-9a-f]{10}$", run.name)


def test_skeletons_depend_on_the_masks_alone(repository: Path) -> None:
    def of(scale: str, **settings: object) -> set[str]:
        return {run.id for run in skeletons(Workbench(repository, {"set": settings}).plan(scale).tables["masks/both"])}

    before = of("paper")
    assert of("paper", **{"predict.resources": {"cpus": 8}}) == before
    assert of("paper", **{"predict.limit": 7}).isdisjoint(before)
    seeds = Workbench(repository, {"seeds": [0, 1]}).plan("paper").tables["masks/both"]
    assert {run.id for run in skeletons(seeds)} == before


def test_the_rule_counts_and_the_title_does_not(repository: Path) -> None:
    def of() -> dict[str, str]:
        table = Workbench(repository).plan("demo").tables["masks/both"]
        return {name: run.id for name, run in table.rows[0].runs[0].evaluations.items()}

    before = of()
    assert len(set(before.values())) == 2
    path = repository / "config/protocols/masks_diffdis.yaml"
    path.write_text(path.read_text().replace("title: Masks", "title: Other masks"))
    assert of() == before
    path.write_text(path.read_text().replace("rule: diffdis", "rule: standard"))
    assert of()["masks_standard"] == before["masks_standard"]
    assert of()["masks_diffdis"] != before["masks_diffdis"]


def test_large_sets_ask_for_cores_and_time(repository: Path) -> None:
    path = repository / "config/datasets/bsds500.yaml"
    definition = yaml.safe_load(path.read_text())
    definition["images"]["test"] = 2000
    path.write_text(yaml.safe_dump(definition))
    large, small = (
        next(each for each in Workbench(repository).plan("paper").tables["masks/both"].evaluations
             if each.settings["split"] == split).resources
        for split in ("test", "val")
    )  # fmt: skip
    assert (large["cpus"], small["cpus"]) == (4, 1)
    assert large["minutes"] > 10 > small["minutes"]
    assert definition["images"]["val"] <= LARGE_SET


def test_edges_are_scored_only_where_they_are_predicted(repository: Path) -> None:
    path = repository / "config/experiments/masks/both.yaml"
    experiment = yaml.safe_load(path.read_text())
    experiment |= {
        "recipe": "diffdis_dis5k",
        "protocol": ["mask_edges_diagnostic"],
        "columns": ["edge_mae", "edge_iou"],
    }
    experiment["rows"] = [{"key": "diffdis", "label": "DiffDIS", "set": {"predict.edges": True}}]
    path.write_text(yaml.safe_dump(experiment))
    (evaluation,) = Workbench(repository).plan("paper").tables["masks/both"].evaluations
    assert set(evaluation.inputs) == {"dataset", "predictions"}
    experiment["rows"][0]["set"] = {}
    path.write_text(yaml.safe_dump(experiment))
    with pytest.raises(ConfigError, match=r"mask_edges_diagnostic.*writes none\. Set predict\.edges: true"):
        Workbench(repository).plan("paper")
