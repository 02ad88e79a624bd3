"""The order of samples and all randomness, as functions of the seed and a number.

Nothing here has a state, so there is none to save: a run resumed at any step sees what it would have seen,
with any number of loader workers and any number of processes.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from functools import lru_cache
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from edgebench.errors import EdgebenchError
from edgebench.training.objective import Objective
from edgebench.training.settings import LoopSettings

# Independent streams of one seed: augmentation, order, the loss's generator, PyTorch's global generator.
SAMPLE, ORDER, LOSS, MODEL = range(4)


def seed_sequence(seed: int, stream: int, number: int) -> np.random.SeedSequence:
    """The seed of item `number` in one of the streams SAMPLE, ORDER, LOSS, MODEL."""
    return np.random.SeedSequence(seed, spawn_key=(stream, number))


def sample_rng(seed: int, number: int) -> np.random.Generator:
    """The generator of global sample `number`, counted from 0 over the whole training."""
    return np.random.default_rng(seed_sequence(seed, SAMPLE, number))


def torch_seed(seed: int, stream: int, micro_batch: int) -> int:
    """A seed for `torch.Generator.manual_seed` at global micro-batch `micro_batch`, in [0, 2**63)."""
    return int(seed_sequence(seed, stream, micro_batch).generate_state(1, np.uint64)[0] >> np.uint64(1))


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, samples: int) -> np.ndarray:
    return np.random.default_rng(seed_sequence(seed, ORDER, epoch)).permutation(samples)


def sample_index(seed: int, number: int, samples: int) -> int:
    """Which of `samples` is global sample `number`: every epoch is a new permutation of them."""
    epoch, place = divmod(number, samples)
    return int(_order(seed, epoch, samples)[place])


def micro_batch_numbers(settings: LoopSettings, step: int, rank: int, processes: int) -> list[int]:
    """The global micro-batches of optimiser step `step` (from 0) that process `rank` works off."""
    return list(range(step * settings.accumulate + rank, (step + 1) * settings.accumulate, processes))


def batches(
    objective: Objective, settings: LoopSettings, first_step: int, rank: int, processes: int, pin: bool
) -> Generator[dict[str, Any]]:
    """The micro-batches of process `rank` from step `first_step` to the end, in order.

    Raises:
        EdgebenchError: an image cannot be read, raised as the objective raised it, also from a worker.
    """
    numbers = (
        list(range(micro * settings.batch, (micro + 1) * settings.batch))
        for step in range(first_step, settings.steps)
        for micro in micro_batch_numbers(settings, step, rank, processes)
    )
    loader = DataLoader(
        _Samples(objective, settings.seed),
        batch_sampler=numbers,
        collate_fn=_Collate(objective),
        num_workers=settings.workers,
        multiprocessing_context="fork" if settings.workers else None,
        worker_init_fn=_ignore_sigterm,
        pin_memory=pin,
    )
    for batch in loader:
        if isinstance(batch, EdgebenchError):
            raise batch
        yield batch


class _Samples(Dataset):
    def __init__(self, objective: Objective, seed: int) -> None:
        self.objective, self.seed, self.samples = objective, seed, len(objective)

    def __getitem__(self, number: int) -> Any:
        index = sample_index(self.seed, number, self.samples)
        # A worker's exception would reach the main process with a traceback in its message.
        try:
            return self.objective.sample(index, sample_rng(self.seed, number))
        except EdgebenchError as error:
            return error


class _Collate:
    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def __call__(self, samples: list[Any]) -> Any:
        errors = [sample for sample in samples if isinstance(sample, EdgebenchError)]
        return errors[0] if errors else self.objective.collate(samples)


def _ignore_sigterm(worker: int) -> None:
    # A cluster signals the whole process group; the main process still needs its workers to end the step.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
