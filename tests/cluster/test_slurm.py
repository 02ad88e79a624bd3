"""The workflow on a real SLURM: what it asks for, and what becomes of a training that the cluster disturbs."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from edgebench.plan.runs import Run
from edgebench.plan.workbench import Workbench
from tests.cluster.slurm import ACCOUNT, Job, Slurm, until
from tests.cluster.training import pretraining, steps_in, with_trace
from tests.workflow.conftest import CLASSICAL, Repository, clean_environment, copy_repository

CLUSTER = {"all": {"account": ACCOUNT, "mem_gb": 2}, "cpu": {"partition": "cpu"}, "gpu": {"partition": "gpu"}}
# Asked after jobs every other second, which is not for clusters that others use too.
SOON = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10")


def on_slurm(root: Path, folder: Path, name: str) -> Repository:
    """A repository for trainings on this cluster."""
    repository = with_trace(root, folder, name)
    repository.write("config/cluster.yaml", CLUSTER)
    return repository


@contextmanager
def underway(repository: Repository, *arguments: str) -> Iterator[tuple[subprocess.Popen, IO[str]]]:
    """A snakemake that goes on beside the test, and what it prints."""
    with (repository.folder / "printed").open("w+") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=repository.folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
        )
        try:
            yield process, printed
        finally:
            if process.poll() is None:
                process.kill()  # SLURM's jobs end with SLURM
                process.wait()


def since(slurm: Slurm, before: list[Job]) -> list[Job]:
    """The jobs that are not among `before`."""
    known = {job.id for job in before}
    return [job for job in slurm.jobs() if job.id not in known]


@pytest.mark.parametrize(
    ("profile", "asked"), [("slurm", "--gpus=fake:2"), ("profiles/slurm-gres", "--gres=gpu:fake:2")]
)
def test_a_table_whose_prediction_asks_for_gpus(
    slurm: Slurm, root: Path, tmp_path: Path, profile: str, asked: str
) -> None:
    classical = {**CLASSICAL, "matrix": {}, "protocol": ["crispness"], "columns": ["ac"], "claims": [], "figures": []}
    repository = copy_repository(root, tmp_path / "table", {"classical": classical})
    repository.write("config/cluster.yaml", CLUSTER | {"gpu": {"partition": "gpu", "gpu_type": "fake"}})
    before = slurm.jobs()
    arguments = ("tables", "--config", "set={predict.resources: {gpus: 2}}")
    printed = repository.snakemake("--profile", profile, *SOON, *arguments)
    assert "Sobel" in (repository.folder / "results/tables/demo/memo/classical.md").read_text()
    predict, evaluate, table = since(slurm, before)
    assert [job.state for job in (predict, evaluate, table)] == ["COMPLETED"] * 3
    assert {job.account for job in (predict, evaluate, table)} == {ACCOUNT}
    assert [job.partition for job in (predict, evaluate, table)] == ["gpu", "cpu", "cpu"]
    assert asked in predict.submitted
    assert "--nodes=1" in predict.submitted
    assert "gres/gpu=2" in predict.requested
    assert not re.search("--gpus|--gres|gres/gpu", evaluate.submitted + evaluate.requested)
    # Fetching needs the network, which nodes may not have: it ran here and is not among SLURM's jobs.
    assert re.search(r"^Job \d+: Fetching ", printed, re.MULTILINE)
    assert list(repository.folder.glob("results/runs/fetch/*/run.json"))


def test_parts_of_a_prediction_are_jobs_of_their_own_and_the_last_needs_no_gpu(
    slurm: Slurm, root: Path, tmp_path: Path
) -> None:
    repository = copy_repository(root, tmp_path / "parts", {"classical": CLASSICAL})
    repository.write("config/cluster.yaml", CLUSTER | {"gpu": {"partition": "gpu", "gpu_type": "fake"}})
    runs = Workbench(repository.folder).plan("demo").runs.values()
    record = next(run.record for run in runs if run.settings.get("method") == "sobel")
    before = slurm.jobs()
    arguments = (record, "--config", "set={predict.resources: {gpus: 1, shards: 2}}")
    repository.snakemake("--profile", "slurm", *SOON, *arguments)
    made = json.loads((repository.folder / record).read_text())
    assert [each["part"] for each in made["parts"]] == ["1of2", "2of2"]
    assert made["n_images"] == len(list((repository.folder / record).parent.glob("maps/*.png"))) == 3
    *parts, gathering = since(slurm, before)
    assert [job.state for job in (*parts, gathering)] == ["COMPLETED"] * 3
    assert [job.partition for job in (*parts, gathering)] == ["gpu", "gpu", "cpu"]
    assert all("--gpus=fake:1" in job.submitted for job in parts)
    assert "--gpus" not in gathering.submitted


def test_two_nodes_train_as_one_process_does(slurm: Slurm, root: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    changes = {"steps": 8, "accumulate": 2}
    single, several = on_slurm(root, tmp_path, "single"), on_slurm(root, tmp_path, "several")
    run, arguments = pretraining(single, **changes)
    single.snakemake(*arguments)
    shared, arguments = pretraining(several, **changes, resources={"nodes": 2, "gpus": 1, "minutes": 5})
    assert shared.id == run.id
    before = slurm.jobs()
    several.snakemake("--profile", "slurm", *SOON, *arguments)
    (job,) = since(slurm, before)
    assert "node=2" in job.requested
    assert "gres/gpu=2" in job.requested
    one, two = (load_file(each.folder / run.folder / "weights.safetensors") for each in (single, several))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-4
    assert "--nnodes=2 --nproc-per-node=1" in several.snakemake("--profile", "slurm", "-n", "-p", "-F", *arguments)


class Training:
    """A training that SLURM carries out, as far as one sees from outside."""

    def __init__(self, slurm: Slurm, repository: Repository, run: Run, before: list[Job]) -> None:
        self.slurm, self.folder, self.before = slurm, repository.folder / run.folder, before
        self.logs = repository.folder / ".snakemake/slurm_logs"

    def jobs(self) -> list[Job]:
        return since(self.slurm, self.before)

    def step(self) -> int:
        """The last step in its log; 0 before there is one."""
        log = self.folder / "work/log.csv"
        rows = list(csv.DictReader(log.open())) if log.exists() else []
        return int(rows[-1]["step"]) if rows else 0

    def saved(self) -> int:
        """The step of its newest checkpoint; 0 before there is one."""
        return max((int(path.stem.split("-")[1]) for path in self.folder.glob("work/step-*.json")), default=0)

    def goes_on(self) -> None:
        """Wait until it has come further than it is now saved."""
        saved = self.saved()
        until(f"training beyond step {saved}", lambda: self.step() > saved + 2, 300)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Wait until it saved a checkpoint because of what is done meanwhile."""
        saved = self.saved()
        yield
        until(f"a checkpoint after step {saved}", lambda: self.saved() > saved, 300)


