"""Whole workflows killed with all their jobs, and two of them on one folder."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.campaign import Tally
from tests.faults.compare import differences
from tests.faults.test_clock import scramble
from tests.workflow.conftest import CLASSICAL, Repository, clean_environment, copy_repository

KILLS = 6
# Seconds per image would differ from one undisturbed workflow to the next.
EXPERIMENT = CLASSICAL | {"columns": ["seval_ods", "ac"], "figures": ["precision_recall"]}
TARGETS = ("tables", "figures", "--quiet", "rules")
RESULTS = ("results/runs", "results/tables", "results/figures")


def start(repository: Repository) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", *TARGETS],
        cwd=repository.folder,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def session(workflow: subprocess.Popen[str]) -> Iterator[int]:
    """A workflow and every process that it or its jobs started, as far as they live."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # ended by itself meanwhile
            *_, leader = stat.read_text().rpartition(")")[2].split()[:4]
            if int(leader) == workflow.pid:
                yield int(stat.parent.name)


def kill_session(workflow: subprocess.Popen[str]) -> None:
    """Kill all of a workflow's processes, as a machine does that goes down."""
    for process in session(workflow):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    workflow.wait(60)


@pytest.fixture(scope="module")
def undisturbed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A finished workflow."""
    repository = copy_repository(root, tmp_path_factory.mktemp("workflow"), {"classical": EXPERIMENT})
    repository.snakemake(*TARGETS)
    return repository


def finished(repository: Repository) -> list[Path]:
    """Records of runs that are finished."""
    return list(repository.folder.glob("results/runs/*/*/run.json"))


def losses(struck: Repository, calm: Repository) -> list[str]:
    return [f"{part}/{line}" for part in RESULTS for line in differences(struck.folder / part, calm.folder / part)]


def test_a_workflow_that_is_killed(
    undisturbed: Repository, root: Path, tally: Tally, tmp_path: Path, seed: int
) -> None:
    """Again and again, and before the last start every file is given another time."""
    calm, rng = undisturbed, random.Random(f"{seed} workflow")
    tally.stage = "workflow"
    struck = copy_repository(root, tmp_path / "struck", {"classical": EXPERIMENT})
    locked = "nothing was locked"
    for _ in range(4 * KILLS):
        if tally.faults == KILLS:
            break
        # Told by what is finished, so that kills are spread on slow and on busy machines, too.
        enough = len(finished(struck)) + rng.randint(0, 3)
        workflow = start(struck)
        while len(finished(struck)) < enough and workflow.poll() is None:
            time.sleep(0.05)
        try:
            workflow.wait(rng.uniform(0, 1.5))
            shutil.rmtree(struck.folder / "results")  # finished before it was killed: once more
            continue
        except subprocess.TimeoutExpired:
            kill_session(workflow)
        tally.faults += 1
        if any((struck.folder / ".snakemake/locks").glob("*")):
            locked = struck.snakemake(*TARGETS, check=False)
            struck.snakemake("--unlock")
    assert tally.faults == KILLS
    assert "--unlock" in locked
    scramble(struck.folder / "results", rng)
    struck.snakemake(*TARGETS)
    tally.losses = losses(struck, calm)
    assert struck.planned("tables", "figures") == {}
    assert tally.losses == []


def test_jobs_that_outlive_snakemake(undisturbed: Repository, root: Path, tally: Tally, tmp_path: Path) -> None:
    """Snakemake alone is killed; what its jobs finish afterwards is not done again."""
    calm = undisturbed
    tally.stage, tally.faults = "workflow, Snakemake alone", 1
    repository = copy_repository(root, tmp_path / "orphans", {"classical": EXPERIMENT})
    workflow = start(repository)
    begun: list[Path] = []
    while not begun:
        assert workflow.poll() is None
        begun = list(repository.folder.glob("results/runs/predict/*/.unfinished"))
        time.sleep(0.01)
    workflow.kill()
    workflow.wait(60)
    deadline = time.monotonic() + 120
    while any(session(workflow)) and time.monotonic() < deadline:
        time.sleep(0.1)
    made = [path.with_name("run.json") for path in begun]
    numbers = [path.stat().st_ino for path in made]
    repository.snakemake("--unlock")
    repository.snakemake(*TARGETS)
    tally.repeated = sum(path.stat().st_ino != number for path, number in zip(made, numbers, strict=True))
    tally.losses = losses(repository, calm)
    assert tally.losses == []
    assert tally.repeated == 0


def test_two_workflows_on_one_folder(undisturbed: Repository, root: Path, tally: Tally, tmp_path: Path) -> None:
    """The second is told, and the first is not disturbed."""
    calm = undisturbed
    tally.stage, tally.fault, tally.faults = "workflow", "two at once", 1
    repository = copy_repository(root, tmp_path / "both", {"classical": EXPERIMENT})
    first = start(repository)
    while not any((repository.folder / ".snakemake/locks").glob("*")):
        assert first.poll() is None
        time.sleep(0.05)
    second = repository.snakemake(*TARGETS, check=False)
    said, _ = first.communicate(timeout=600)
    assert first.returncode == 0, said
    if "cannot be locked" not in second:
        tally.losses.append(f"the second was not told: {second[-1500:]}")
    tally.losses += losses(repository, calm)
    assert tally.losses == []
