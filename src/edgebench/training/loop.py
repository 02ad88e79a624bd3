"""The one training loop: every network of every paper is trained by `train`."""

from __future__ import annotations

import math
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import send_to_device
from torch import nn

from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.progress import Display
from edgebench.training import checkpoint, data
from edgebench.training.log import last_row
from edgebench.training.objective import Objective
from edgebench.training.records import LOG, WORK, Records
from edgebench.training.settings import LoopSettings
from edgebench.training.state import TrainingState

WEIGHTS, FINISHED = "weights.safetensors", ".finished"


class TrainingStopped(EdgebenchError):  # noqa: N818 (a pause, not an error)
    """Training saved a checkpoint and stopped before its end; the same command continues it.

    The command line exits with `exit_status` (EX_TEMPFAIL), by which a cluster knows to submit again.
    """

    exit_status = 75


@dataclass(frozen=True)
class TrainReport:
    """What a finished training leaves.

    Attributes:
        weights: The safetensors file of exported weights.
        log: The CSV log.
        steps: Optimiser steps done.
        resumed_from: Steps that were already done when this call began.
        loss: Mean loss in the last row of the log.
        seconds: Training time over all calls, without what was lost between a checkpoint and a kill.
        parameters: Number of trained scalars.
    """

    weights: Path
    log: Path
    steps: int
    resumed_from: int
    loss: float
    seconds: float
    parameters: int


def train(
    objective: Objective, settings: LoopSettings, folder: str | Path, description: str = "training"
) -> TrainReport:
    """Train `objective.model` and leave `weights.safetensors` and `log.csv` in `folder`.

    Checkpoints lie in `folder/work` until the end. Called again on the same folder it continues from the
    newest whole one; on a CPU the result is then bit for bit that of an undisturbed run. Under `torchrun`
    the processes share every step's micro-batches, and the result is that of one process within float noise
    (but for running statistics of a BatchNorm, which see the first process's share).

    Args:
        objective: Network, samples and loss.
        settings: Length, batch, rates, precision and the like.
        folder: The run's folder, made if need be.
        description: What the progress display calls it.

    Raises:
        TrainingStopped: the time limit was reached or SIGTERM came; a checkpoint was saved.
        ConfigError: settings do not fit the machine, the model, or the checkpoint found in `folder`.
        EdgebenchError: the loss or the gradient is not finite, or a file could not be written.
    """
    folder = Path(folder)
    accelerator = _accelerator(settings)
    try:
        if accelerator.is_main_process:
            _publish(folder)
        accelerator.wait_for_everyone()
        done = all((folder / name).exists() for name in (WEIGHTS, LOG)) and not (folder / WORK).exists()
        _require_same(accelerator, settings.steps if done else 0, folder)
        resumed_from = settings.steps if done else _train(objective, settings, folder, description, accelerator)
    finally:
        accelerator.end_training()
    row = last_row(folder / LOG)
    parameters = sum(p.numel() for group in objective.parameter_groups() for p in group["params"])
    return TrainReport(
        weights=folder / WEIGHTS,
        log=folder / LOG,
        steps=int(row["step"]),
        resumed_from=resumed_from,
        loss=row["loss"],
        seconds=row["seconds"],
        parameters=parameters,
    )


