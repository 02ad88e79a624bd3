"""`edgebench doctor`: is this machine fit, and what does each missing part cost?"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import typer

State = Literal["good", "limits", "broken"]
_STYLES = {"good": "green", "limits": "yellow", "broken": "red"}
DEMO_DISK_GB = 1.0
MINI_DISK_GB = 5.0
PAPER_GPU_GIB = 75
"""What a GPU that is sold with 80 GB has left."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: `limits` means that something cannot be done or is slow, `broken` that nothing will work.
        what: What was found.
        cost: What that means and what to type; empty when all is well.
    """

    state: State
    name: str
    what: str
    cost: str = ""


def doctor() -> None:
    """Check Python, PyTorch and CUDA, disk, write access and optional parts; say what each missing one costs.

    Exit status 1 when something is broken, 0 otherwise.
    """
    from rich.console import Console
    from rich.text import Text

    findings = examine(Path("."))
    console = Console()
    for each in findings:
        # As plain text: in markup, the brackets of `pip install '.[app]'` would be taken for a style.
        console.print(
            Text.assemble((f"{each.state:6}", _STYLES[each.state]), "  ", (each.name, "bold"), f": {each.what}")
        )
        if each.cost:
            console.print(Text(f"          {each.cost}"))
    if any(each.state == "broken" for each in findings):
        raise typer.Exit(1)


def examine(folder: Path) -> list[Finding]:
    """Look at everything that runs in `folder` would need."""
    return [
        _python(),
        *_libraries(),
        _torch(),
        _opencv(),
        _cores(),
        _memory(),
        _disk(folder),
        _writing(folder),
        *_optional(),
    ]


def _python() -> Finding:
    version = platform.python_version()
    if tuple(sys.version_info) >= (3, 11):
        return Finding("good", "Python", version)
    return Finding("broken", "Python", version, "edgebench needs 3.11 or newer: `python3.11 -m venv .venv`.")


def _libraries() -> list[Finding]:
    missing = []
    for requirement in metadata.requires("edgebench") or []:
        if "extra ==" in requirement:
            continue
        name = requirement.split(";")[0].split(">")[0].split("=")[0].split("<")[0].strip()
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return [Finding("broken", "libraries", f"missing: {', '.join(missing)}", "Type `make setup`.")]
    return [Finding("good", "libraries", "all there")]


def _torch() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding(
            "broken", "PyTorch", f"does not load ({error})", "Training and prediction need it: `make setup`."
        )
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        what = f"{torch.__version__}, {torch.cuda.device_count()} x {gpu.name} with {gpu.total_memory / 2**30:.0f} GiB"
        if gpu.total_memory < PAPER_GPU_GIB * 2**30:
            return Finding(
                "limits",
                "PyTorch",
                what,
                "At scale `paper` MEMO wants 24 GiB, DiffDIS 80 to train and 16 to predict; use smaller batches with "
                "more accumulation.",
            )
        return Finding("good", "PyTorch", what)
    return Finding(
        "limits",
        "PyTorch",
        f"{torch.__version__}, no GPU",
        "Scale `demo` runs here in minutes, `mini` with fewer steps in about an hour; `paper` needs a GPU.",
    )


def _opencv() -> Finding:
    from edgebench.errors import EdgebenchError

    try:
        from edgebench.metrics.masks import opencv

        return Finding("good", "OpenCV", opencv().__version__)
    except (EdgebenchError, ImportError) as error:
        return Finding(
            "limits", "OpenCV", "missing, or of a version that does not fit", f"Masks get no scores. {error}"
        )


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cost = "" if cores > 1 else "The demo takes about twice as long as on two cores."
    return Finding("good" if cores > 1 else "limits", "processor", f"{cores} cores", cost)


def _memory() -> Finding:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError):
        return Finding("good", "memory", "unknown")
    cost = "" if total >= 4 else "The demo needs about 4 GiB."
    return Finding("good" if total >= 4 else "limits", "memory", f"{total:.0f} GiB", cost)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 1e9
    if free < DEMO_DISK_GB:
        return Finding("broken", "disk", f"{free:.1f} GB free", f"The demo needs {DEMO_DISK_GB:.0f} GB.")
    if free < MINI_DISK_GB:
        return Finding(
            "limits",
            "disk",
            f"{free:.1f} GB free",
            f"Enough for the demo; `mini` needs {MINI_DISK_GB:.0f} GB.",
        )
    return Finding("good", "disk", f"{free:.0f} GB free (`edgebench plan` says what a scale needs)")


def _writing(folder: Path) -> Finding:
    place = folder / "results" if (folder / "results").is_dir() else folder
    try:
        with tempfile.TemporaryFile(dir=place):
            return Finding("good", "write access", str(place.resolve()))
    except OSError as error:
        return Finding(
            "broken", "write access", f"{place.resolve()}: {error.strerror}", "Work in a folder of your own."
        )


def _optional() -> list[Finding]:
    parts = [
        ("TensorBoard", "tensorboard", "Training logs to CSV only. `pip install '.[tensorboard]'`."),
        ("Gradio", "gradio", "`edgebench app` does not work, `predict` does. `pip install '.[app]'`."),
        ("ONNX", "onnx", "`edgebench export` does not work. `pip install '.[onnx]'`."),
        ("timm", "timm", "TRACE reads no EVA02. `pip install '.[timm]'`."),
        (
            "SLURM plugin",
            "snakemake_executor_plugin_slurm",
            "`snakemake --profile slurm` does not work. `make setup`.",
        ),
    ]
    found = [
        Finding("good", name, "installed")
        if importlib.util.find_spec(module)
        else Finding("limits", name, "missing", cost)
        for name, module, cost in parts
    ]
    if shutil.which("sbatch") is None:
        found.append(Finding("limits", "SLURM", "no sbatch here", "Jobs run on this machine only."))
    if shutil.which("git") is None:
        found.append(Finding("limits", "git", "missing", "Records of runs do not say which revision made them."))
    return found
