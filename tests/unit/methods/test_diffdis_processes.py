"""DiffDIS' network in the training loop: processes that share the work, recomputed activations, blank masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.training.loop import train
from edgebench.training.settings import LoopSettings
from tests.unit.diffdis_processes import forkserver, free_port
from tests.unit.methods.test_diffdis_training import CONFIG, Blank, objective

torch.set_num_threads(1)
LOOP: dict[str, Any] = {"steps": 2, "batch": 2, "learning_rate": 1e-3, "weight_decay": 0.0, "device": "cpu"}


def trained(folder: Path, loop: dict[str, Any], **changes: Any) -> dict[str, torch.Tensor]:
    made: Any = objective(**changes)
    report = train(made, LoopSettings(**{**LOOP, **loop}), folder)
    return load_file(report.weights)


def work(folder: str, environment: dict[str, str], changes: dict[str, Any]) -> None:
    """One of several processes."""
    os.environ.update(environment)
    trained(Path(folder), {"accumulate": 4}, **changes)


@pytest.mark.parametrize("times", ["last", "two_steps"])
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path, times: str) -> None:
    # A chain goes through the network twice before the gradient comes back.
    changes = {"times": times, "network": {"prediction": "v_prediction"}}
    single = trained(tmp_path / "one", {"accumulate": 4}, **changes)
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    context = forkserver()
    processes = [
        context.Process(
            target=work,
            args=(str(tmp_path / "two"), {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, changes),
        )
        for rank in range(2)
    ]
    for each in processes:
        each.start()
    for each in processes:
        each.join(300)
    assert [each.exitcode for each in processes] == [0, 0]
    both = load_file(tmp_path / "two" / "weights.safetensors")
    # Proof that the work was shared: the first process saw half of the micro-batches.
    counted = "injectors.0.norm.num_batches_tracked"
    assert int(both[counted]) == int(single[counted]) // 2 > 0
    for name, tensor in both.items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(tensor, single[name], rtol=1e-3, atol=2e-5)


def test_activations_are_really_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"attention": (False, True), "interaction": "mutual"}
    passes: list[str] = []
    ours = DiffdisNetwork.__init__

    def watched(self: DiffdisNetwork, *given: Any) -> None:
        ours(self, *given)
        for name, module in self.named_modules():
            # diffusers keeps what the first block of the middle computes
            if name.endswith(("resnets.0", "injectors.0")) and "mid_block" not in name:
                module.register_forward_pre_hook(lambda *_, name=name: passes.append(name))

    monkeypatch.setattr(DiffdisNetwork, "__init__", watched)
    found = {}
    for again in (False, True):
        passes.clear()
        loop = {"steps": 1, "gradient_checkpointing": again}
        found[again] = trained(tmp_path / str(again), loop, network=config), sorted(passes)
    once, twice = (found[again][1] for again in (False, True))
    levels = [name for name in set(once) if "resnets" in name]
    assert len(levels) == 2 * len(CONFIG.channels)
    assert [once.count(name) for name in levels] == [1] * len(levels)
    assert [twice.count(name) for name in levels] == [2] * len(levels)
    assert twice.count("injectors.0") == 1  # its running statistics would see a picture twice
    for name, tensor in found[False][0].items():
        torch.testing.assert_close(found[True][0][name], tensor, msg=name)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_blank_masks_train(tmp_path: Path, value: int, precision: str) -> None:
    weights = trained(tmp_path, {"precision": precision}, dataset=Blank(value), network={"prediction": "epsilon"})
    assert all(torch.isfinite(tensor).all() for tensor in weights.values() if tensor.is_floating_point())