def _train(
    objective: Objective, settings: LoopSettings, folder: Path, description: str, accelerator: Accelerator
) -> int:
    """Go through all steps; return the number that were done before."""
    _check_fit(objective, settings, accelerator.num_processes)
    is_main, device = accelerator.is_main_process, accelerator.device
    if settings.gradient_checkpointing:
        objective.model.enable_gradient_checkpointing()  # type: ignore[operator]
    model = accelerator.prepare_model(objective.model).train()
    state = TrainingState(objective, settings, device)
    identity = settings.identity() | {"samples": len(objective)}
    found = checkpoint.newest(folder / WORK, say=is_main)
    if found:
        _check_identity(found, identity)
        state.restore(found)
    start = found.step if found else 0
    _require_same(accelerator, start, folder)
    accelerator.wait_for_everyone()  # before the first process tidies what the others read

    batches = data.batches(
        objective,
        settings,
        start,
        accelerator.process_index,
        accelerator.num_processes,
        pin=device.type == "cuda",
    )
    with (
        closing(batches),  # ends the loader's workers, which do not heed SIGTERM
        Records(folder, settings, identity, found, is_main) as records,
        Display(description, settings.steps, start, shown=is_main) as display,
        _sigterm() as terminated,
        _repeatable(device),
    ):
        for step in range(start, settings.steps):
            values = _gradients(objective, model, settings, batches, accelerator, step)
            values, flags = _agree(
                accelerator,
                values,
                sigterm=terminated.is_set(),
                limit=records.at_limit(),
                due=records.due(step + 1),
            )
            loss, norm = values.pop("loss"), state.gradient_norm()
            _check_finite(step + 1, loss, norm, folder / WORK)
            multiplier = settings.multiplier(step)
            state.update(step + 1, multiplier, norm, settings.gradient_clip)
            state.add({"loss": loss, "grad_norm": norm, **values})
            display.update(step + 1, f"loss {loss:.4g}")
            if (step + 1) % settings.log_every == 0 or step + 1 == settings.steps:
                records.row(step + 1, settings.learning_rate * multiplier, state.take_means())
            if step + 1 < settings.steps and any(flags.values()):
                records.save(step + 1, state)
                accelerator.wait_for_everyone()
                if flags["sigterm"] or flags["limit"]:
                    reason = (
                        "it was told to (SIGTERM or Ctrl-C)"
                        if flags["sigterm"]
                        else f"{settings.time_limit_minutes:g} minutes are over"
                    )
                    raise TrainingStopped(
                        f"{folder}: stopped after step {step + 1} of {settings.steps} because {reason}. "
                        f"The checkpoint is saved; run the same command again to continue."
                    )
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    if is_main:
        _export(objective, state, folder)
    accelerator.wait_for_everyone()
    return start


def _gradients(
    objective: Objective,
    model: nn.Module,
    settings: LoopSettings,
    batches: Iterator[dict[str, Any]],
    accelerator: Accelerator,
    step: int,
) -> dict[str, float]:
    """Leave the mean gradient of one step in the parameters; return this process's mean loss and metrics."""
    objective.model.zero_grad()
    generator = torch.Generator(accelerator.device)
    numbers = data.micro_batch_numbers(settings, step, accelerator.process_index, accelerator.num_processes)
    means: dict[str, float] = {}
    for number in numbers:
        batch = send_to_device(next(batches), accelerator.device, non_blocking=True)
        torch.manual_seed(data.torch_seed(settings.seed, data.MODEL, number))
        generator.manual_seed(data.torch_seed(settings.seed, data.LOSS, number))
        with nullcontext() if number == numbers[-1] else accelerator.no_sync(model):
            loss, metrics = objective.loss(model, batch, generator, step)
            accelerator.backward(loss / len(numbers))
        for name, value in {"loss": float(loss.detach()), **metrics}.items():
            means[name] = means.get(name, 0.0) + value / len(numbers)
    return means


def _require_same(accelerator: Accelerator, step: int, folder: Path) -> None:
    """Raise where processes found different states of the training, as nodes may that see shared files late."""
    if accelerator.num_processes == 1:
        return
    found = accelerator.gather(torch.tensor([step], device=accelerator.device)).tolist()
    if len(set(found)) > 1:
        raise EdgebenchError(
            f"{folder}: the processes of this training found different checkpoints there, of steps "
            f"{', '.join(map(str, found))}. Nodes may see files late on a network file system: run the same command "
            f"again."
        )


def _agree(
    accelerator: Accelerator, values: dict[str, float], **flags: bool
) -> tuple[dict[str, float], dict[str, bool]]:
    """Means of `values` over the processes, and whether any process raised each of `flags`."""
    if accelerator.num_processes == 1:
        return values, flags
    own = torch.tensor([*values.values(), *flags.values()], dtype=torch.float64, device=accelerator.device)
    mean = accelerator.reduce(own, "mean").tolist()
    raised = (value > 0 for value in mean[len(values) :])
    return dict(zip(values, mean, strict=False)), dict(zip(flags, raised, strict=True))


