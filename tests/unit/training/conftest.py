"""Running the small training of `trainee.py` in processes that may be killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

TRAINEE = Path(__file__).with_name("trainee.py")
OPTIONS: dict[str, Any] = {
    "steps": 10,
    "batch": 3,
    "accumulate": 2,
    "learning_rate": 0.01,
    "schedule": "exponential",
    "warmup_steps": 2,
    "gradient_clip": 0.4,
    "ema_decay": 0.9,
    "ema_start": 3,
    "device": "cpu",
    "log_every": 3,
    "checkpoint_steps": 1,
}


@dataclass
class Attempt:
    """One call of the training, in its own process."""

    process: BaseProcess
    errors: Path

    def signal_group(self, number: int) -> None:
        """Send a signal to the training and its loader workers, as a cluster does."""
        assert self.process.pid is not None
        os.killpg(self.process.pid, number)

    def end(self) -> tuple[int | None, str]:
        """Wait; give the exit status (minus the number of a signal) and what went to standard error."""
        self.process.join(300)
        if self.process.is_alive():
            self.process.kill()
            raise AssertionError(f"the training did not end: {self.errors.read_text()}")
        return self.process.exitcode, self.errors.read_text() if self.errors.exists() else ""


@pytest.fixture(scope="session")
def usual() -> dict[str, Any]:
    """The options of the training, where a test names no others."""
    return OPTIONS


@pytest.fixture(scope="session")
def start() -> Callable[..., Attempt]:
    """Start the training in a folder, forked from a process that has PyTorch imported to save time."""
    context = multiprocessing.get_context("forkserver")
    # With what PyTorch and accelerate import only when a training begins.
    late = ["sympy", "torch._dynamo", "torch._inductor.config", "torch.distributed", "torch.utils.data"]
    context.set_forkserver_preload(["pytest", "torch", "accelerate", *late])

    def starter(folder: Path, errors: str | None = None, **options: Any) -> Attempt:
        said = Path(errors or f"{folder}.err")
        said.unlink(missing_ok=True)
        arguments = (str(folder), json.dumps(OPTIONS | options), str(said))
        process = context.Process(
            target=runpy.run_path, args=(str(TRAINEE), {"ARGUMENTS": arguments}, "__main__"), daemon=False
        )
        process.start()
        return Attempt(process, said)

    return starter


@pytest.fixture(scope="session")
def finish(start: Callable[..., Attempt]) -> Callable[..., tuple[int | None, str]]:
    """Run the training in a folder to its end; give exit status and standard error."""
    return lambda folder, **options: start(folder, **options).end()


@pytest.fixture(scope="session")
def undisturbed(finish: Callable[..., tuple[int | None, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert finish(folder) == (0, "")
    return folder
