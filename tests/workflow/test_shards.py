"""A run that several jobs share: the rules that begin it, work on its parts and gather them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from edgebench.plan.workbench import Workbench
from tests.workflow.conftest import Repository, clean_environment

SHARED = ("--config", "set={predict.resources: {shards: 2}}")


def record_of(repository: Repository) -> str:
    """Of Sobel's run."""
    runs = Workbench(repository.folder).plan("demo").runs.values()
    return next(run.record for run in runs if run.settings.get("method") == "sobel")


def maps(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "maps").iterdir())}


def test_parts_make_what_one_job_makes_also_when_they_are_killed(classical: Repository) -> None:
    record = record_of(classical)
    classical.snakemake(record, "--quiet", "rules")
    folder = (classical.folder / record).parent
    names, whole = {path.name for path in folder.iterdir()}, maps(folder)
    shutil.rmtree(folder)

    # Killed with one part done: everything at once, as when the machine goes down.
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--nolock", "--cores", "1", record, *SHARED],
        cwd=classical.folder,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (done := list((folder / "work").glob("*of2.json"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(done) == 1
    kept = {path: path.stat().st_mtime_ns for path in (folder / "maps").glob("[!.]*")}
    assert kept

    classical.snakemake(record, *SHARED, "--quiet", "rules")
    assert all(path.stat().st_mtime_ns == age for path, age in kept.items())
    assert maps(folder) == whole
    assert {path.name for path in folder.iterdir()} == names  # nothing else is left
    assert [each["part"] for each in json.loads((folder / "run.json").read_text())["parts"]] == ["1of2", "2of2"]
    assert len(json.loads((folder / "timing.json").read_text())) == len(whole)
    logs = {path.name for path in classical.folder.glob("results/logs/predict/*/*.log")}
    assert logs == {"begin.log", "1of2.log", "2of2.log"}

    # Finished: nothing to do, although nothing of the parts is left; forced: all of it anew, and nothing old stays.
    assert classical.planned(record, *SHARED) == {}
    assert classical.planned(record, *SHARED, "-R", "predict") == {"predict_begin": 1, "predict_part": 2, "predict": 1}
    first, *others = sorted((folder / "maps").iterdir())
    first.write_bytes(others[0].read_bytes())
    (folder / "maps" / "old.png").write_bytes(b"")
    classical.snakemake(record, *SHARED, "--force", "--quiet", "rules")
    assert maps(folder) == whole
