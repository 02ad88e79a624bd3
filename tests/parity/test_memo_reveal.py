"""Reveal strategies, bit for bit, against runs of the authors' three programs on fixed logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edgebench.methods.memo.network import MASK
from edgebench.methods.memo.reveal import RevealSettings, local_maxima, reveal, reveal_counts

torch.set_num_threads(1)
STRATEGIES: dict[str, Literal["locmax", "topk", "random"]] = {
    "MEMOEdgeLocalMaximumPipeline": "locmax",
    "MEMOEdgePipeline": "topk",
    "MEMORndDenoisePipeline": "random",
}


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "fixtures" / "memo"


class Cases:
    """The fixture's runs, replayed: step t is answered with the t-th stored logits."""

    def __init__(self, folder: Path) -> None:
        self.meta: dict[str, dict[str, Any]] = json.loads((folder / "reveal_meta.json").read_text())
        self.official = load_file(folder / "reveal.safetensors")
        self.variants = load_file(folder / "reveal_variants.safetensors")

    def replay(self, name: str, compat: Literal["official", "native"]) -> dict[str, Tensor]:
        meta, stored = self.meta[name], self.official[f"{name}.logits"]
        batch, scale = meta["batch"], meta["cfg_scale"]
        shape = (batch, *stored.shape[-2:])
        states = [torch.full(shape, MASK)]
        ratios: list[Tensor] = []

        def denoise(tokens: Tensor, ratio: Tensor, step: int, active: list[int]) -> Tensor:
            assert torch.equal(tokens, states[-1][active])
            ratios.append(torch.zeros(batch).index_copy(0, torch.tensor(active), ratio))
            logits = stored[step]
            if scale is None:
                return logits[active]
            conditional, unconditional = logits[:batch][active], logits[batch:][active]
            return unconditional + scale * (conditional - unconditional)

        settings = RevealSettings(
            strategy=STRATEGIES[meta["strategy"]],
            steps=meta["steps_available"],
            compat=compat,
            confidence_threshold=meta["kwargs"].get("conf_thres", 0.5),
            schedule=meta["kwargs"].get("denoise_mode", "uniform"),
        )
        torch.manual_seed(meta["torch_seed"])
        revealed = reveal(denoise, shape, settings, on_step=lambda step, tokens, _: states.append(tokens))
        return {
            "states": torch.stack(states).to(torch.uint8),
            "mask_ratio": torch.stack(ratios),
            "edges": revealed.edges,
            "probability": revealed.probability,
        }


@pytest.fixture(scope="module")
def cases(folder: Path) -> Cases:
    return Cases(folder)


def masked_counts(states: Tensor) -> list[list[int]]:
    return (states == MASK).sum((2, 3)).tolist()


def test_every_run_of_the_pytorch_program(cases: Cases) -> None:
    for name in cases.meta:
        replayed = cases.replay(name, "official")
        expected = {key.removeprefix(f"{name}."): value for key, value in cases.official.items()}
        assert torch.equal(replayed["mask_ratio"], expected["mask_ratio"]), name
        if name == "topk_10_ties":  # which of equals torch.topk takes is its own affair
            assert masked_counts(replayed["states"]) == masked_counts(expected["states"])
            continue
        for key in ("states", "edges"):
            assert torch.equal(replayed[key], expected[key]), (name, key)
        assert torch.equal(replayed["probability"], expected["probs"][..., 1]), name


def test_every_run_of_the_native_program(cases: Cases) -> None:
    names = [key.removesuffix(".native.states") for key in cases.variants if ".native." in key]
    assert len(names) == 10
    for name in names:
        replayed = cases.replay(name, "native")["states"]
        expected = cases.variants[f"{name}.native.states"]
        if name == "locmax_flat_cap":
            assert masked_counts(replayed) == masked_counts(expected)
        elif name == "locmax_ties_cap":  # equal confidences: the runs part after the first capped step
            assert masked_counts(replayed)[:2] == masked_counts(expected)[:2]
        else:
            assert torch.equal(replayed, expected), name


def test_every_run_of_the_numpy_program(cases: Cases) -> None:
    """It wraps around as the PyTorch one does; only its choice beyond the cap, the first in raster order, differs."""
    names = [key.removesuffix(".numpy.states") for key in cases.variants if ".numpy." in key]
    assert len(names) == 10
    for name in names:
        replayed = cases.replay(name, "official")["states"]
        expected = cases.variants[f"{name}.numpy.states"]
        if name == "locmax_flat_cap":
            assert masked_counts(replayed) == masked_counts(expected)
        else:
            assert torch.equal(replayed, expected), name


def test_schedules(folder: Path) -> None:
    expected: dict[str, list[int]] = json.loads((folder / "reveal_schedules.json").read_text())
    for key, counts in expected.items():
        size, steps, mode = key.split("/")
        height, width = map(int, size.split("x"))
        assert reveal_counts(height * width, int(steps), mode) == counts, key


@pytest.mark.parametrize("case", ["rand", "ties", "holes"])
def test_local_maxima(folder: Path, case: str) -> None:
    stored = load_file(folder / "local_maxima.safetensors")
    assert torch.equal(local_maxima(stored[f"{case}.conf"][None], wrap=True)[0], stored[f"{case}.max8"])
