"""Cost of TRACE's first stage beside one pass of the network, for the five diffusion backbones with random weights.

`python benchmarks/bench_trace_backbones.py` builds small networks and, on a processor, takes a minute. On a GPU
`python benchmarks/bench_trace_backbones.py --full` builds the published sizes in bfloat16 where they are to run, with
a picture of 1024 pixels (512 for SD1.5) and hence 64 x 64 tokens; nothing is fetched. Random weights cost what trained
ones do.

For each backbone: milliseconds of one plain pass and of one that is read (the hooks' cost), of one-step inference (the
picture encoded and read once at level 0, all but the small decoder), and seconds of the whole first stage (eleven
levels, search, ABDiv). The paper states 45 ms and 3,682 ms, for which network and GPU it does not say. Before that,
ABDiv and a gap of the search on a 4096 x 4096 map are compared with float64 and timed beside a loop over tokens.

What does not fit the memory is reported and left out; no backbone is begun after `--seconds`. Results also come as
JSON, a line each.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "benchmarks")]
from bench_trace import attention_map as drawn_map  # noqa: E402

from edgebench.methods.trace.capture import attention_map, read_attention  # noqa: E402
from edgebench.methods.trace.diffusion import FamilyName  # noqa: E402
from edgebench.methods.trace.diffusion_random import random_backbone  # noqa: E402
from edgebench.methods.trace.divergence import EPS, boundary_divergence, measure_named, row_terms  # noqa: E402
from edgebench.methods.trace.extract import TAUS, ExtractSettings, extract  # noqa: E402

FAMILIES: tuple[FamilyName, ...] = ("sd15", "pixart_alpha", "sdxl", "sd35", "flux1")  # from small to large
AGREEMENT = 1e-4
Result = dict[str, Any]


def seconds(work: Callable[[], object], device: str, rounds: int) -> float:
    """The least of the rounds, after one that warms up; on a processor in seconds of it, as others may use it too."""
    spent, now = [], time.perf_counter if device == "cuda" else time.process_time
    for _ in range(rounds + 1):
        _wait(device)
        start = now()
        work()
        _wait(device)
        spent.append(now() - start)
    return min(spent[1:])


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def exact_divergence(attention: Tensor, side: int) -> Tensor:
    """ABDiv of a float64 map as it is defined, whole tensors at a time."""
    maps = attention.view(side, side, -1)
    after, before = (torch.arange(side, device=maps.device).add(step).clamp(0, side - 1) for step in (1, -1))
    result = torch.zeros(side, side, dtype=torch.float64, device=maps.device)
    for p, q in ((maps[after], maps[before]), (maps[:, after], maps[:, before])):
        result += (p * ((p + EPS).log() - (q + EPS).log())).sum(-1)
    return result


def loop_divergence(attention: Tensor, side: int) -> Tensor:
    """ABDiv token by token, as published."""
    maps = attention.view(side, side, -1)
    result = maps.new_zeros(side, side)
    for i in range(side):
        for j in range(side):
            below, above = maps[min(i + 1, side - 1), j], maps[max(i - 1, 0), j]
            right, left = maps[i, min(j + 1, side - 1)], maps[i, max(j - 1, 0)]
            result[i, j] = sum(
                (p * ((p + EPS).log() - (q + EPS).log())).sum() for p, q in ((below, above), (right, left))
            )
    return result


def mathematics(device: str, side: int, rounds: int) -> Result:
    """Agreement with float64, and milliseconds, of ABDiv and of a gap between two levels.

    Raises:
        AssertionError: further from float64 than 1e-4; then the times mean nothing.
    """
    cleaner, noisier = (drawn_map((side, side), seed).to(device) for seed in range(2))
    exact, other = cleaner.double(), noisier.double()
    apart = (boundary_divergence(cleaner, (side, side)).double() - exact_divergence(exact, side)).abs().max()
    kl = measure_named("kl")
    own, _ = row_terms(kl, cleaner)
    _, cross = row_terms(kl, noisier, cleaner)
    gap = (own - cross).double() - (exact * ((exact + EPS).log() - (other + EPS).log())).sum(1)
    assert apart < AGREEMENT
    assert gap.abs().max() < AGREEMENT
    half = cleaner.bfloat16()
    return {
        "what": "mathematics",
        "map": side * side,
        "abdiv_from_float64": float(apart),
        "gap_from_float64": float(gap.abs().max()),
        "abdiv_ms": 1e3 * seconds(lambda: boundary_divergence(cleaner, (side, side)), device, rounds),
        "abdiv_bfloat16_ms": 1e3 * seconds(lambda: boundary_divergence(half, (side, side)), device, rounds),
        "gap_ms": 1e3 * seconds(lambda: row_terms(kl, noisier, cleaner), device, rounds),
        "loop_ms": 1e3 * seconds(lambda: loop_divergence(cleaner, side), device, 1),
    }


def picture(size: int) -> np.ndarray:
    """Smooth noise, uint8 (size, size, 3)."""
    coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    return (smooth[0] * 255).byte().permute(1, 2, 0).contiguous().numpy()


def measure(family: FamilyName, options: argparse.Namespace, device: str) -> Result:
    """Build a backbone, time it, and let it go."""
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    backbone = random_backbone(family, "full" if options.full else "tiny", options.size, device=device, dtype=dtype)
    _wait(device)
    built = time.perf_counter() - start
    image, rounds = picture(backbone.size), options.rounds
    settings = ExtractSettings(taus=TAUS[: options.levels])
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(device).float() / 127.5 - 1
    with torch.inference_mode():
        latents = backbone.encode(pixels)
        plain = seconds(lambda: backbone.answer(latents, 399), device, rounds)
        whole = seconds(lambda: read_attention(backbone, latents, 399, lambda *_: None), device, rounds)
        read = seconds(lambda: attention_map(backbone, latents, 399), device, rounds)
        one = seconds(lambda: attention_map(backbone, backbone.encode(pixels), 0), device, rounds)
        tokens = attention_map(backbone, latents, 399).shape[-1]
    found: list[Any] = []
    stage = seconds(
        lambda: found.append(extract(backbone, image, "picture", settings=settings, device=device)), device, 1
    )
    assert found[-1].scores.isfinite().all()
    return {
        "what": family,
        "parameters_m": sum(each.numel() for each in backbone.network.parameters()) / 1e6,
        "size": backbone.size,
        "tokens": tokens,
        "blocks": len(backbone.blocks),
        "built_s": built,
        "pass_ms": 1e3 * plain,
        "hooked_pass_ms": 1e3 * whole,
        "map_ms": 1e3 * read,
        "one_step_ms": 1e3 * one,
        "stage1_s": stage,
        "search_s": found[-1].seconds["search"],
        "abdiv_ms": 1e3 * found[-1].seconds["abdiv"],
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None,
    }


def show(result: Result) -> None:
    """One row of the table."""
    if "error" in result:
        print(f"{result['what']:13} {result['error']}")
        return
    peak = f"{result['peak_gib']:8.1f}" if result["peak_gib"] is not None else f"{'-':>8}"
    print(
        f"{result['what']:13}{result['parameters_m']:9.1f}{result['size']:6}{result['tokens']:7}{result['blocks']:7}"
        f"{result['pass_ms']:9.1f}{result['hooked_pass_ms'] / result['pass_ms'] - 1:+9.0%}{result['map_ms']:9.1f}"
        f"{result['one_step_ms']:9.1f}{result['stage1_s']:9.2f}{1e3 * result['stage1_s'] / result['one_step_ms']:7.1f}x"
        f"{result['abdiv_ms']:8.1f}{peak}",
        flush=True,
    )


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="networks of the published sizes")
    parser.add_argument("--size", type=int, help="side of the picture in pixels; else what the network was trained at")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="else bf16 on a GPU, fp32 elsewhere")
    parser.add_argument("--families", nargs="+", choices=get_args(FamilyName), default=FAMILIES)
    parser.add_argument("--levels", type=int, default=len(TAUS), help="levels of noise of the search")
    parser.add_argument("--map", type=int, default=64, help="side of the grid of the map for ABDiv alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=300, help="no backbone is begun after them")
    parser.add_argument("--json", type=Path, help="file for the lines of JSON besides")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> list[Result]:
    """Print and return the results."""
    options, start = arguments(given), time.perf_counter()
    device = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    options.precision = options.precision or ("bf16" if device == "cuda" else "fp32")
    torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if device == "cuda" else f"one thread, load {os.getloadavg()[0]:.1f}"
    machine = {"machine": where, "torch": torch.__version__, "precision": options.precision, "full": options.full}
    print(f"{where}, PyTorch {torch.__version__}, {options.precision}, {options.levels} levels of noise")
    results = [{**machine, **attempt("mathematics", lambda: mathematics(device, options.map, options.rounds))}]
    if "error" in results[0]:
        print(f"ABDiv: {results[0]['error']}")
    else:
        print(
            "Map of {map} x {map}: ABDiv {abdiv_ms:.2f} ms (bfloat16 {abdiv_bfloat16_ms:.2f}), a gap {gap_ms:.2f} ms, "
            "a loop over tokens {loop_ms:.0f} ms; from float64 at most {abdiv_from_float64:.1e} and "
            "{gap_from_float64:.1e}".format(**results[0])
        )
    print(
        f"{'':13}{'M param.':>9}{'size':>6}{'tokens':>7}{'blocks':>7}{'pass ms':>9}{'hooks':>9}{'map ms':>9}"
        f"{'1 step':>9}{'stage 1 s':>9}{'':>8}{'ABDiv':>8}{'GiB':>8}"
    )
    for family in options.families:
        if time.perf_counter() - start > options.seconds:
            result: Result = {"what": family, "error": f"left out: {options.seconds:g} seconds are over"}
        else:
            result = attempt(family, lambda family=family: measure(family, options, device))  # type: ignore[misc]
        show(result)
        results.append({**machine, **result})
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
    lines = "".join(json.dumps(each) + "\n" for each in results)
    print(lines, end="")
    if options.json:
        options.json.write_text(lines)
    return results


def attempt(what: str, work: Callable[[], Result]) -> Result:
    """The result, or why there is none: whatever fails must not take the others along."""
    try:
        return work()
    except Exception as error:
        return {"what": what, "error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}


if __name__ == "__main__":
    main()
