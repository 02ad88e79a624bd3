"""Carrying out one planned run, whichever its stage."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from edgebench.errors import EdgebenchError
from edgebench.files import remove_leftovers, require_writable, write_text
from edgebench.plan.attempts import UNFINISHED, attempted
from edgebench.stages.alone import alone
from edgebench.stages.inputs import open_input
from edgebench.stages.memory import how_to_save_memory, short_of_memory
from edgebench.stages.parts import BEGUN, WORK, Part, marker, told_by_parts
from edgebench.stages.record import RECORD, marked, recorded
from edgebench.stages.spec import RunSpec, read_spec

# Read by libraries when they load.
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
BARLESS = ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE")


def keep_quiet(spec_file: Path) -> None:
    """Keep the libraries of this process off the network, and their bars out of logs.

    Whatever comes from elsewhere is fetched by a run of its own. Nodes of a cluster often see no network, and a library
    that asked the hub whether it has something newer would wait there in vain.

    Args:
        spec_file: Plan file of the run that the process is for; only one that fetches may use the network.

    Raises:
        EdgebenchError: it is missing or is not a plan file.
    """
    if read_spec(spec_file).content["stage"] != "fetch":
        os.environ |= dict.fromkeys(OFFLINE, "1")
    if not sys.stderr.isatty():
        os.environ |= dict.fromkeys(BARLESS, "1")


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
    spec = _opened(spec_file, threads)
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
    with alone(_lock(spec_file), spec.folder) as waited:
        finished = waited and (spec.folder / RECORD).exists()  # by another process meanwhile
        if not finished:
            _keep_folder(spec)
            _with_record(stage, spec)
        elif several:  # the others wait for this one in the training, which sees that there is nothing to do
            _within_memory(stage, spec)
    return spec.folder


def begin(spec_file: Path) -> Path:
    """Keep the folder of a run that several jobs share, before the first of them; see `edgebench.stages.parts`.

    Raises:
        EdgebenchError: the run cannot be shared.
    """
    spec = _opened(spec_file)
    _shareable(spec)
    with alone(_lock(spec_file), spec.folder):
        _keep_folder(spec)
        require_writable(spec.folder / RECORD)
        (spec.folder / UNFINISHED).touch()
        write_text(spec.folder / WORK / BEGUN, "")
    return spec.folder


def carry_out_part(spec_file: Path, part: Part, threads: int = 1) -> Path:
    """Work on one part of a run that was begun, and write the part's marker last.

    A part that was interrupted goes on where it stood. Parts may work side by side, on different machines.

    Args:
        spec_file: Plan file, below `results/plan/runs`.
        part: Which part.
        threads: Processor cores to use.

    Returns:
        The run's folder.

    Raises:
        EdgebenchError: the run cannot be shared or was not begun, or as `carry_out`.
    """
    spec = _opened(spec_file, threads, part)
    fill = _shareable(spec).fill
    own, done = spec_file.with_suffix(f".{part}.lock"), marker(spec.folder, part)
    # Beside the other parts, but beside no job that works on the run as a whole, and beside no other on this part.
    with alone(_lock(spec_file), spec.folder, shared=True), alone(own, spec.work) as waited:
        if waited and done.exists():  # by another process meanwhile
            return spec.folder
        _check_begun(spec, spec_file)
        require_writable(done)
        spec.work.mkdir(exist_ok=True)
        with attempted(spec.work), marked(spec.content, spec.work, done) as told:
            told.update(_within_memory(lambda spec: fill(spec, open_input(spec)), spec))
    return spec.folder


def gather_parts(spec_file: Path, threads: int = 1) -> Path:
    """Finish a run whose parts are done: gather what they made and write the record last.

    Raises:
        EdgebenchError: the run cannot be shared or was not begun, or a file of a part is missing.
    """
    spec = _opened(spec_file, threads)
    gather = _shareable(spec).gather
    with alone(_lock(spec_file), spec.folder) as waited:
        if waited and (spec.folder / RECORD).exists():  # by another process meanwhile
            return spec.folder
        if not (spec.folder / UNFINISHED).exists():  # killed at the end of an earlier time, which left its markers
            shutil.rmtree(spec.folder / WORK, ignore_errors=True)
        _check_begun(spec, spec_file)
        # Every part prepared the same method, and says the same of it.
        note = {key: value for told in told_by_parts(spec.folder) for key, value in told["note"].items()}
        _with_record(lambda spec: gather(spec, open_input(spec), note), spec)
    return spec.folder


def _lock(spec_file: Path) -> Path:
    return spec_file.with_suffix(".lock")


def _opened(spec_file: Path, threads: int = 1, part: Part | None = None) -> RunSpec:
    # Read by the numerical libraries when they load, so before any of them does.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)
    return read_spec(spec_file, threads, part)


def _shareable(spec: RunSpec) -> ModuleType:
    """The module whose `fill` writes the files of images, and whose `gather` makes a finished run of them."""
    if spec.content["stage"] != "predict":
        raise EdgebenchError(
            f"{spec.content['label']}: jobs share only a run of stage predict, not of stage {spec.content['stage']}. "
            f"Leave out --part."
        )
    if spec.settings["method"] == "mask_edges":
        from edgebench.stages import synthesise

        return synthesise
    if spec.settings["method"] in ("mask_contours", "mask_skeletons"):
        from edgebench.stages import mask_targets

        return mask_targets
    from edgebench.stages import predict

    return predict


def _keep_folder(spec: RunSpec) -> None:
    """Leave nothing in the run's folder but what an interrupted run left."""
    if not (spec.folder / UNFINISHED).exists() and spec.content["stage"] != "fetch":
        shutil.rmtree(spec.folder, ignore_errors=True)


def _check_begun(spec: RunSpec, spec_file: Path) -> None:
    if not (spec.folder / WORK / BEGUN).exists():
        raise EdgebenchError(
            f"{spec.folder}: this run was not begun, so that nobody knows what its folder holds. Type "
            f"`edgebench run {spec_file} --part begin` first, or let snakemake make {spec.folder}/run.json."
        )


def _with_record(stage: Callable[[RunSpec], dict[str, Any]], spec: RunSpec) -> None:
    """Carry out what is left of a run, and write its record."""
    require_writable(spec.folder / RECORD)
    remove_leftovers(spec.folder)
    # Parts may be done of a run that one job now finishes alone: they cost something, too.
    parts = told_by_parts(spec.folder)
    with attempted(spec.folder), recorded(spec.content, spec.folder, parts) as extra:
        extra.update(_within_memory(stage, spec))
    # Last: as long as the run counts as unfinished, the next try needs it.
    shutil.rmtree(spec.folder / WORK, ignore_errors=True)


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
