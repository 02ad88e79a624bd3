"""Clocks and time stamps that lie: results depend on neither."""

from __future__ import annotations

import os
import random
import time
from functools import partial
from pathlib import Path

import pytest

from tests.faults.campaign import FindWork, Tally

HOUR = 3600.0


def turn_back(seed: str) -> None:
    """From now on let every fifth look at the wall clock find it up to an hour earlier than the one before."""
    rng, true, lost = random.Random(seed), time.time, 0.0

    def now() -> float:
        nonlocal lost
        if rng.random() < 0.2:
            lost += rng.uniform(0, HOUR)
        return true() - lost

    time.time = now
    time.time_ns = lambda: int(now() * 1e9)


def scramble(folder: Path, rng: random.Random) -> int:
    """Give every file below a folder a time from a year ago to a year from now; how many there are."""
    files = [Path(place) / name for place, _, names in os.walk(folder) for name in sorted(names)]
    for file in files:
        os.utime(file, (moment := time.time() + rng.uniform(-1, 1) * 8766 * HOUR, moment))
    return len(files)


@pytest.mark.parametrize(
    "stage",
    [
        "fetch scenes",
        "pretrain memo",
        "predict memo",
        "synthesise mask_edges",
        "evaluate bsds_ceval",
    ],
)
def test_a_clock_that_goes_backwards(stage: str, find_work: FindWork, tally: Tally, tmp_path: Path, seed: int) -> None:
    """While a command runs, is killed and goes on; and what it left has times of next year."""
    work, folder, key = find_work(stage), tmp_path / "run", f"{seed} clock {stage}"
    tally.stage, tally.fault, tally.work = stage, "clock", work.calm.work
    rng = random.Random(key)
    for number in range(2):
        work.lay_out(folder)
        hazard = partial(turn_back, f"{key} {number}")
        strike_at = rng.randint(work.calm.operations // 4, work.calm.operations - 5)
        first = work.begin_in(folder, watched=work.output, strike_at=strike_at, hazard=hazard).end()
        scramble(folder / work.output, rng)
        second = work.finish_in(folder, hazard=hazard)
        tally.faults += 1
        tally.losses += work.losses_in(folder, second)
        tally.repeated += first.work + second.work - work.calm.work
    assert tally.losses == []
