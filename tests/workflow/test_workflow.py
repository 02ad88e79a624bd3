"""The rules on real, small runs: what they make, and what makes them run again."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import preset
from edgebench.plan.freshness import recorded_id
from edgebench.plan.workbench import Workbench
from tests.unit.methods.deepspeed import official_name, write_deepspeed
from tests.workflow.conftest import CLASSICAL, MASKS, TRAINED, Repository, clean_environment, copy_repository

EXPERIMENT = "config/experiments/memo/classical.yaml"
TABLE = "results/tables/demo/memo/classical"
FIGURE = "results/figures/demo/memo/classical"


class TestMaking:
    def test_a_table_in_every_format(self, finished: Repository) -> None:
        for suffix in ("csv", "md", "tex", "html", "json"):
            assert (finished.folder / f"{TABLE}.{suffix}").stat().st_size > 100
        assert "Sobel" in (finished.folder / f"{TABLE}.md").read_text()

    def test_figures_that_carry_their_identity(self, finished: Repository) -> None:
        spec = json.loads((finished.folder / f"{TABLE}.json").read_text())
        for name in CLASSICAL["figures"]:
            assert recorded_id(finished.folder / f"{FIGURE}-{name}.png") == spec["id"]

    def test_records_say_what_made_a_run(self, finished: Repository) -> None:
        records = [json.loads(path.read_text()) for path in finished.folder.glob("results/runs/*/*/run.json")]
        assert {record["stage"] for record in records} == {"fetch", "predict", "evaluate"}
        for record in records:
            assert record["seconds"] > 0
            assert record["n_images"] > 0
            assert re.fullmatch("[0-9a-f]{16}", record["code"]["fingerprint"])
            assert record["machine"]["cpu"]
            assert set(record["code"]["libraries"]) >= {"torch", "diffusers"}

    def test_logs_and_benchmarks(self, finished: Repository) -> None:
        runs = list(finished.folder.glob("results/runs/*/*/run.json"))
        assert len(list(finished.folder.glob("results/logs/*/*.log"))) == len(runs)
        assert len(list(finished.folder.glob("results/benchmarks/*/*.tsv"))) == len(runs)

    def test_a_second_call_has_nothing_to_do(self, finished: Repository) -> None:
        assert finished.planned("tables", "figures") == {}


class TestAgain:
    def test_time_stamps_and_a_missing_history_mean_nothing(self, changed: Repository) -> None:
        shutil.rmtree(changed.folder / ".snakemake")
        rng = random.Random(0)
        for path in sorted(changed.folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                os.utime(path, (age := time.time() + rng.uniform(-1e7, 1e7), age))
        assert changed.planned("tables", "figures") == {}

    def test_a_new_value_runs_itself_and_the_table(self, changed: Repository) -> None:
        changed.write(EXPERIMENT, CLASSICAL | {"matrix": {"predict.sigma": [1, 2, 3]}})
        expected = {"predict": 1, "evaluate": 2, "table": 1, "figure": 3}
        assert changed.planned("tables", "figures") == expected
        shutil.rmtree(changed.folder / ".snakemake")
        assert changed.planned("tables", "figures") == expected
        before = {path: path.stat().st_mtime_ns for path in changed.folder.glob("results/runs/*/*/run.json")}
        changed.snakemake("tables", "figures", "--quiet", "rules")
        assert changed.planned("tables", "figures") == {}
        assert "3" in (changed.folder / f"{TABLE}.md").read_text()
        assert all(path.stat().st_mtime_ns == age for path, age in before.items())

    def test_a_removed_value_makes_only_the_table_again(self, changed: Repository) -> None:
        changed.write(EXPERIMENT, CLASSICAL | {"matrix": {"predict.sigma": [2]}})
        assert changed.planned("tables", "figures") == {"table": 1, "figure": 3}

    def test_a_forced_run_leaves_nothing_old(self, changed: Repository) -> None:
        """What stands in a finished run's folder is not taken for the new result."""
        sobel = next(changed.folder.glob("results/runs/predict/sobel-*"))
        first, second, *_ = sorted((sobel / "maps").iterdir())
        right = first.read_bytes()
        first.write_bytes(second.read_bytes())
        record = sobel.relative_to(changed.folder) / "run.json"
        changed.snakemake(str(record), "--force", "--quiet", "rules")
        assert first.read_bytes() == right
        assert len(json.loads((sobel / "timing.json").read_text())) == 3

    def test_even_with_a_table_from_the_future(self, changed: Repository) -> None:
        for path in changed.folder.glob("results/tables/demo/memo/*"):
            os.utime(path, (time.time() + 1e8,) * 2)
        changed.write(EXPERIMENT, CLASSICAL | {"title": "Another title"})
        assert changed.planned("tables") == {"table": 1}

    def test_what_comes_from_the_future_fails_no_job(self, changed: Repository) -> None:
        for path in changed.folder.glob("results/**/*"):
            os.utime(path, (time.time() + 1e6,) * 2)
        lost = next(changed.folder.glob("results/runs/evaluate/*"))
        shutil.rmtree(lost)
        changed.write(EXPERIMENT, CLASSICAL | {"title": "Another title"})
        changed.snakemake("tables", "--quiet", "rules")
        assert (lost / "run.json").exists()
        assert changed.planned("tables") == {}

    def test_one_table_by_its_file_name(self, changed: Repository) -> None:
        (changed.folder / f"{TABLE}.md").unlink()
        assert changed.planned(f"{TABLE}.md") == {"table": 1}
        (changed.folder / f"{FIGURE}-image_grid.png").unlink()
        assert changed.planned(f"{FIGURE}-image_grid.png") == {"figure": 1}

    def test_a_table_of_another_scale_by_its_file_name(self, changed: Repository) -> None:
        planned = changed.planned("results/tables/paper/memo/classical.csv")
        assert planned == {"fetch": 1, "predict": 3, "evaluate": 6, "table": 1}


