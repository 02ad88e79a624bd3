"""Every table of the papers is an experiment that can be planned at every scale."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from edgebench.errors import ConfigError
from edgebench.plan.definitions import Protocol, StandIn
from edgebench.plan.reading import read_yaml, validate
from edgebench.plan.workbench import Workbench

PAPERS = ["memo", "diffdis", "trace"]


@pytest.fixture(scope="module")
def bench(root: Path) -> Workbench:
    return Workbench(root)


@pytest.mark.parametrize("scale", ["demo", "mini", "paper"])
def test_every_experiment_is_planned(bench: Workbench, scale: str) -> None:
    plan = bench.plan(scale)
    assert set(plan.tables) == set(bench.names("experiments"))
    for table in plan.tables.values():
        for run in table.predictions:
            assert run.dataset is not None
            assert run.settings["split"] in {*run.dataset["images"], "trainval"}, (table.name, run.name)


def printed(root: Path, paper: str) -> list[dict[str, str]]:
    with open(root / "config/published" / f"{paper}.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("paper", PAPERS)
def test_every_printed_table_has_an_experiment(root: Path, bench: Workbench, paper: str) -> None:
    tables = {line["table"] for line in printed(root, paper)}
    shown = {bench.experiment(name).shows.table for name in bench.names("experiments") if name.startswith(paper)}
    assert tables <= shown


@pytest.mark.parametrize("paper", ["memo", "diffdis"])
def test_every_printed_number_stands_in_its_table(root: Path, bench: Workbench, paper: str) -> None:
    """Beside a reproduced row, or by itself where the table lists printed rows; qualitative rows hold no number."""
    tables = [bench.find_table("paper", name) for name in bench.names("experiments") if name.startswith(paper)]
    standing = {
        (table.experiment.shows.table, sections.get(row.group), metric, value)
        for table in tables
        for sections in [{group.key: group.printed for group in table.experiment.groups}]
        for row in table.rows
        for metric, value in row.published.items()
        if metric in table.experiment.columns
    }
    in_sections = {table.experiment.shows.table for table in tables if table.experiment.groups}
    for line in printed(root, paper):
        if line["value"]:
            dataset = line["dataset"] if line["table"] in in_sections else None
            assert (line["table"], dataset, line["metric"], float(line["value"])) in standing, line


def test_every_printed_number_of_trace_that_is_measured_stands_in_a_table(root: Path, bench: Workbench) -> None:
    """One printed table is shown in several; hours, memory, SSIM and differences alone are not measured."""
    tables = [bench.find_table("paper", name) for name in bench.names("experiments") if name.startswith("trace")]
    measured = {(table.experiment.shows.table, column) for table in tables for column in table.experiment.columns}
    standing = {
        (table.experiment.shows.table, metric, value)
        for table in tables
        for row in table.rows
        for metric, value in row.published.items()
        if metric in table.experiment.columns
    }
    lines = [line for line in printed(root, "trace") if (line["table"], line["metric"]) in measured]
    assert len(lines) > 450
    missing = [line for line in lines if (line["table"], line["metric"], float(line["value"])) not in standing]
    assert not missing


def test_every_doubt_about_a_printed_number_is_told(root: Path, bench: Workbench) -> None:
    remarks = {remark for paper in PAPERS for line in printed(root, paper) if line["value"]
               for remark in line["note"].split(" | ") if remark}  # fmt: skip
    tables = bench.plan("paper").tables.values()
    told = {remark for table in tables for row in table.rows for each in row.footnotes.values() for remark in each}
    assert told == remarks
    own = next(row for row in bench.find_table("paper", "diffdis/main_dis5k").rows if row.key == "vd/diffdis")
    assert [each.split(",")[0] for each in own.footnotes["adaptive_e"]] == [
        "The paper does not say which E: the adaptive one",
        "May include six averaged runs (two flips",
    ]


def test_a_table_names_the_stand_ins_of_its_own_data_sets(bench: Workbench) -> None:
    def stand_ins(scale: str, table: str) -> dict[str, str]:
        found: dict[str, str] = bench.find_table(scale, table).spec()["stand_ins"]
        return found

    assert stand_ins("demo", "memo/main_bsds") == {"laion": "scenes_photos", "bsds500": "scenes"}
    assert stand_ins("demo", "memo/multicue") == {"laion": "scenes_photos", "multicue": "scenes"}
    assert stand_ins("mini", "memo/uded") == {"laion": "bsds500"}
    assert stand_ins("paper", "memo/uded") == {}


def test_uded_changes_nothing_but_what_is_predicted(bench: Workbench) -> None:
    def runs(table: str) -> dict[str, str]:
        row = next(row for row in bench.find_table("paper", table).rows if row.key == "memo")
        predict = row.runs[0].predict
        return {run.role: run.id for run in [*predict.upstream(), predict] if run.stage in ("train", "predict")}

    bsds, uded = runs("memo/main_bsds"), runs("memo/uded")
    assert {role for role in bsds if bsds[role] != uded[role]} == {"predict"}


def test_perceptual_evaluations_need_their_networks(bench: Workbench) -> None:
    table = bench.find_table("mini", "memo/visual_similarity")
    by_protocol = next(row for row in table.rows if row.key == "memo").runs[0].evaluations
    inputs = {name: run.checkpoint["name"] for name, run in by_protocol["perceptual"].inputs.items() if run.checkpoint}
    assert inputs == {"inception": "inception_fid", "lpips": "lpips_alex"}
    assert by_protocol["perceptual"].id != by_protocol["perceptual_binary"].id
    assert set(by_protocol["crispness"].inputs) == {"dataset", "predictions"}


@pytest.mark.parametrize("change", [{"networks": {}}, {"networks": {"lpips": "lpips_alex"}}, {"method": "edges"}])
def test_networks_belong_to_perceptual_protocols(root: Path, change: dict[str, object]) -> None:
    content = read_yaml(root / "config/protocols/perceptual.yaml") | change
    with pytest.raises(ConfigError, match="needs 'networks'"):
        validate(Protocol, content, "here")


def test_stand_ins_may_name_splits_differently(bench: Workbench) -> None:
    demo = bench.scale("demo")
    assert demo.stand_in("multicue", "edges_test") == ("scenes", "test")
    assert demo.stand_in("uded", "test") == ("scenes", "test")
    assert StandIn(dataset="scenes", split={"a": "b"}).split == {"a": "b"}
    mini = bench.scale("mini")
    assert mini.stand_in("laion", "train") == ("bsds500", "trainval")
    assert mini.stand_in("uded", "test") == ("uded", "test")
