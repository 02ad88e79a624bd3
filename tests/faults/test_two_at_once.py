"""Two at once on one folder, and processes of one training of which one dies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgebench.files import read_json, write_json
from tests.faults.campaign import FindWork, Tally, Work
from tests.faults.compare import differences
from tests.workflow.conftest import clean_environment


@pytest.mark.parametrize("stage", ["fetch scenes", "pretrain memo", "predict memo", "evaluate crispness"])
def test_two_commands_on_one_run(stage: str, find_work: FindWork, tally: Tally, tmp_path: Path, seed: int) -> None:
    """As when a job that was queued again meets its predecessor, which is alive or killed while the other waits."""
    work, rng = find_work(stage), random.Random(f"{seed} two {stage}")
    tally.stage, tally.fault, tally.work = stage, "two at once", work.calm.work
    for killed in (False, True):
        folder = tmp_path / f"run{killed}"
        work.lay_out(folder)
        first = work.begin_in(folder)
        time.sleep(rng.uniform(0, 0.8) * work.calm.seconds)
        second = work.begin_in(folder, notes=tmp_path / "second-notes")
        endings = [first.kill_after(0.1 * work.calm.seconds) if killed else first.end(), second.end()]
        tally.faults += 1
        tally.losses += [f"{each.code}: {each.said[-1500:]}" for each in endings if each.code and not each.killed]
        tally.losses += work.losses_in(folder, endings[1])
        tally.repeated += max(0, sum(each.work for each in endings) - work.calm.work)
    assert tally.losses == []


def launched(work: Work, folder: Path) -> subprocess.Popen[str]:
    """Two processes that share a training, started as the workflow starts them."""
    two = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "edgebench")
    return subprocess.Popen(
        [sys.executable, *two, *work.arguments],
        cwd=folder,
        env={**clean_environment(), "ACCELERATE_USE_CPU": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def children(process: int) -> list[int]:
    """Processes that a process started itself."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(number) for number in text.split()]


def test_a_process_of_several_dies(find_work: FindWork, tally: Tally, tmp_path: Path, seed: int) -> None:
    """Of two that share a training: the other one ends soon, and both go on from the checkpoint."""
    work, rng = find_work("pretrain memo"), random.Random(f"{seed} processes")
    tally.stage, tally.fault, tally.work = "pretrain memo on two processes", "a process dies", work.calm.work
    for name in ("calm", "struck"):
        work.lay_out(tmp_path / name)
        plan = tmp_path / name / work.needs[0]
        content = read_json(plan)
        content["settings"] |= {"accumulate": 2, "steps": 40}
        plan.unlink()
        write_json(plan, content)
    calm = launched(work, tmp_path / "calm")
    assert calm.wait(300) == 0, calm.stdout and calm.stdout.read()
    checkpoints = tmp_path / "struck" / work.output / "work"
    for whom in ("first", "second", "node"):
        job = launched(work, tmp_path / "struck")
        before = set(checkpoints.glob("*.json"))
        while not set(checkpoints.glob("*.json")) - before and job.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        if job.poll() is not None:
            break
        if whom == "node":
            os.killpg(job.pid, signal.SIGKILL)
        else:
            os.kill(sorted(children(job.pid))[whom == "second"], signal.SIGKILL)
        try:
            said, _ = job.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            os.killpg(job.pid, signal.SIGKILL)
            tally.losses.append(f"{whom} killed: the rest still ran after 90 s")
        tally.faults += 1
    again = launched(work, tmp_path / "struck")
    said, _ = again.communicate(timeout=300)
    if again.returncode:
        tally.losses.append(f"{again.returncode}: {said[-2000:]}")
    else:
        tally.losses += differences(tmp_path / "struck" / work.output, tmp_path / "calm" / work.output)
    assert tally.faults >= 2
    assert tally.losses == []
