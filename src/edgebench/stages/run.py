"""Carrying out one planned run, whichever its stage."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgebench.errors import EdgebenchError
from edgebench.files import remove_leftovers, require_writable
from edgebench.plan.attempts import UNFINISHED, attempted
from edgebench.stages.alone import alone
from edgebench.stages.memory import how_to_save_memory, short_of_memory
from edgebench.stages.record import RECORD, recorded
from edgebench.stages.spec import RunSpec, read_spec


def carry_out(spec_file: Path, threads: int = 1) -> Path:
    """Carry out the run of a plan file and write its record last.

    A run that was interrupted goes on where it stood; one that was finished is made anew, so that its record
    never speaks for files that something else made. Where another process works on the same run, it is waited for.

    Under `torchrun` (`torchrun --nproc-per-node 2 -m edgebench run PLANFILE`) the processes share a training; only the
    first keeps the folder and writes the record, and any other stage is its alone.

    Args:
        spec_file: Plan file, below `results/plan/runs`.
        threads: Processor cores to use.

    Returns:
        The run's folder.

    Raises:
        EdgebenchError: something the person can put right, in words.
    """
    # Read by the numerical libraries when they load, so before any of them does.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)
    spec = read_spec(spec_file, threads)
    # Only the one stage is imported: scoring needs no torch, and fetching needs neither.
    if spec.content["stage"] == "fetch":
        from edgebench.stages.fetch import fetch as stage
    elif spec.content["stage"] == "train":
        from edgebench.stages.train import train as stage
    elif spec.settings["method"] == "mask_edges":
        from edgebench.stages.synthesise import synthesise as stage
    elif spec.settings["method"] in ("mask_contours", "mask_skeletons"):
        from edgebench.stages.mask_targets import draw_targets as stage
    elif spec.content["stage"] == "predict":
        from edgebench.stages.predict import predict as stage
    else:
        from edgebench.stages.evaluate import evaluate as stage
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 and spec.content["stage"] == "train"
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and int(os.environ["RANK"]) > 0:
        if several:
            _within_memory(stage, spec)  # begins with waiting for the first process, which tidies the folder
        return spec.folder
    with alone(spec_file.with_suffix(".lock"), spec.folder) as waited:
        finished = waited and (spec.folder / RECORD).exists()  # by another process meanwhile
        if finished and not several:  # of several the others wait for this one in the training, which sees that, too
            return spec.folder
        if not finished and not (spec.folder / UNFINISHED).exists() and spec.content["stage"] != "fetch":
            shutil.rmtree(spec.folder, ignore_errors=True)
        require_writable(spec.folder / RECORD)
        remove_leftovers(spec.folder)
        with attempted(spec.folder), recorded(spec.content, spec.folder) as extra:
            extra.update(_within_memory(stage, spec))
        # Last: as long as the run counts as unfinished, the next try needs it.
        shutil.rmtree(spec.folder / "work", ignore_errors=True)
    return spec.folder


def _within_memory(stage: Callable[[RunSpec], dict[str, Any]], spec: RunSpec) -> dict[str, Any]:
    """Carry out a stage; memory that does not suffice is said in words."""
    try:
        return stage(spec)
    except (MemoryError, RuntimeError) as error:
        if not short_of_memory(error):
            raise
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        advice = f"{how_to_save_memory(spec.settings)} Or use a machine with more.".strip()
        raise EdgebenchError(
            f"{spec.folder}: {spec.content['label']}: not enough memory ({reason}). {advice}"
        ) from error
