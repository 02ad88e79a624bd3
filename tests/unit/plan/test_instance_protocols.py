"""Protocols of instances, panoptic segmentations and the edges between them in the plan."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from edgebench.errors import ConfigError
from edgebench.plan.chains import LARGE_SET, SCORES
from edgebench.plan.definitions import Protocol
from edgebench.plan.experiments import COLUMNS_OF, TableMaker
from edgebench.plan.methods.baselines import SobelPredict
from edgebench.plan.runs import EVALUATE_VERSION
from edgebench.plan.tables import Table
from edgebench.plan.workbench import Workbench

NAMES = (
    "instances",
    "instances_per_class",
    "instances_problem_a",
    "instances_problem_b",
    "panoptic",
    "instance_edges",
    "instance_outlines",
)


def test_the_protocols_of_one_table_give_columns_of_their_own(root: Path) -> None:
    protocols = [Workbench(root).protocol(name) for name in NAMES]
    columns = [
        f"{protocol.columns}_{each}".strip("_") for protocol in protocols for each in COLUMNS_OF[protocol.method]
    ]
    assert len(set(columns)) == len(columns)
    assert {"ap", "ar100", "class_ap", "adjacent_ap", "apart_ar100", "pq", "pq_things", "edge_ods"} <= set(columns)
    assert {protocol.method for protocol in protocols} <= EVALUATE_VERSION.keys()


def test_the_two_problems_part_the_images(root: Path) -> None:
    bench = Workbench(root)
    first, second = bench.protocol("instances_problem_a"), bench.protocol("instances_problem_b")
    assert (first.images, second.images) == ("adjacent", "apart")
    assert first.reach == second.reach == 2


def test_only_fields_of_the_method_are_part_of_a_protocol(root: Path) -> None:
    bench = Workbench(root)
    named = {"name", "title", "method", "columns"}
    assert set(bench.protocol("panoptic").content()) == named
    assert set(bench.protocol("instances").content()) == named | {"per_class", "images"}
    assert set(bench.protocol("instances_problem_a").content()) == named | {"per_class", "images", "reach"}
    edges = {"nms", "thin", "max_distance", "thresholds", "void", "truth"}
    assert set(bench.protocol("instance_edges").content()) == named | edges
    # The content that the ids of earlier runs were made of.
    older = named | {"nms", "thin", "max_distance", "thresholds", "map", "networks"}
    assert set(bench.protocol("bsds_ceval").content()) == older
    assert bench.protocol("bsds_ceval").content()["nms"] is None


@pytest.mark.parametrize("wrong", [{"method": "edges", "void": True}, {"method": "panoptic", "per_class": True}])
def test_a_field_of_another_method_is_an_error(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="belongs to method"):
        Protocol.model_validate({"name": "p", "title": "", "columns": "", **wrong})


def test_reach_without_a_choice_of_images_is_an_error() -> None:
    with pytest.raises(ValidationError, match="means nothing"):
        Protocol(name="p", title="", method="instances", columns="", reach=5)


@pytest.fixture
def plan(tmp_path: Path, root: Path) -> Callable[..., Table]:
    """Plans a table of Sobel's maps under the protocols given."""
    shutil.copytree(root / "config", tmp_path / "config")
    (tmp_path / "config/experiments/trace").mkdir(exist_ok=True)

    def make(*protocols: str, scale: str = "demo", **more: object) -> Table:
        columns = [
            f"{each.columns}_{COLUMNS_OF[each.method][0]}".strip("_")
            for each in map(Workbench(root).protocol, protocols)
        ]
        experiment = {
            "title": "Scored",
            "shows": {"paper": "trace"},
            "recipe": "sobel_bsds",
            "protocol": list(protocols),
            "columns": columns,
            "rows": [{"key": "sobel", "label": "Sobel"}],
            **more,
        }
        (tmp_path / "config/experiments/trace/scored.yaml").write_text(yaml.safe_dump(experiment))
        bench = Workbench(tmp_path)
        return TableMaker(bench, "trace/scored", scale, bench.scale(scale)).table()

    return make


def test_a_protocol_of_instances_refuses_maps(plan: Callable[..., Table]) -> None:
    for name in ("instances", "panoptic"):
        with pytest.raises(ConfigError, match=f"scores {name}, but run 'predict' of method 'sobel' writes maps"):
            plan(name)


def test_a_protocol_of_maps_refuses_instances(plan: Callable[..., Table], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SobelPredict, "WRITES", "instances")
    assert len(plan("instances", "instances_problem_a").evaluations) == 2
    for name in ("crispness", "instance_edges", "bsds_seval"):
        with pytest.raises(ConfigError, match="scores maps, but run 'predict' of method 'sobel' writes instances"):
            plan(name)


def test_what_can_be_scored_is_what_can_be_written() -> None:
    assert set(SCORES) <= set(COLUMNS_OF)


def test_matching_edges_of_a_large_set_takes_several_cores(plan: Callable[..., Table]) -> None:
    run = plan("instance_edges", scale="paper", runs={"predict": {"limit": None}}).evaluations[0]
    assert run.dataset is not None
    assert run.dataset["images"]["test"] == LARGE_SET
    assert run.resources["cpus"] == 1
    assert run.resources["minutes"] == pytest.approx(2 + LARGE_SET / 60)


def test_the_tolerance_is_the_data_set_s_own_unless_the_protocol_says(
    plan: Callable[..., Table], tmp_path: Path
) -> None:
    def tolerance() -> float:
        protocol = plan("instance_edges", scale="demo").evaluations[0].protocol
        assert protocol is not None
        return float(protocol["max_distance"])

    assert tolerance() == Workbench(tmp_path).dataset("scenes").edge_tolerance
    path = tmp_path / "config/protocols/instance_edges.yaml"
    path.write_text(path.read_text() + "max_distance: 0.03\n")
    assert tolerance() == 0.03