class TestMistakes:
    def test_are_told_before_anything_runs(self, classical: Repository) -> None:
        classical.write(EXPERIMENT, CLASSICAL | {"colums": []})
        output = classical.snakemake("tables", check=False)
        assert f"{EXPERIMENT}: unknown key 'colums'. Did you mean 'columns'?" in output
        assert "Traceback (most recent call last)" not in output

    def test_of_a_run_end_its_log(self, classical: Repository) -> None:
        folder = classical.folder / "maps"
        folder.mkdir()
        (folder / "other.png").write_bytes(b"")
        predict = {"stage": "predict", "method": "brought", "dataset": "bsds500", "folder": "maps"}
        classical.write("config/recipes/brought_bsds.yaml", {"title": "Brought", "runs": {"predict": predict}})
        rows = [{"key": "mine", "label": "Mine", "recipe": "brought_bsds"}]
        classical.write(EXPERIMENT, CLASSICAL | {"rows": rows, "matrix": {}, "claims": []})
        output = classical.snakemake("tables", check=False)
        assert "have no map here" in output
        assert "Traceback (most recent call last)" not in output


def indexed(repository: Repository) -> dict[str, dict[str, str]]:
    with open(repository.folder / "results/index.tsv", newline="") as file:
        return {line["folder"]: line for line in csv.DictReader(file, delimiter="\t")}


class TestStatus:
    def test_of_a_finished_workflow(self, finished: Repository) -> None:
        records = {
            path.parent.name: json.loads(path.read_text()) for path in finished.folder.glob("results/runs/*/*/run.json")
        }
        index = indexed(finished)  # which the workflow wrote
        assert {folder.rpartition("/")[2] for folder in index} == set(records)
        sobel = next(line for folder, line in index.items() if "/predict/sobel-" in folder)
        assert (sobel["method"], sobel["dataset"], sobel["scale"], sobel["stage"]) == (
            "sobel",
            "scenes",
            "demo",
            "predict",
        )
        output = finished.edgebench("status")
        assert f"{len(records) + 1 + len(CLASSICAL['figures'])} of" in output
        for words in ("Failed", "Damaged", "Not needed", "made by other code", "At work"):
            assert words not in output
        assert finished.planned("tables", "figures") == {}

    def test_can_be_given_to_others(self, finished: Repository, tmp_path: Path) -> None:
        finished.edgebench("crate", "memo/classical", "--author", "Ada", "-o", str(tmp_path / "crate"))
        crate = ROCrate(tmp_path / "crate")
        assert crate.mainEntity.id == "Snakefile"
        records = list(finished.folder.glob("results/runs/*/*/run.json"))
        assert len(crate.get_by_type("CreateAction")) == len(records) + 2
        times = [
            (each["startTime"], each["endTime"]) for each in crate.get_by_type("CreateAction") if "endTime" in each
        ]
        assert all(start <= end for start, end in times)

    def test_of_a_run_that_fails(self, changed: Repository) -> None:
        sobel = next(changed.folder.glob("results/runs/predict/sobel-*"))
        shutil.rmtree(sobel)
        first = next(changed.folder.glob("results/runs/fetch/scenes-*/images/test/*.png"))
        whole = first.read_bytes()
        first.write_bytes(b"no image")
        target = f"results/runs/predict/{sobel.name}/run.json"
        changed.snakemake(target, "--quiet", "rules", check=False)
        assert f"results/runs/predict/{sobel.name}" not in indexed(changed)  # also after a failure
        output = changed.edgebench("status", code=1)
        assert "1 failed" in output
        assert first.name in output
        command = f"snakemake --cores 1 {target}"
        assert f"again: {command}" in output
        data = json.loads(changed.edgebench("status", "--json", code=1))
        (failed,) = [job for job in data["jobs"] if job["state"] == "failed"]
        assert failed["repeat"] == command
        assert failed["attempt"]["host"]
        assert failed["log_end"]
        first.write_bytes(whole)
        changed.edgebench("run", f"results/plan/runs/{sobel.name[-10:]}.json")
        assert "Failed" not in changed.edgebench("status")
        assert f"results/runs/predict/{sobel.name}" in indexed(changed)

    def test_of_a_changed_definition(self, changed: Repository) -> None:
        changed.write(EXPERIMENT, CLASSICAL | {"matrix": {"predict.sigma": [2, 3]}})
        output = changed.edgebench("status", "memo/classical", code=3)
        assert "it shows something else than planned: rows" in output
        assert "sigma was 1" in output
        assert "(1 could start now)" in output


