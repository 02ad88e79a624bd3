"""Learning rates that fall from epoch to epoch by DiffDIS' rule, as released and as it reads."""

from __future__ import annotations

FACTOR = 0.95
EVERY = 30


def compounding_decay(step: int, steps: int, epochs: int) -> float:
    """Factor on the learning rate at optimiser step `step` (from 0), as DiffDIS' released trainer has it.

    At the end of epoch e the rate is multiplied by 0.95 ** (e // 30), in place, so that it compounds: constant
    for 30 epochs, 5 % less per epoch for 30 more, then 10 %. After 90 epochs it is a hundredth.

    Args:
        step: Optimiser step.
        steps: Optimiser steps of the whole training.
        epochs: Epochs that the whole training stands for; a shortened one keeps the form.
    """
    return float(FACTOR ** sum(done // EVERY for done in range(_epoch(step, steps, epochs))))


def nominal_decay(step: int, steps: int, epochs: int) -> float:
    """The same rule as it reads: multiplied by 0.95 once every 30 epochs, which is almost constant."""
    return float(FACTOR ** ((_epoch(step, steps, epochs) - 1) // EVERY))


def _epoch(step: int, steps: int, epochs: int) -> int:
    return 1 + step * epochs // steps
