"""Several processes that share a training end with the weights of one."""

from __future__ import annotations

import csv
import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

TRAINEE = Path(__file__).with_name("trainee.py")
OPTIONS: dict[str, Any] = {"accumulate": 4, "log_every": 1, "checkpoint_steps": 2}


def assert_equal_within_noise(shared: Path, single: Path) -> None:
    two, one = (load_file(folder / "weights.safetensors") for folder in (shared, single))
    assert two.keys() == one.keys()
    for name in one:
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6)
    # Proof that the work was shared: the first process normalised half of the micro-batches.
    assert int(two["norm.num_batches_tracked"]) == int(one["norm.num_batches_tracked"]) // 2
    logs = []
    for folder in (shared, single):
        with open(folder / "log.csv", newline="") as file:
            logs.append([float(row["loss"]) for row in csv.DictReader(file)])
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)


def free_port() -> int:
    """A free port, below those that the system gives to outgoing connections."""
    for port in random.sample(range(15_000, 30_000), 50):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise OSError("no free port")


@pytest.fixture(scope="module")
def single(finish, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("single") / "run"
    assert finish(folder, **OPTIONS) == (0, "")
    return folder


@pytest.fixture
def pair(start):
    """Run the training in two processes that know of one another; give their outcomes."""

    def run(folder: Path, seen: Path | None = None, **options: Any) -> list[tuple[int | None, str]]:
        """`seen` is what the second sees of the folder, where it is not the same."""
        port = free_port()
        shared = {
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        attempts = [
            start(
                seen if seen and rank else folder,
                **(OPTIONS | options),
                environment=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                errors=f"{folder}.{rank}.err",
            )
            for rank in range(2)
        ]
        return [attempt.end() for attempt in attempts]

    return run


def stopped(outcome: list[tuple[int | None, str]]) -> bool:
    """Whether the process that saves ended with a checkpoint, and the other did not finish the training.

    The other may find its peer gone while it leaves, which costs nothing: what counts was saved.
    """
    (first, _), (second, _) = outcome
    return first == 75 and second != 0


class TestTwoProcesses:
    def test_equal_one(self, pair, single, tmp_path):
        assert [status for status, _ in pair(tmp_path / "run")] == [0, 0]
        assert_equal_within_noise(tmp_path / "run", single)

    def test_a_signal_to_one_stops_both_and_they_resume_alike(self, pair, single, tmp_path):
        outcome = pair(tmp_path / "run", event="sigterm_first", event_step=4)
        assert stopped(outcome), outcome
        assert (tmp_path / "run/work/step-000000005.safetensors").exists()
        assert [status for status, _ in pair(tmp_path / "run")] == [0, 0]
        assert_equal_within_noise(tmp_path / "run", single)

    def test_one_may_go_on_with_what_two_began(self, pair, finish, tmp_path):
        outcome = pair(tmp_path / "run", event="sigterm_first", event_step=4)
        assert stopped(outcome), outcome
        assert finish(tmp_path / "run", **OPTIONS)[0] == 0

    def test_a_process_that_sees_files_late_does_not_begin_elsewhere(self, pair, tmp_path):
        outcome = pair(tmp_path / "run", event="sigterm_first", event_step=4)
        assert stopped(outcome), outcome
        for _, said in pair(tmp_path / "run", seen=tmp_path / "late"):
            assert "found different checkpoints there, of steps 5, 0." in said
        assert (tmp_path / "run/work/step-000000005.safetensors").exists()

    def test_micro_batches_must_be_shareable(self, pair, tmp_path):
        for status, said in pair(tmp_path / "run", accumulate=3):
            assert status == 2
            assert "accumulate = 3: 2 processes" in said

    @pytest.mark.slow
    def test_under_torchrun(self, usual, single, tmp_path):
        options = json.dumps(usual | OPTIONS)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        subprocess.run(
            [*launch, str(TRAINEE), str(tmp_path / "run"), options],
            env=os.environ | {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
            check=True,
            capture_output=True,
            timeout=120,
        )
        assert_equal_within_noise(tmp_path / "run", single)

    @pytest.mark.slow
    def test_under_an_agent_on_each_of_two_nodes(self, usual, single, tmp_path):
        """As `edgebench.plan.cluster.launch` starts them, with both nodes here."""
        launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
        meeting = ["--rdzv-backend=c10d", "--rdzv-id=1", f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
        agents = [
            subprocess.Popen(
                [*launch, *meeting, str(TRAINEE), str(tmp_path / "run"), json.dumps(usual | OPTIONS)],
                env=os.environ | {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(2)
        ]
        try:
            assert [agent.wait(120) for agent in agents] == [0, 0]
        finally:
            for agent in agents:
                agent.kill()
        assert_equal_within_noise(tmp_path / "run", single)
