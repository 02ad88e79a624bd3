"""The settings of the training loop, and its learning-rate schedules. Imports neither numpy nor torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from edgebench.errors import ConfigError
from edgebench.training.decay import compounding_decay, nominal_decay

# These say when to save and what to show; a run may be resumed with other values of them.
_WITHOUT_EFFECT = {"workers", "checkpoint_minutes", "checkpoint_steps", "time_limit_minutes", "tensorboard"}


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long, how fast and in what portions to train; the same for every paper.

    One optimiser step sees `batch * accumulate` samples, however many processes share the work: the
    micro-batches are dealt out to them, so `accumulate` must be a multiple of the number of processes.

    Attributes:
        steps: Optimiser steps.
        batch: Samples in one micro-batch, that is in one call of the objective's `loss`.
        accumulate: Micro-batches whose gradients are averaged for one step, over all processes.
        learning_rate: Peak rate of AdamW; a parameter group may scale it by `lr_scale`.
        schedule: `constant`, `linear_warmup`, `cosine`, `exponential`, `compounding_decay` or `nominal_decay`, see
            `multiplier`.
        epochs: Epochs that the whole training stands for; only the two decays count them, and they need them.
        gradient_clip: Largest norm of the whole gradient, or None.
        precision: `bf16` runs the model's forward pass under autocast; weights stay float32.
        ema_decay: Decay of the moving average of the weights, or None for no average.
        ema_start: Steps after which the average begins; its first update copies the live weights.
        log_every: Steps in one row of the log, which holds their means.
        checkpoint_minutes: Time between checkpoints; `checkpoint_steps` asks for more by count.
        time_limit_minutes: Save and stop after so long, to be started again.

    Raises:
        ConfigError: a value is out of range, or two contradict one another.
    """

    steps: int
    batch: int
    learning_rate: float
    accumulate: int = 1
    weight_decay: float = 0.01
    schedule: str = "constant"
    warmup_steps: int = 0
    epochs: int | None = None
    gradient_clip: float | None = None
    precision: str = "fp32"
    ema_decay: float | None = None
    ema_start: int = 0
    gradient_checkpointing: bool = False
    seed: int = 0
    device: str = "auto"
    workers: int = 0
    log_every: int = 1
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    time_limit_minutes: float | None = None
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for key in ("steps", "batch", "accumulate", "log_every", "checkpoint_steps", "epochs"):
            self._require(key, lambda value: value is None or value >= 1, "must be 1 or more")
        for key in ("warmup_steps", "ema_start", "seed", "workers", "weight_decay"):
            self._require(key, lambda value: value >= 0, "must be 0 or more")
        for key in ("learning_rate", "checkpoint_minutes", "gradient_clip", "time_limit_minutes"):
            self._require(key, lambda value: value is None or value > 0, "must be above 0")
        self._require("schedule", lambda name: name in SCHEDULES, f"must be one of {', '.join(SCHEDULES)}")
        self._require("precision", lambda name: name in ("fp32", "bf16"), "must be fp32 or bf16")
        self._require("device", lambda name: name in ("auto", "cpu", "cuda"), "must be auto, cpu or cuda")
        self._require("ema_decay", lambda value: value is None or 0 <= value < 1, "must be at least 0, below 1")
        self._require("ema_start", lambda value: value < self.steps, f"must be below steps = {self.steps}")
        self._require("warmup_steps", lambda value: value < self.steps, f"must be below steps = {self.steps}")
        if self.schedule == "constant":
            self._require("warmup_steps", lambda value: value == 0, "needs another schedule than constant")
        if self.schedule in _DECAYS:
            self._require("epochs", lambda value: value is not None, f"is needed by schedule {self.schedule}")

    def _require(self, key: str, holds: Callable[[Any], bool], rule: str) -> None:
        value = getattr(self, key)
        if not holds(value):
            raise ConfigError(f"training setting {key} = {value!r}: {rule}. Correct it and start again.")

    def identity(self) -> dict[str, Any]:
        """The settings that decide the weights and the log; a checkpoint is resumed only under the same."""
        left_out = _WITHOUT_EFFECT if self.schedule in _DECAYS else _WITHOUT_EFFECT | {"epochs"}
        return {key: value for key, value in asdict(self).items() if key not in left_out}

    def multiplier(self, step: int) -> float:
        """Factor on the learning rate at optimiser step `step` (from 0), in (0, 1].

        - `constant`: 1.
        - `linear_warmup`: rises to 1 over `warmup_steps`, then stays.
        - `cosine`: the same rise, then falls as half a cosine, to 0 at the end of training.
        - `exponential`: the same rise, then falls geometrically towards 0.01 at the end of training
          (the form of Marigold's published trainer).
        - `compounding_decay`, `nominal_decay`: DiffDIS' rule over `epochs`, as released and as it reads (see
          `edgebench.training.decay`), times the same rise.
        """
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule in _DECAYS:
            assert self.epochs is not None
            return rise * _DECAYS[self.schedule](step, self.steps, self.epochs)
        if step >= self.warmup_steps:
            passed = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
            if self.schedule == "exponential":
                return float(0.01**passed)
            if self.schedule == "cosine":
                return (1 + math.cos(math.pi * passed)) / 2
        return rise


_DECAYS: dict[str, Callable[[int, int, int], float]] = {
    "compounding_decay": compounding_decay,
    "nominal_decay": nominal_decay,
}
SCHEDULES = ("constant", "linear_warmup", "cosine", "exponential", *_DECAYS)
