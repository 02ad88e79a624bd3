"""Model cards say what the records say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from edgebench.errors import DataError
from edgebench.files import sha256_file, write_json
from edgebench.plan.tables import Plan, Table, runs_of
from edgebench.plan.workbench import Workbench
from edgebench.report.card import model_card
from edgebench.report.lineage import find_finished, finished_runs, upstream
from tests.unit.cli.helpers import run as command
from tests.unit.report.test_status import finish


@pytest.fixture(scope="module")
def table(root: Path) -> Table:
    plan: Plan = Workbench(root, {"scale": "demo"}).plan("demo")
    return plan.table("memo/guidance")


@pytest.fixture
def repository(tmp_path: Path, root: Path, table: Table) -> Path:
    """Finished runs of a table beside the definitions; every evaluation gave numbers."""
    shutil.copytree(root / "config", tmp_path / "config")
    shutil.copy(root / "CITATION.cff", tmp_path)
    for number, run in enumerate(runs_of([table])):
        place = finish(tmp_path, run, start="2026-01-02T03:04:05+00:00", seconds=5400, gpu_seconds=7200)
        if run.stage == "evaluate":
            name = (run.protocol or {})["columns"] + "_ods"
            write_json(place / "scores.json", {"columns": {name: 0.5 + number / 1000}, "n_images": 24})
    return tmp_path


def card_of(repository: Path, role: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    runs = finished_runs(repository)
    run = next(each for each in runs.values() if each.record["role"] == role)
    text = model_card(run.record | changes, runs, Workbench(repository), repository / run.folder)
    return text, run.record


def metadata(text: str) -> Any:
    """What the hub reads of a card."""
    return ModelCard(text).data


class TestCard:
    def test_carries_the_numbers_of_the_evaluations_that_used_the_weights(self, repository: Path, table: Table) -> None:
        text, record = card_of(repository, "finetune")
        found = {(each.metric_config, each.metric_value) for each in metadata(text).eval_results or []}
        used = [run for run in table.evaluations if run.inputs["predictions"].inputs["weights"].id == record["id"]]
        assert used
        expected = set()
        for run in used:
            scores = json.loads((repository / run.folder / "scores.json").read_text())
            expected |= {(f"run {run.id}, 24 images", value) for value in scores["columns"].values()}
        assert found == expected
        for _, value in expected:
            assert f"{value:.3f}" in text

    def test_numbers_of_what_was_predicted_from_its_predictions_count(self, repository: Path, root: Path) -> None:
        trace = Workbench(root, {"scale": "demo"}).plan("demo").table("trace/components")
        for number, run in enumerate(runs_of([trace])):
            place = finish(repository, run)
            if run.stage == "evaluate":
                write_json(place / "scores.json", {"columns": {"ap": number / 1000}, "n_images": 24})
        edges = {run.id: run.inputs["predictions"].inputs.get("edges") for run in trace.evaluations}
        used = {
            "distill": {id for id, run in edges.items() if run and "weights" in run.inputs},
            "pretrain": {id for id, run in edges.items() if run},  # the network that `distill` adapts
        }
        assert 0 < len(used["distill"]) < len(used["pretrain"]) < len(edges)
        for method, role in (("trace", "distill"), ("trace_backbone", "pretrain")):
            runs = finished_runs(repository)
            (record,) = [
                each.record
                for each in runs.values()
                if each.record["settings"].get("method") == method and each.record["stage"] == "train"
            ]
            text = model_card(record, runs, Workbench(repository))
            assert {(each.metric_config or "")[4:14] for each in metadata(text).eval_results or []} == used[role]

    def test_says_what_made_the_weights(self, repository: Path) -> None:
        text, record = card_of(repository, "finetune")
        weights = repository / f"results/runs/finetune/{record['label']}-{record['id']}/weights.safetensors"
        for words in (
            f"finetune/{record['label']}-{record['id']}",
            "1.50 hours, 2.00 GPU-hours, begun 2026-01-02T03:04:05+00:00",
            f"| steps | {record['settings']['steps']} |",
            sha256_file(weights),
            "edgebench predict memo PHOTO --weights weights.safetensors -o edges",
            "Trained at scale 'demo'",
            "Cheng, Wu, Zhou. MEMO. CVPR 2026",
            "mask_edges-scenes_photos",
        ):
            assert words in text

    def test_inherits_the_terms_of_its_data(self, repository: Path) -> None:
        assert metadata(card_of(repository, "finetune")[0]).license == "apache-2.0"
        path = repository / "config/datasets/scenes.yaml"
        content = yaml.safe_load(path.read_text()) | {"licence": "Ask first", "terms": "Only on Mondays."}
        path.write_text(yaml.safe_dump(content))
        text, _ = card_of(repository, "finetune")
        data = metadata(text)
        assert (data.license, data.license_link) == ("other", "#terms")
        assert data.datasets == ["scenes", "scenes_photos"]
        assert "Licence: Ask first. Only on Mondays." in text

    def test_names_the_models_that_training_began_from(self, repository: Path) -> None:
        runs = finished_runs(repository)
        bench = Workbench(repository)
        fetched = finish(repository, bench.checkpoint_run("dinov2_with_registers_base"))
        other = finish(repository, bench.checkpoint_run("sam_vit_base"))
        synthesise = next(each for each in runs.values() if each.record["role"] == "synthesise")
        path = repository / synthesise.folder / "run.json"
        write_json(path, synthesise.record | {"inputs": synthesise.record["inputs"] | {"sam": other.name[-10:]}})
        inputs = card_of(repository, "finetune")[1]["inputs"] | {"dino_weights": fetched.name[-10:]}
        text, _ = card_of(repository, "finetune", inputs=inputs)
        assert metadata(text).base_model == ["facebook/dinov2-with-registers-base"]
        assert "sam_vit_base" in text  # its terms count, though no training began from it

    def test_a_card_at_the_papers_scale_warns_of_nothing(self, repository: Path) -> None:
        assert "Trained at scale" not in card_of(repository, "finetune", scale="paper")[0]

    def test_definitions_that_are_gone_are_said_to_be(self, repository: Path) -> None:
        (repository / "config/datasets/scenes.yaml").unlink()
        assert "Licence: not known any more" in card_of(repository, "finetune")[0]

    def test_only_trainings_have_one(self, repository: Path) -> None:
        with pytest.raises(DataError, match="only trainings have model cards"):
            card_of(repository, "predict")

    def test_on_the_command_line(self, repository: Path) -> None:
        training = next(repository.glob("results/runs/finetune/*"))
        for name in (training.relative_to(repository).as_posix(), training.name, training.name[-10:]):
            command(repository, "card", name, "-o", "README.md")
            assert metadata((repository / "README.md").read_text()).library_name == "edgebench"
        assert command(repository, "card", training.name) == (repository / "README.md").read_text()
        assert f"Did you mean '{training.name}'?" in command(repository, "card", f"{training.name[:-1]}x", code=2)


def test_what_a_run_was_made_from(repository: Path, table: Table) -> None:
    run, runs = find_finished(repository, table.evaluations[0].id)
    found = [each.record["id"] for each in upstream(run.record, runs)]
    assert sorted(found) == sorted(each.id for each in table.evaluations[0].upstream())
    assert found[0] in run.record["inputs"].values()