def test_a_training_goes_on_after_all_that_a_cluster_does(slurm: Slurm, root: Path, tmp_path: Path) -> None:
    """The time limit, requeueing, preemption and cancelling; the weights are those of a training left alone.

    A checkpoint that is due every ten minutes is not due here: each one was saved because of a signal.
    """
    disturbed, calm = on_slurm(root, tmp_path, "disturbed"), on_slurm(root, tmp_path, "calm")
    resources = {"resources": {"gpus": 1, "minutes": 2}}
    run, arguments = pretraining(calm, steps=steps_in(120, calm), **resources)
    with underway(calm, "--cores", "1", *arguments) as (alone, _):
        training = Training(slurm, disturbed, run, slurm.jobs())
        again = ("--profile", "slurm", *SOON, *arguments, "--retries")
        with underway(disturbed, *again, "1") as (process, printed):
            with training.saving():
                pass  # a little before the limit of two minutes
            until("a second job", lambda: len(training.jobs()) == 2, 120)
            first, second = training.jobs()
            assert [first.state, first.minutes, second.minutes] == ["TIMEOUT", "2", "4"]
            assert "because it was told to (SIGTERM" in next(training.logs.rglob(f"{first.id}.log")).read_text()

            slurm.call("scontrol", "update", f"JobId={second.id}", "TimeLimit=30")  # nothing but what comes now

            training.goes_on()
            with training.saving():
                slurm.call("scontrol", "requeue", second.id)

            training.goes_on()
            with training.saving():
                urgent = slurm.submit("--partition=urgent", "--nodes=2", "--exclusive")
            until("the urgent job's end", lambda: Slurm.state_of(slurm.jobs(), urgent) == "COMPLETED", 120)

            training.goes_on()
            with training.saving():
                slurm.call("scancel", second.id)
            assert process.wait(300) != 0
            printed.seek(0)
            assert re.search(rf"'{second.id}' failed, SLURM status is: 'CANCELLED'", printed.read())
        states = [job.state.split()[0] for job in training.jobs() if job.id == second.id]
        assert states == ["REQUEUED", "PREEMPTED", "CANCELLED"]

        saved = training.saved()
        disturbed.snakemake(*again, "9")
        record = json.loads((training.folder / "run.json").read_text())
        assert record["resumed_from_step"] >= saved
        assert alone.wait(300) == 0
    weights = [(each.folder / run.folder / "weights.safetensors").read_bytes() for each in (calm, disturbed)]
    assert weights[0] == weights[1]
