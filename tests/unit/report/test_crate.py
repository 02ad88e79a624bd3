"""RO-Crates of finished tables: they load again, name what they lack, and keep the profiles' rules."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from rocrate.rocrate import ROCrate

from edgebench.errors import ConfigError, DataError
from edgebench.files import sha256_file, write_json, write_text
from edgebench.plan.freshness import PNG_KEY
from edgebench.plan.tables import Table, runs_of
from edgebench.plan.workbench import Workbench
from edgebench.report.crate import PROFILE_VERSION, PROFILES, write_crate
from edgebench.report.lineage import finished_runs
from tests.unit.cli.helpers import run as command
from tests.unit.report.test_status import finish_all


@pytest.fixture(scope="module")
def table(root: Path) -> Table:
    return Workbench(root, {"scale": "demo"}).plan("demo").table("memo/guidance")


@pytest.fixture
def repository(tmp_path: Path, root: Path, table: Table) -> Path:
    return with_finished(tmp_path / "repository", root, table)


def with_finished(folder: Path, root: Path, table: Table) -> Path:
    """A copy of the repository in which everything of a table is finished."""
    for name in ("config", "workflow", "envs"):
        shutil.copytree(root / name, folder / name)
    shutil.copy(root / "Snakefile", folder)
    finish_all(folder, table)
    for run in runs_of([table]):
        record = json.loads((folder / run.record).read_text())
        write_json(folder / run.record, record | {"start": "2026-01-02T03:04:05+00:00", "seconds": 65.0})
        if run.stage == "fetch":
            write_text(folder / run.folder / "images/photo.png", "not ours to give")
    write_text(folder / table.files[0].replace(".csv", ".claims.csv"), "claim")
    return folder


def made(repository: Path, table: Table, **options: Any) -> dict[str, dict[str, Any]]:
    """The entities of a crate by id, and the crate itself under `repository/../crate`."""
    output = write_crate(repository, table, finished_runs(repository), repository.parent / "crate", **options)
    graph = json.loads((output / "ro-crate-metadata.json").read_text())["@graph"]
    return {each["@id"]: each for each in graph}


def ids(value: Any) -> list[str]:
    return [each["@id"] for each in (value if isinstance(value, list) else [value] if value else [])]


def kinds(entity: dict[str, Any]) -> list[str]:
    return entity["@type"] if isinstance(entity["@type"], list) else [entity["@type"]]


def of_kind(entities: dict[str, dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in entities.values() if kind in kinds(each)]


class TestProfile:
    def test_the_root_names_its_profiles_and_the_workflow(self, repository: Path, table: Table) -> None:
        entities = made(repository, table, author="Ada")
        top = entities["./"]
        expected = {f"https://w3id.org/ro/wfrun/{name}/{PROFILE_VERSION}" for name in PROFILES}
        assert expected <= set(ids(top["conformsTo"]))
        for key in ("name", "description", "license", "datePublished", "creator"):
            assert top[key]
        assert "not comparable" in top["description"]
        workflow = entities[top["mainEntity"]["@id"]]
        assert {"File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"} == set(kinds(workflow))
        assert entities[workflow["programmingLanguage"]["@id"]]["name"] == "Snakemake"

    def test_every_name_leads_somewhere(self, repository: Path, table: Table) -> None:
        entities = made(repository, table)
        folder = repository.parent / "crate"

        def referred(value: Any) -> list[str]:
            if isinstance(value, dict):
                return (
                    [value["@id"]]
                    if set(value) == {"@id"}
                    else [id for each in value.values() for id in referred(each)]
                )
            return [id for each in value for id in referred(each)] if isinstance(value, list) else []

        for id in {id for each in entities.values() for id in referred(list(each.values()))}:
            assert id in entities or id.startswith("https://"), id
        for id, each in entities.items():
            local = {"File", "Dataset"} & set(kinds(each)) and not id.startswith(("#", "ni:"))
            assert not local or (folder / id).exists(), id

    def test_an_action_for_each_run(self, repository: Path, table: Table) -> None:
        entities = made(repository, table, author="Ada")
        top = entities["./"]
        actions = {each["@id"]: each for each in of_kind(entities, "CreateAction")}
        assert set(actions) == {"#workflow-run", "#table", *(f"#run-{run.id}" for run in runs_of([table]))}
        assert set(ids(top["mentions"])) == set(actions)
        for action in actions.values():
            assert ids(action["result"])
            assert action["instrument"]["@id"] in entities
            assert entities[action["agent"]["@id"]]["name"] == "Ada"
        assert actions["#workflow-run"]["instrument"] == top["mainEntity"]
        assert actions["#workflow-run"]["startTime"] == "2026-01-02T03:04:05+00:00"
        assert actions["#workflow-run"]["endTime"] == "2026-01-02T03:05:10+00:00"

    def test_runs_take_what_others_made_and_their_settings(self, repository: Path, table: Table) -> None:
        entities = made(repository, table)
        run = next(run for run in runs_of([table]) if run.role == "finetune")
        start = run.inputs["start"]
        action = entities[f"#run-{run.id}"]
        results = ids(entities[f"#run-{start.id}"]["result"])
        assert set(results) <= set(ids(action["object"]))
        values = [entities[id] for id in ids(action["object"]) if "PropertyValue" in kinds(entities[id])]
        assert {each["name"]: each["value"] for each in values}["steps"] == str(run.settings["steps"])

    def test_the_engine_and_its_steps(self, repository: Path, table: Table) -> None:
        entities = made(repository, table)
        (engine,) = of_kind(entities, "OrganizeAction")
        assert entities[engine["instrument"]["@id"]]["name"] == "Snakemake"
        assert engine["result"]["@id"] == "#workflow-run"
        controls = [entities[id] for id in ids(engine["object"])]
        steps = {id: entities[id] for id in ids(entities["Snakefile"]["step"])}
        assert {each["object"]["@id"] for each in controls} == {
            each["@id"] for each in of_kind(entities, "CreateAction") if each["@id"] != "#workflow-run"
        }
        for control in controls:
            step = steps[control["instrument"]["@id"]]
            assert step["workExample"] == entities[control["object"]["@id"]]["instrument"]

    @pytest.mark.filterwarnings("error")
    def test_it_loads_again(self, repository: Path, table: Table) -> None:
        made(repository, table)
        crate = ROCrate(repository.parent / "crate")
        assert crate.mainEntity.id == "Snakefile"
        crate.write(repository.parent / "again")
        assert (repository.parent / "again" / table.files[0]).is_file()
        assert len(crate.get_by_type("CreateAction")) == len(runs_of([table])) + 2


class TestContent:
    def test_files_are_those_of_the_repository(self, repository: Path, table: Table) -> None:
        entities = made(repository, table)
        folder = repository.parent / "crate"
        copied = [each for each in of_kind(entities, "File") if "sha256" in each and not each["@id"].startswith("ni:")]
        for each in copied:
            assert sha256_file(folder / each["@id"]) == sha256_file(repository / each["@id"]) == each["sha256"]
        names = {each["@id"] for each in copied}
        assert {*table.files, *table.figure_files, *(run.record for run in runs_of([table]))} <= names
        assert table.files[0].replace(".csv", ".claims.csv") in names
        assert "config/experiments/memo/guidance.yaml" in names

    def test_what_is_large_is_named_by_its_digest(self, repository: Path, table: Table) -> None:
        entities = made(repository, table)
        run = next(run for run in runs_of([table]) if run.role == "finetune")
        weights = f"{run.folder}/weights.safetensors"
        (named,) = [each for id, each in entities.items() if id.startswith("ni:") and id.endswith(weights)]
        assert named["sha256"] == sha256_file(repository / weights)
        encoded = named["@id"].partition(";")[2].partition("?")[0]
        assert base64.urlsafe_b64decode(encoded + "=").hex() == named["sha256"]
        assert named["contentSize"] == str((repository / weights).stat().st_size)
        assert not (repository.parent / "crate" / weights).exists()

    def test_data_sets_are_never_given_away(self, repository: Path, table: Table) -> None:
        entities = made(repository, table, full=True)
        crate = repository.parent / "crate"
        run = next(run for run in runs_of([table]) if run.role == "finetune")
        assert (crate / run.folder / "weights.safetensors").is_file()
        assert not [id for id in entities if id.startswith("ni:")]
        assert set(ids(entities["./"]["hasPart"])) <= set(entities)
        assert not list(crate.rglob("photo.png"))
        assert entities["#data-scenes"]["usageInfo"] == "Licence: Apache-2.0"

    def test_nor_is_what_keeps_them_in_another_form(self, tmp_path: Path, root: Path) -> None:
        table = Workbench(root, {"scale": "demo"}).plan("demo").table("diffdis/vae_reconstruction")
        (run,) = [run for run in runs_of([table]) if run.role == "skeletons"]
        repository = with_finished(tmp_path / "repository", root, table)
        write_text(repository / run.folder / "lengths.csv", "of the true masks")
        entities = made(repository, table, full=True)
        crate = tmp_path / "crate"
        assert [path.name for path in (crate / run.folder).rglob("*")] == ["run.json"]
        absent = [id for id in entities if id.startswith("ni:")]
        assert sorted(id.rpartition("/")[2] or "skeletons" for id in absent) == ["lengths.csv", "skeletons"]
        (other,) = [run for run in table.predictions if run.stage == "predict"]
        assert list((crate / other.folder).rglob("a.png"))

    def test_an_archive(self, repository: Path, table: Table) -> None:
        output = write_crate(repository, table, finished_runs(repository), repository.parent / "crate.zip")
        with ZipFile(output) as archive:
            assert {"ro-crate-metadata.json", "Snakefile", table.files[0]} <= set(archive.namelist())
        assert sorted(path.name for path in repository.parent.iterdir()) == ["crate.zip", "repository"]


class TestRefusals:
    def test_what_is_there_is_not_written_over(self, repository: Path, table: Table) -> None:
        write_text(repository.parent / "crate/mine", "")
        with pytest.raises(ConfigError, match="exists already"):
            made(repository, table)
        assert (repository.parent / "crate/mine").is_file()

    def test_an_unfinished_run(self, repository: Path, table: Table) -> None:
        (repository / table.evaluations[0].record).unlink()
        with pytest.raises(DataError, match=f"is not finished.*snakemake --cores 1 {table.files[0]}"):
            made(repository, table)

    def test_a_table_that_shows_something_else(self, repository: Path, table: Table) -> None:
        write_text(repository / table.figure_files[0], f"\x89PNG{PNG_KEY}\0{'0' * 10}")
        with pytest.raises(DataError, match="shows something else than planned"):
            made(repository, table)

    def test_on_the_command_line(self, repository: Path) -> None:
        arguments = ["crate", "memo/guidance", "--author", "Ada", "-o", "crate.zip", "--scale"]
        assert "crate.zip: written" in command(repository, *arguments, "demo")
        assert "Did you mean 'demo'?" in command(repository, *arguments, "dem", code=2)
        assert "exists already" in command(repository, *arguments, "demo", code=2)
