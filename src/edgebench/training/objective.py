"""What a method brings to the training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Generator, Tensor, nn


class Objective(Protocol):
    """A network, its samples and its loss: all that differs from one paper to the next.

    A method may inherit from this class to take over the bodies given here, or supply its own.

    All randomness must come from the `rng` and `generator` handed in. Then every sample and every loss is a
    function of the seed and a number alone, and a resumed run continues bit for bit. PyTorch's global
    generator (plain `nn.Dropout`) is seeded before every call of `loss`, so it may be used in the model too.
    The weights must be initialised from a seed before the objective is handed to the loop.
    """

    model: nn.Module

    def __len__(self) -> int:
        """Number of samples in one epoch."""
        ...

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Make sample `index` (0 to `len - 1`), with its augmentation drawn from `rng`.

        Runs in loader workers: it must not touch the model or a GPU.
        """
        ...

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Any]:
        """Join samples to a micro-batch; by default every entry is stacked along a new first axis."""
        from torch.utils.data import default_collate

        return default_collate(samples)

    def loss(
        self, model: nn.Module, batch: dict[str, Any], generator: Generator, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of one micro-batch, as its mean over samples.

        Args:
            model: `self.model`, wrapped for precision and several processes: call this one.
            batch: What `collate` made, on the training device.
            generator: Generator on the training device, seeded for this micro-batch.
            step: Optimiser step, from 0.

        Returns:
            A scalar tensor, and further numbers for the log under the same names in every call.
        """
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What to train: groups with `params` and optionally `lr_scale`, a factor on the rate, and `weight_decay`.

        By default one group of every parameter of the model that requires a gradient.
        """
        return [{"params": [parameter for parameter in self.model.parameters() if parameter.requires_grad]}]

    def exported(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors to write to `weights.safetensors`, from the model's final state dict on the CPU.

        Where a moving average is kept, `state` holds it in place of the live weights.
        """
        return state

    def export_metadata(self) -> dict[str, str]:
        """What a predictor must know to rebuild the network, for the header of `weights.safetensors`."""
        return {}