def test_maps_of_another_method_can_be_brought(changed: Repository) -> None:
    """The maps of a finished run, brought as a folder, give the scores of that run."""
    sobel = next(changed.folder.glob("results/runs/predict/sobel-*"))
    shutil.copytree(sobel / "maps", changed.folder / "mine")
    predict = {"stage": "predict", "method": "brought", "name": "mine", "dataset": "bsds500", "folder": "mine"}
    changed.write("config/recipes/mine_bsds.yaml", {"title": "Mine", "runs": {"predict": predict}})
    rows = [*CLASSICAL["rows"], {"key": "mine", "label": "Mine", "recipe": "mine_bsds"}]
    changed.write(EXPERIMENT, CLASSICAL | {"rows": rows, "figures": []})
    changed.snakemake("tables", "--quiet", "rules")
    import pandas

    table = pandas.read_csv(changed.folder / f"{TABLE}.csv")
    values = table[table.column == "seval_ods"].set_index("row").value
    assert values["mine"] == values["sobel"]


@pytest.mark.slow
def test_a_trained_chain_survives_a_kill(tmp_path: Path, root: Path) -> None:
    """Synthesise, pre-train, fine-tune, predict, score: killed on the way, it ends as if undisturbed."""
    short = {"pretrain.steps": 6, "pretrain.warm_start_steps": 2, "finetune.steps": 4}
    short["finetune.warm_start_steps"] = 1
    changes = f"set={short | {'pretrain.ema_start': 1, 'finetune.ema_start': 1}}"
    arguments = ["tables", "--quiet", "rules", "--config", changes]
    calm = copy_repository(root, tmp_path / "calm", {"steps": TRAINED})
    calm.snakemake(*arguments)
    killed = copy_repository(root, tmp_path / "killed", {"steps": TRAINED})
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=killed.folder,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(killed.folder.glob("results/runs/pretrain/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, 9)
    process.wait()
    killed.snakemake("--unlock")
    killed.snakemake(*arguments)
    for pattern in ("results/runs/*/*/weights.safetensors", "results/runs/predict/*/maps/*.png"):
        files = sorted(path.relative_to(calm.folder) for path in calm.folder.glob(pattern))
        assert files
        for file in files:
            assert (calm.folder / file).read_bytes() == (killed.folder / file).read_bytes(), file


@pytest.mark.slow
def test_masks_from_outlines_to_sections(tmp_path: Path, root: Path) -> None:
    """Outlines, training, prediction, skeletons and scores of masks; one skeleton run serves both rows."""
    repository = copy_repository(root, tmp_path / "masks", {"masks": MASKS})
    changes = "set={train.steps: 2, train.warmup_steps: 0}"
    arguments = ["tables", "figures", "--config", changes]
    repository.snakemake(*arguments, "--quiet", "rules")
    assert repository.planned(*arguments) == {}
    assert len(list(repository.folder.glob("results/runs/skeletons/*/run.json"))) == 2
    table = (repository.folder / "results/tables/demo/diffdis/masks.md").read_text()
    assert "**DIS-VD**" in table
    assert table.index("**DIS-VD**") < table.index("**DIS-TE1**")
    assert "0.908" in table
    assert (repository.folder / "results/figures/demo/diffdis/masks-mask_grid.png").stat().st_size > 1000


def test_released_weights_instead_of_training(tmp_path: Path, root: Path) -> None:
    """The rules fetch and convert a checkpoint of the authors (here: random weights in their layout)."""
    repository = copy_repository(root, tmp_path / "repository", {"steps": TRAINED})
    definition = repository.read("config/checkpoints/memo_bsds_early.yaml")
    repository.write("config/checkpoints/memo_bsds_early.yaml", definition | {"preset": "small"})
    weights = {official_name(name): value for name, value in MemoNetwork(preset("small")).state_dict().items()}
    source = write_deepspeed(tmp_path / "mp_rank_00_model_states.pt", weights)
    mirrors = {"memo_bsds_early": str(source)}
    repository.write("config/config.yaml", {"scale": "demo", "checkpoints": "pull", "mirrors": mirrors})
    record = Workbench(repository.folder).released_run("memo_bsds_early").record
    repository.snakemake(record, "--quiet", "rules")
    assert (repository.folder / record).with_name("weights.safetensors").is_file()
    assert repository.planned("tables") == {"fetch": 1, "predict": 2, "evaluate": 4, "table": 1}


def test_several_gpus_are_one_process_each(classical: Repository) -> None:
    classical.write("config/experiments/memo/classical.yaml", TRAINED)
    arguments = ["tables", "-n", "-p", "--config", "set={finetune.resources: {gpus: 2}}"]
    commands = [line for line in classical.snakemake(*arguments).splitlines() if " -m edgebench run " in line]
    assert sum(" --standalone --nproc-per-node=2 -m edgebench run" in line for line in commands) == 1
    assert len(commands) > 4


def test_several_nodes_need_a_cluster(classical: Repository) -> None:
    classical.write("config/experiments/memo/classical.yaml", TRAINED)
    output = classical.snakemake("tables", "-n", "--config", "set={finetune.resources: {nodes: 2}}", check=False)
    assert "run 'finetune' asks for resources.nodes = 2, which only SLURM gives: add --profile slurm" in output
    assert "Traceback (most recent call last)" not in output


class TestProfiles:
    def test_slurm_dry_run(self, classical: Repository) -> None:
        classical.write("config/experiments/memo/classical.yaml", TRAINED)
        classical.write("config/config.yaml", {})
        assert re.search(r"^train +2$", classical.snakemake("--profile", "slurm", "-n"), re.MULTILINE)

    @pytest.mark.parametrize(("profile", "asked"), [("slurm", "--gpus=2"), ("profiles/slurm-gres", "--gres=gpu:2")])
    def test_gpus_are_asked_for_in_the_words_of_the_cluster(
        self, classical: Repository, profile: str, asked: str
    ) -> None:
        """A stand-in for sbatch writes down what it is called with, and refuses."""
        tools = classical.folder / "tools"
        tools.mkdir()
        for name, body in {"sbatch": 'echo "$@" >> calls; exit 1', "sacct": "exit 0", "sinfo": "exit 0"}.items():
            (tools / name).write_text(f"#!/bin/sh\n{body}\n")
            (tools / name).chmod(0o755)
        classical.write("config/experiments/memo/classical.yaml", TRAINED)
        classical.write("config/config.yaml", {"scale": "demo"})
        classical.write("config/cluster.yaml", {"gpu": {"partition": "short", "sbatch": "--exclude=node7"}})
        classical.snakemake(
            *(
                "tables",
                "--profile",
                profile,
                "--default-resources",
                "slurm_partition=long",
                "constraint=fast",
                "--retries",
                "0",
                "--latency-wait",
                "1",
            ),
            *("--config", "set={synthesise.resources: {gpus: 2, minutes: 7, mem_gb: 3, cpus: 1}}"),
            check=False,
            environment={"PATH": f"{tools}:{os.environ['PATH']}"},
        )
        calls = (classical.folder / "calls").read_text()
        assert asked in calls
        assert "--mem 3072" in calls
        assert "-t 7" in calls
        assert "-p short -t 7 -C fast" in calls
        assert "--exclude=node7" in calls


class TestStyle:
    def test_lint(self, root: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--lint"],
            cwd=root,
            env=clean_environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def test_format(self, root: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow"],
            cwd=root,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
