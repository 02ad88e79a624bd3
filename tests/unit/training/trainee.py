"""A small real training for the tests: a convolutional network with dropout on drawn discs.

Run as `python trainee.py FOLDER '{"steps": 8, ...}'`. Beside the loop's settings the JSON may hold `crash_at`
(die by SIGKILL at the n-th file operation), `event_step` with `event` (what to do to oneself in that step:
sigterm, sigterm_first (of several processes), sigkill, nan, full_disk), `pause` (seconds per micro-batch),
`own_group`, `environment`. Exits as the command line does: 0, 2, 75.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgebench.errors import EdgebenchError
from edgebench.training.loop import train
from edgebench.training.objective import Objective
from edgebench.training.settings import LoopSettings

SIZE = 12


class Net(nn.Module):
    """Two convolutions, a normalisation with running statistics, dropout from a given generator."""

    def __init__(self) -> None:
        super().__init__()
        # No bias: the normalisation removes it, and Adam would blow up the rounding noise of its gradient.
        self.first = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.frozen = nn.Conv2d(6, 6, 1).requires_grad_(False)
        self.drop = nn.Dropout(0.1)
        self.last = nn.Conv2d(6, 1, 3, padding=1)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(self.frozen(torch.relu(self.norm(self.first(x))))) * keep)


class Discs(Objective):
    """Find the disc in a noisy image; every sample is drawn from its index and generator."""

    def __init__(self, event: str | None = None, event_step: int = -1, pause: float = 0.0) -> None:
        torch.manual_seed(3)
        self.model = Net()
        self.event, self.event_step, self.pause = event, event_step, pause

    def __len__(self) -> int:
        return 10

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        y, x = np.mgrid[:SIZE, :SIZE]
        disc = (y - 6) ** 2 + (x - index) ** 2 < rng.uniform(4, 16)
        noisy = disc + rng.normal(0, 0.3, disc.shape)
        return {"image": torch.tensor(noisy[None]).float(), "mask": torch.tensor(disc[None]).float()}

    def loss(
        self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator, step: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        time.sleep(self.pause)
        # Drawn per micro-batch, so that the batch of one process and of several see the same.
        keep = (torch.rand(len(batch["image"]), 6, 1, 1, generator=generator) > 0.2).float()
        loss = nn.functional.binary_cross_entropy_with_logits(model(batch["image"], keep), batch["mask"])
        if step == self.event_step:
            if self.event == "sigterm" or (self.event == "sigterm_first" and os.environ["RANK"] == "0"):
                os.kill(os.getpid(), signal.SIGTERM)
            elif self.event == "sigkill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.event == "full_disk":
                resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
            elif self.event == "nan":
                loss = loss * float("nan")
        return loss, {"kept": float(keep.mean())}

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": [*self.model.first.parameters(), *self.model.norm.parameters()]},
            {"params": list(self.model.last.parameters()), "lr_scale": 3.0},
        ]

    def export_metadata(self) -> dict[str, str]:
        return {"method": "discs", "channels": "6", "a": "1", "b": "2"}


def crash_at(count: int) -> None:
    """Kill this process just before its `count`-th flush, rename or removal of a file."""
    calls = 0

    def counted(function: Any) -> Any:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return wrapper

    for name in ("fsync", "replace", "rename", "unlink", "chmod", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))


def main(folder: str, text: str, errors: str | None = None) -> None:
    """Train in `folder` under the JSON settings `text`; write standard error to file `errors`."""
    if errors:
        handle = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 2)
    faulthandler.dump_traceback_later(30, exit=True)  # a hang is told with its place
    options = json.loads(text)
    os.environ.update(options.pop("environment", {}))
    if options.pop("own_group", False):
        os.setpgrp()
    torch.set_num_threads(options.pop("threads", 1))
    objective = Discs(**{key: options.pop(key) for key in ("event", "event_step", "pause") if key in options})
    if crash := options.pop("crash_at", None):
        crash_at(crash)
    try:
        train(objective, LoopSettings(**options), Path(folder))
    except EdgebenchError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(getattr(error, "exit_status", 2))


if __name__ == "__main__":
    main(*globals().get("ARGUMENTS", sys.argv[1:]))
