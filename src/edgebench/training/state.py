"""The state of a training: all that changes from step to step, saved to and restored from checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from edgebench.errors import DataError
from edgebench.training.checkpoint import Checkpoint
from edgebench.training.ema import Ema
from edgebench.training.objective import Objective
from edgebench.training.settings import LoopSettings


class TrainingState:
    """Trained weights, buffers, AdamW's moments, the moving average, and the sums of the log's next row.

    Frozen parameters belong to the objective and are not saved again. Randomness has no state
    (see `edgebench.training.data`).

    Raises:
        ValueError: a parameter group holds a tensor that is not a trainable parameter of the model.
    """

    def __init__(self, objective: Objective, settings: LoopSettings, device: torch.device) -> None:
        groups = objective.parameter_groups()
        names = {id(p): name for name, p in objective.model.named_parameters() if p.requires_grad}
        trained = [parameter for group in groups for parameter in group["params"]]
        if any(id(parameter) not in names for parameter in trained):
            raise ValueError("parameter_groups() holds a tensor that is not a trainable parameter of objective.model")
        self.model = objective.model
        self.parameters = {names[id(parameter)]: parameter for parameter in trained}
        self.rates = [settings.learning_rate * group.get("lr_scale", 1.0) for group in groups]
        self.optimizer = torch.optim.AdamW(
            [
                {key: group[key] for key in ("params", "weight_decay") if key in group} | {"lr": rate}
                for group, rate in zip(groups, self.rates, strict=True)
            ],
            weight_decay=settings.weight_decay,
            fused=device.type == "cuda",
        )
        self.ema = (
            Ema(self.parameters, settings.ema_decay, settings.ema_start) if settings.ema_decay is not None else None
        )
        self.sums: dict[str, float] = {}
        self.count = 0

    def gradient_norm(self) -> float:
        """Norm of the gradient over all trained parameters."""
        return float(get_total_norm([p.grad for p in self.parameters.values() if p.grad is not None]))

    def update(self, step: int, multiplier: float, norm: float, clip: float | None) -> None:
        """Take optimiser step `step` (from 1), with every group's rate times `multiplier`.

        The gradient, whose norm is `norm`, is first scaled down to norm `clip` if it is larger.
        """
        if clip is not None:
            clip_grads_with_norm_(self.parameters.values(), clip, torch.tensor(norm))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * multiplier
        self.optimizer.step()
        if self.ema:
            self.ema.update(step)

    def add(self, values: dict[str, float]) -> None:
        """Take the values of one step into the next row of the log."""
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in values.items()}
        self.count += 1

    def take_means(self) -> dict[str, float]:
        """Means of the values since the last call."""
        means = {name: total / self.count for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        return means

    def tensors(self) -> dict[str, Tensor]:
        """All of it as contiguous tensors under names that say what they are."""
        live = {f"model/{name}": tensor for name, tensor in self._live().items()}
        average = {f"ema/{name}": tensor for name, tensor in (self.ema.average if self.ema else {}).items()}
        moments = {
            f"optimizer/{name}/{key}": tensor
            for name, parameter in self.parameters.items()
            for key, tensor in self.optimizer.state[parameter].items()
        }
        sums = {f"sum/{name}": torch.tensor(total, dtype=torch.float64) for name, total in self.sums.items()}
        everything = live | average | moments | sums | {"count": torch.tensor(self.count)}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in everything.items()}

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over what `tensors` gave.

        Raises:
            DataError: the checkpoint holds other weights than this model's.
        """
        saved = checkpoint.tensors
        live = self._live()
        shapes = {name: tuple(tensor.shape) for name, tensor in live.items()}
        found = {name: tuple(tensor.shape) for name, tensor in _under("model", saved).items()}
        for name in sorted(shapes.keys() | found.keys()):
            if shapes.get(name) != found.get(name):
                raise DataError(
                    f"{checkpoint.path}: {name} has shape {found.get(name)}, the model {shapes.get(name)}. "
                    f"Delete the folder {checkpoint.path.parent} to train from the start."
                )
        for name, tensor in live.items():
            tensor.copy_(saved[f"model/{name}"])
        if self.ema:
            average = _under("ema", saved)
            self.ema.average = {
                name: _as(parameter, average[name]) for name, parameter in self.parameters.items() if average
            }
        moments: dict[int, dict[str, Any]] = {}
        for number, (name, parameter) in enumerate(self.parameters.items()):
            if state := _under(f"optimizer/{name}", saved):
                moments[number] = {key: _as(parameter, tensor) for key, tensor in state.items()}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.sums = {name: float(total) for name, total in _under("sum", saved).items()}
        self.count = int(saved["count"])

    def final(self) -> dict[str, Tensor]:
        """The model's state dict on the CPU, with the moving average in place of the live weights."""
        average = self.ema.average if self.ema else {}
        averages = {id(parameter): average.get(name) for name, parameter in self.parameters.items()}
        state = {}
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            kept = averages.get(id(tensor))
            state[name] = (tensor if kept is None else kept).detach().cpu()
        return state

    def _live(self) -> dict[str, Tensor]:
        return {**self.parameters, **dict(self.model.named_buffers())}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def _as(like: Tensor, tensor: Tensor) -> Tensor:
    """Copy; with the strides and device of `like` where shapes agree, so that the same kernels run."""
    return torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor.clone()