def _export(objective: Objective, state: TrainingState, folder: Path) -> None:
    # Cloned, because safetensors refuses tensors that share memory.
    tensors = {name: t.contiguous().clone() for name, t in objective.exported(state.final()).items()}
    checkpoint.write_tensors(folder / WORK / WEIGHTS, tensors, objective.export_metadata())
    os.rename(folder / WORK, folder / FINISHED)
    _publish(folder)


def _publish(folder: Path) -> None:
    """Move finished files into place; after a kill on the way, the next call goes on from there."""
    finished = folder / FINISHED
    if finished.exists():
        for name in (WEIGHTS, LOG):
            if (finished / name).exists():
                os.replace(finished / name, folder / name)
        shutil.rmtree(finished)


def _accelerator(settings: LoopSettings) -> Accelerator:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "training setting device = 'cuda': PyTorch sees no CUDA GPU here. Set device: auto or cpu, "
            "or type `edgebench doctor` to see why."
        )
    # Accelerate keeps one state per process, and a second training may differ in device or precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    # Said outright, because on its own accelerate would start CPU processes that know nothing of one another.
    cpu = settings.device == "cpu" or not torch.cuda.is_available()
    return Accelerator(cpu=cpu, mixed_precision="bf16" if settings.precision == "bf16" else "no")


def _check_fit(objective: Objective, settings: LoopSettings, processes: int) -> None:
    if settings.accumulate % processes:
        raise ConfigError(
            f"training setting accumulate = {settings.accumulate}: {processes} processes share a step's "
            f"micro-batches, so it must be a multiple of {processes}. Change it or the number of processes."
        )
    if settings.gradient_checkpointing and not hasattr(objective.model, "enable_gradient_checkpointing"):
        raise ConfigError(
            f"training setting gradient_checkpointing = True: {type(objective.model).__name__} has no "
            f"such switch. Set it to false, and a smaller batch with more accumulate if memory is short."
        )
    if len(objective) < 1:
        raise DataError("There is no sample to train on. Check the data set's folder and split.")


def _check_identity(found: checkpoint.Checkpoint, identity: dict[str, Any]) -> None:
    saved = found.state["identity"]
    for key in sorted(identity.keys() | saved.keys()):
        if identity.get(key) != saved.get(key):
            raise ConfigError(
                f"{found.path}: was saved with {key} = {saved.get(key)!r}, now it is {identity.get(key)!r}. "
                f"Set it back to continue, or delete the folder {found.path.parent} to train from the start."
            )


def _check_finite(step: int, loss: float, norm: float, work: Path) -> None:
    name, value = ("gradient's norm", norm) if math.isfinite(loss) else ("loss", loss)
    if not math.isfinite(value):
        last = next(iter(checkpoint.steps(work)), None)
        kept = f"The last checkpoint is {checkpoint.path_of(work, last)}" if last else "There is no checkpoint yet"
        raise EdgebenchError(
            f"{work.parent}: the {name} is {value} at step {step}. {kept}. Lower learning_rate, "
            f"set gradient_clip or use precision fp32; starting again unchanged would end at the same step."
        )


@contextmanager
def _sigterm() -> Iterator[threading.Event]:
    """Turn SIGTERM and Ctrl-C into an event; a thread other than the main one cannot, and is killed as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {each: signal.signal(each, lambda *_: event.set()) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield event
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """On a CPU choose kernels whose result does not depend on the order in which threads end."""
    before, warn_only, filled = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )
    torch.use_deterministic_algorithms(before or device.type == "cpu", warn_only=warn_only or not before)
    # Filling whatever is allocated, in case that someone reads it, takes a fourteenth of a small network's training.
    torch.utils.deterministic.fill_uninitialized_memory = filled and before  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
