"""Seconds from typing to a plan: reading the definitions, `edgebench plan all`, and a dry run at each scale.

`python benchmarks/bench_workflow.py` prints medians of five, beside those of a workflow without any rule.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from edgebench.plan.workbench import Workbench

ROOT = Path(__file__).resolve().parents[1]


def median_seconds(action: Callable[[], object], times: int = 5) -> float:
    """Median wall time of `action` in seconds."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def dry_run(folder: Path, snakefile: Path, *arguments: str) -> None:
    """`snakemake -n` in `folder`."""
    command = [sys.executable, "-m", "snakemake", "-n", "--snakefile", str(snakefile), *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def plan_all(scale: str) -> None:
    """`edgebench plan all`."""
    command = [sys.executable, "-m", "edgebench", "plan", "all", "--scale", scale]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = folder / "Empty"
        empty.write_text("rule all:\n    input: []\n")
        print(f"{'scale':8} {'runs':>5} {'plan':>8} {'plan all':>9} {'dry run':>8} {'of which snakemake':>20}")
        for scale in ("demo", "mini", "paper"):
            runs = len(Workbench(ROOT).plan(scale).runs)
            plan = median_seconds(lambda scale=scale: Workbench(ROOT).plan(scale).runs)  # type: ignore[misc]
            told = median_seconds(lambda scale=scale: plan_all(scale))  # type: ignore[misc]
            whole = median_seconds(
                lambda scale=scale: dry_run(folder, ROOT / "Snakefile", "--config", f"scale={scale}")  # type: ignore[misc]
            )
            bare = median_seconds(lambda: dry_run(folder, empty))
            print(f"{scale:8} {runs:5d} {plan:7.2f}s {told:8.2f}s {whole:7.2f}s {bare:19.2f}s")


if __name__ == "__main__":
    main()
