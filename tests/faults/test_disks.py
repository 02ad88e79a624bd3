"""Disks that fill up and folders that cannot be written: a message, nothing lost, and the same command goes on."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.faults.campaign import FindWork, Tally
from tests.faults.disks import grow, read_only, small_disk

PLENTY = 2**30
PAGE = 4096
SIZES = 3
FILLED = [
    "fetch scenes",
    "synthesise mask_edges",
    "skeletons mask_skeletons",
    "pretrain memo",
    "segmenter mask2former",
    "predict memo",
    "masks maskcut",
    "panoptic trace_panoptic",
    "pseudo trace_attention",
    "evaluate bsds_ceval",
    "evaluate instances",
]


def size_of(folder: Path) -> int:
    """Bytes that a folder takes on a disk of whole pages."""
    files = [Path(place) / name for place, _, names in os.walk(folder) for name in names]
    return sum(-(-file.stat().st_size // PAGE) * PAGE for file in files)


@pytest.mark.parametrize("stage", FILLED)
def test_a_disk_that_fills_up(stage: str, find_work: FindWork, tally: Tally, tmp_path: Path, seed: int) -> None:
    """The disk holds a random part of what the command writes, then all of it."""
    work, rng = find_work(stage), random.Random(f"{seed} full {stage}")
    tally.stage, tally.fault, tally.work = stage, "disk full", work.calm.work
    needed = size_of(work.repository / work.output)
    for number in range(SIZES):
        folder = tmp_path / f"full{number}"
        work.lay_out(folder)
        disk = folder / work.output.parent
        # The first is next to nothing: not even the note that somebody began finds room.
        size = PAGE * max(1, int(needed * (0 if number == 0 else rng.uniform(0.05, 0.95)) / PAGE))
        with small_disk(disk, size):
            first = work.finish_in(folder)
            tally.faults += first.code != 0
            if first.code not in (0, 2) or (first.code and "space" not in first.said) or "Traceback" in first.said:
                tally.losses.append(f"{size} of {needed} bytes: {first.code}: {first.said[-1500:]}")
            grow(disk, PLENTY)
            second = work.finish_in(folder)
            tally.losses += [f"{size} of {needed} bytes: {line}" for line in work.losses_in(folder, second)]
            tally.repeated += max(0, first.work + second.work - work.calm.work)
    assert tally.faults >= 1
    assert tally.losses == []


@pytest.mark.parametrize("stage", ["fetch scenes", "pretrain memo", "predict canny", "evaluate crispness"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_folder_that_cannot_be_written(
    stage: str, begun: bool, find_work: FindWork, tally: Tally, tmp_path: Path
) -> None:
    """From the start, or after a kill in the middle."""
    work, folder = find_work(stage), tmp_path / "run"
    tally.stage, tally.fault, tally.work = stage, "read-only folder", work.calm.work
    work.lay_out(folder)
    killed = work.begin_in(folder, watched=work.output, strike_at=work.calm.operations // 2).end() if begun else None
    (folder / work.output).mkdir(parents=True, exist_ok=True)
    with read_only(folder / work.output):
        refused = work.finish_in(folder)
    tally.faults = 1
    if refused.code != 2 or "Read-only file system" not in refused.said or "Traceback" in refused.said:
        tally.losses.append(f"{refused.code}: {refused.said[-1500:]}")
    ending = work.finish_in(folder)
    tally.losses += work.losses_in(folder, ending)
    tally.repeated = ending.work + (killed.work if killed else 0) - work.calm.work
    assert tally.losses == []
