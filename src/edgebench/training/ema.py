"""A moving average of the weights, kept apart from them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """Exponential moving average over named parameters.

    It never touches the live model: the average is read from `average` and written to the exported weights.

    Args:
        parameters: The live parameters by name.
        decay: Weight of the old average in `average = decay * average + (1 - decay) * live`.
        start: Updates up to this step (from 1) do nothing; the first after it copies the live weights.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float, start: int) -> None:
        self.parameters, self.start = parameters, start
        self.average: dict[str, Tensor] = {}
        self._blend = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the live weights after optimiser step `step`, counted from 1."""
        if step <= self.start:
            return
        if not self.average:
            self.average = {name: live.detach().clone() for name, live in self.parameters.items()}
        else:
            self._blend(list(self.average.values()), list(self.parameters.values()), None)
