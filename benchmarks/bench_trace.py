"""Speed of TRACE's first stage on a self-attention map of 64 x 64 tokens (4096 x 4096), on one thread.

`python benchmarks/bench_trace.py` prints the milliseconds of ABDiv beside those of a loop over tokens and of the
passes over the map that it cannot do without (one logarithm, three multiply-adds), those of a gap between two time
steps, and those of the other divergences, after checking them against float64. Times are the least processor time
of several rounds, in each of which everything runs in turn: a busy machine disturbs that less than the clock.
`pytest benchmarks/bench_trace.py` times the parts.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from edgebench.methods.trace.aggregate import average_blocks, normalise_rows
from edgebench.methods.trace.divergence import EPS, Grid, MeasureName, boundary_divergence, measure_named, row_terms
from edgebench.methods.trace.emergence import emergence
from edgebench.methods.trace.labels import pseudo_labels

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.unit.methods import trace_plain as plain  # noqa: E402

GRID = (64, 64)
TOKENS = GRID[0] * GRID[1]
ROUNDS = 7
AGREEMENT = 1e-4
FASTER_THAN_LOOP, OVER_PASSES, GAP_MS = 6.0, 2.0, 25.0


def attention_map(grid: Grid, seed: int) -> Tensor:
    """Attention to near tokens and to those of the same of some regions, float32 (tokens, tokens)."""
    height, width = grid
    source = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([y, x], -1).view(-1, 2).float()
    centres = place[torch.randperm(len(place), generator=source)[:8]]
    region = torch.cdist(place, centres).argmin(1)
    logits = -torch.cdist(place, place) / (4 + seed)
    logits += 2.0 * (region[:, None] == region) + 0.3 * torch.randn(len(place), len(place), generator=source)
    return torch.softmax(logits, 1)


def loop(attention: Tensor, grid: Grid) -> Tensor:
    """ABDiv token by token, as published, each divergence with its own logarithms."""
    return plain.boundary_divergence(attention, grid)


def logarithm_pass(attention: Tensor, kept: Tensor) -> None:
    """The logarithm of every element, into a buffer of one image row."""
    for part in attention.split(len(kept)):
        torch.log(part, out=kept)


def multiply_add_pass(attention: Tensor, kept: Tensor) -> None:
    """Products of all rows with those of a buffer, by the fastest means there is here."""
    other = kept.numpy()
    for part in attention.split(len(kept)):
        np.vecdot(part.numpy(), other)


def least(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds of processor time, the least of the rounds, in each of which every function runs once."""
    spent: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            function()
            spent[name].append(1000 * (time.process_time() - start))
    return {name: min(values) for name, values in spent.items()}


def reached(value: float, goal: float, at_least: bool = False) -> str:
    """The goal, and whether the value keeps it."""
    kept = value >= goal if at_least else value <= goal
    return f"goal: {'at least' if at_least else 'at most'} {goal:g}, {'reached' if kept else 'MISSED'}"


def agreement(maps: list[Tensor], grid: Grid) -> None:
    """Print how far each divergence is from float64.

    Raises:
        AssertionError: further than 1e-4; then the times mean nothing.
    """
    exact = [each.double() for each in maps]
    for name in get_args(MeasureName):
        apart = (
            boundary_divergence(maps[0], grid, name).double() - plain.boundary_divergence(exact[0], grid, name)
        ).abs()
        steps = (emergence(maps, measure=name).curve - plain.curve(exact, name)).abs()
        print(f"{name:>7}: from float64 ABDiv at most {apart.max():.1e}, mean of a gap at most {steps.max():.1e}")
        assert apart.max() < AGREEMENT
        assert steps.max() < AGREEMENT
    apart = boundary_divergence(maps[0].bfloat16(), grid) - boundary_divergence(maps[0], grid)
    print(f"{'kl':>7}: of a bfloat16 map, from the float32 map at most {apart.abs().max():.1e} (its rounding, no goal)")


def memory() -> None:
    """Print what ABDiv and a gap hold beside the maps: how much higher the process' peak is after them."""
    first, second = (normalise_rows(torch.rand(TOKENS, TOKENS)) for _ in range(2))
    boundary_divergence(first[:64], (1, 64))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    boundary_divergence(first, GRID)
    emergence([first, second])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    print(f"Memory beside the maps of {first.nbytes >> 20} MiB: at most {grown / 1024:.1f} MiB")


def main() -> None:
    """Print agreement, times and ratios."""
    torch.set_num_threads(1)
    memory()  # first, as the checks hold much more
    print(
        f"Map of {TOKENS} x {TOKENS}, one thread; the machine's load is {os.getloadavg()[0]:.1f} "
        f"on {os.cpu_count()} cores"
    )
    maps = [attention_map(GRID, seed) for seed in range(2)]
    agreement(maps, GRID)
    cleaner, noisier = maps
    kept = torch.full((GRID[1], TOKENS), 1.0)
    kl = measure_named("kl")
    functions: dict[str, Callable[[], object]] = {
        "loop": lambda: loop(cleaner, GRID),
        "log": lambda: logarithm_pass(cleaner, kept),
        "multiply-add": lambda: multiply_add_pass(cleaner, kept),
        "gap": lambda: row_terms(kl, noisier, cleaner),
    }
    for name in get_args(MeasureName):
        functions[name] = lambda name=name: boundary_divergence(cleaner, GRID, name)  # type: ignore[misc]
    ms = least(functions, ROUNDS)
    passes = ms["log"] + 3 * ms["multiply-add"]
    faster, over = ms["loop"] / ms["kl"], ms["kl"] / passes
    print(f"Least processor time of {ROUNDS} rounds, ms (EPS {EPS:g} inside every logarithm)")
    print(f"ABDiv                              {ms['kl']:7.1f}")
    goal = reached(faster, FASTER_THAN_LOOP, at_least=True)
    print(f"loop over tokens                   {ms['loop']:7.1f}  {faster:5.1f}x ({goal})")
    print(
        f"one logarithm, three multiply-adds {passes:7.1f}  {over:5.2f}x ({reached(over, OVER_PASSES)}; "
        f"{ms['log']:.1f} + 3 x {ms['multiply-add']:.1f})"
    )
    print(f"IEP, one gap                       {ms['gap']:7.1f}         ({reached(ms['gap'], GAP_MS)})")
    print("ABDiv by measure: " + ", ".join(f"{name} {ms[name]:.1f}" for name in get_args(MeasureName)))


@pytest.fixture(scope="module")
def attention():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield attention_map(GRID, 0)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("measure", get_args(MeasureName))
def test_divergence(benchmark, attention, measure):
    assert benchmark(boundary_divergence, attention, GRID, measure).max() > 0


def test_gap(benchmark, attention):
    own, _ = benchmark(row_terms, measure_named("kl"), attention_map(GRID, 1), attention)
    assert own.max() < 0


def test_labels(benchmark, attention):
    assert benchmark(pseudo_labels, boundary_divergence(attention, GRID)).edge > 0


def test_upsampling(benchmark):
    block = attention_map((32, 32), 0)
    assert benchmark(average_blocks, [(block, (32, 32))], GRID).shape == (TOKENS, TOKENS)


if __name__ == "__main__":
    main()
