from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgebench.errors import DataError
from edgebench.training import data
from edgebench.training.objective import Objective
from edgebench.training.settings import LoopSettings


class Numbers(Objective):
    """Samples that tell their index and first random number; one may fail."""

    def __init__(self, broken: int | None = None) -> None:
        self.model = nn.Identity()
        self.broken = broken

    def __len__(self) -> int:
        return 7

    def sample(self, index, rng):
        if index == self.broken:
            raise DataError("image 3: cannot be read.")
        return {"index": torch.tensor(index), "drawn": torch.tensor(rng.random())}

    def loss(self, model, batch, generator, step):
        raise NotImplementedError


def settings(**changed) -> LoopSettings:
    return LoopSettings(**{"steps": 6, "batch": 2, "accumulate": 4, "learning_rate": 0.1} | changed)


def drawn(objective=None, first_step=0, rank=0, processes=1, **changed):
    found = data.batches(objective or Numbers(), settings(**changed), first_step, rank, processes, pin=False)
    return [(batch["index"].tolist(), batch["drawn"].tolist()) for batch in found]


class TestOrder:
    def test_every_epoch_is_another_permutation(self):
        epochs = [[data.sample_index(0, 7 * epoch + i, 7) for i in range(7)] for epoch in range(4)]
        assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 4

    def test_streams_and_seeds_are_apart(self):
        seeds = {
            data.torch_seed(seed, stream, number)
            for seed in (0, 1, 2**40)
            for stream in (data.LOSS, data.MODEL)
            for number in range(50)
        }
        assert len(seeds) == 300
        assert all(0 <= seed < 2**63 for seed in seeds)
        assert data.sample_rng(0, 1).random() != data.sample_rng(1, 0).random()


class TestBatches:
    def test_samples_follow_the_order(self):
        indices = [index for batch, _ in drawn() for index in batch]
        assert indices == [data.sample_index(0, number, 7) for number in range(48)]
        assert drawn()[0][1][1] == pytest.approx(data.sample_rng(0, 1).random())

    def test_from_any_step_with_any_workers(self):
        whole = drawn()
        assert len(whole) == 24
        assert drawn(first_step=4) == whole[16:]
        assert drawn(first_step=4, workers=2) == whole[16:]

    def test_processes_share_the_micro_batches_of_each_step(self):
        whole, first, second = drawn(), drawn(rank=0, processes=2), drawn(rank=1, processes=2)
        assert first == whole[0::2]
        assert second == whole[1::2]

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_broken_image_is_told_without_a_traceback(self, workers):
        with pytest.raises(DataError) as caught:
            drawn(Numbers(broken=3), workers=workers)
        assert str(caught.value) == "image 3: cannot be read."

    def test_a_generator_is_fresh_for_every_sample(self):
        numbers = np.concatenate([values for _, values in drawn()])
        assert len(set(numbers)) == 48
