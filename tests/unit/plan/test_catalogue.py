"""What becomes of runs where some are shared."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from edgebench.errors import ConfigError
from edgebench.plan.catalogue import Artifact, outlook, read_catalogue
from edgebench.plan.methods import all_settings
from edgebench.plan.runs import Run
from edgebench.plan.workbench import Workbench

TABLE = "memo/main_bsds"


@pytest.fixture(scope="module")
def repository(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the definitions."""
    folder = tmp_path_factory.mktemp("catalogue")
    shutil.copytree(root / "config", folder / "config")
    return folder


def share(repository: Path, run: Run) -> None:
    """Put a run into the catalogue, as far as the plan reads it."""
    artifact = Artifact(run.role, run.name)
    for name in (artifact.manifest, artifact.pointer):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).touch()


def tuned(bench: Workbench) -> Run:
    """The training of MEMO's row."""
    rows = bench.find_table("demo", TABLE).rows
    return next(row for row in rows if row.key == "memo").runs[0].predict.inputs["weights"]


class TestOutlook:
    def test_what_is_shared_is_pulled_and_nothing_made_for_it(self, repository: Path, tmp_path: Path) -> None:
        bench = Workbench(repository)
        finetune = tuned(bench)
        shared = {finetune.folder: Artifact(finetune.role, finetune.name)}
        found = outlook([finetune], shared, "auto", tmp_path)
        assert (found.of("pull"), found.of("build")) == ([finetune], [])
        assert outlook([finetune], shared, "pull", tmp_path).states == found.states
        built = outlook([finetune], shared, "build", tmp_path)
        assert {run.role for run in built.of("build")} == {"finetune", "pretrain", "synthesise", "fetch"}

    def test_what_is_here_is_neither_pulled_nor_made(self, repository: Path, tmp_path: Path) -> None:
        finetune = tuned(Workbench(repository))
        (tmp_path / finetune.folder).mkdir(parents=True)
        (tmp_path / finetune.record).touch()
        assert outlook([finetune], {}, "pull", tmp_path).states == {finetune.id: "done"}

    def test_pull_refuses_trainings_but_converts_released_weights(self, repository: Path, tmp_path: Path) -> None:
        bench = Workbench(repository, {"checkpoints": "pull"})
        found = bench.outlook(bench.find_table("demo", TABLE).predictions, tmp_path)
        assert {run.role for run in found.of("refused")} == {"pretrain", "finetune"}  # of the one-shot network
        assert "released" in {run.role for run in found.of("build")}

    def test_a_refusal_names_the_training_and_what_to_type(self, repository: Path, tmp_path: Path) -> None:
        bench = Workbench(repository, {"checkpoints": "pull"})
        (refused,) = [run for run in bench.plan("demo").runs.values() if run.label.startswith("memo-scenes-small-one")]
        with pytest.raises(ConfigError, match=rf"{refused.folder}.*--config checkpoints=auto"):
            bench.require_trained([refused])
        Workbench(repository).require_trained([refused])


class TestCatalogue:
    def test_is_looked_at_unless_everything_is_built(self, repository: Path, tmp_path: Path) -> None:
        shutil.copytree(repository, tmp_path / "copy")
        finetune = tuned(Workbench(repository))
        share(tmp_path / "copy", finetune)
        (tmp_path / "copy" / "artifacts" / "finetune" / "half-0123456789.tar.dvc").touch()  # no manifest
        assert list(read_catalogue(tmp_path / "copy")) == [finetune.folder]
        automatic = Workbench(tmp_path / "copy", {"checkpoints": "auto"})
        assert re.fullmatch(automatic.pulled(), finetune.name)
        assert not re.fullmatch(Workbench(tmp_path / "copy").pulled(), finetune.name)

    def test_auto_changes_no_identity(self, repository: Path) -> None:
        built, automatic = (Workbench(repository, {"checkpoints": each}).plan("demo") for each in ("build", "auto"))
        assert list(built.runs) == list(automatic.runs)


class TestWhatTablesOpen:
    def test_weights_for_their_parameters_but_no_data(self, repository: Path) -> None:
        table = Workbench(repository).find_table("demo", TABLE)
        stages = {run.stage for run in table.reads()}
        assert stages == {"train", "predict", "evaluate"}
        assert {run.role for run in table.reads() if run.stage == "train"} == {"finetune"}

    def test_pictures_need_the_data(self, repository: Path) -> None:
        table = Workbench(repository).find_table("demo", TABLE)
        assert "fetch" in {run.stage for run in table.reads("image_grid")}
        assert "fetch" not in {run.stage for run in table.reads("precision_recall")}


def test_copies_of_what_belongs_to_others_are_marked() -> None:
    copies = {method for (_, method), model in all_settings().items() if model.COPIES}
    expected = {"true_masks", "true_semantic", "mask_contours", "mask_skeletons", "memo_released", "diffdis_released"}
    assert copies == expected
