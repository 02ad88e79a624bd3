"""The record of a run: what made it, where, from what, and what it cost."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import edgebench
from edgebench.errors import EdgebenchError
from edgebench.files import digest, read_json, sha256_file, write_json
from edgebench.plan.runs import all_gpus, definition_digest

Map = dict[str, Any]

RECORD = "run.json"
SPENT = ".seconds.json"
_LIBRARIES = (
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "numpy",
    "scipy",
    "scikit-image",
    "numba",
)


@contextmanager
def recorded(spec: Map, folder: Path, parts: Sequence[Map] = ()) -> Iterator[Map]:
    """Yield a map for what the stage wants recorded; write the record last, when the body succeeded.

    A run that was interrupted and resumed adds up the seconds of all its attempts, which are kept in
    `.seconds.json` until the record is written. So does one that several jobs share, of what their markers tell.

    Args:
        spec: The run's plan file.
        folder: Its folder.
        parts: What the jobs told that share the run.
    """
    extra: Map = {}
    with _measured(spec, folder) as cost:
        yield extra
    record = {
        **{key: spec[key] for key in ("id", "stage", "role", "label", "version", "scale", "seed", "settings")},
        "inputs": spec.get("input_ids", {}),
        "dataset": _definition(spec.get("dataset")),
        "protocol": spec.get("protocol"),
        "resources": spec.get("resources", {}),
        "code": code(),
        **_together([*parts, cost]),
        **extra,
    }
    write_json(folder / RECORD, record)
    (folder / SPENT).unlink(missing_ok=True)


@contextmanager
def marked(spec: Map, notes: Path, marker: Path) -> Iterator[Map]:
    """Yield a map for what a job that shares a run wants to tell; write its marker last, when the body succeeded.

    Args:
        spec: The run's plan file.
        notes: The job's own folder.
        marker: What says that it is done.
    """
    told: Map = {}
    with _measured(spec, notes) as cost:
        yield told
    write_json(marker, {"part": marker.stem, **cost, "note": told})
    (notes / SPENT).unlink(missing_ok=True)


@contextmanager
def _measured(spec: Map, folder: Path) -> Iterator[Map]:
    """Yield a map that holds, after the body, where and when it was carried out and what it cost with all attempts."""
    cost: Map = {}
    start, clock = datetime.now(UTC), time.monotonic()
    before = _spent(folder)
    try:
        yield cost
    except BaseException:
        with suppress(EdgebenchError):  # on a full disk the reason that counts is the one on its way up
            write_json(folder / SPENT, {"seconds": before + time.monotonic() - clock})
        raise
    seconds = before + time.monotonic() - clock
    cost |= {
        "machine": machine(),
        "start": start.isoformat(timespec="seconds"),
        "end": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "gpu_seconds": round(seconds * all_gpus(spec.get("resources", {})), 3) if machine()["gpu"] else 0.0,
        "peak_memory_mb": round(max(map(_peak, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))) / 1024),
    }


def _together(costs: Sequence[Map]) -> Map:
    """What several jobs cost together; the machine is that of the first, and each is named if there are several."""
    first, *others = costs
    return {
        "machine": first["machine"],
        "start": min(each["start"] for each in costs),
        "seconds": round(sum(each["seconds"] for each in costs), 3),
        "gpu_seconds": round(sum(each["gpu_seconds"] for each in costs), 3),
        "peak_memory_mb": max(each["peak_memory_mb"] for each in costs),
    } | ({"parts": [_brief(each) for each in costs if "part" in each]} if others else {})


def _brief(told: Map) -> Map:
    kept = ("part", "start", "seconds", "gpu_seconds", "peak_memory_mb")
    return {key: told[key] for key in kept} | {key: told["machine"][key] for key in ("host", "gpu")}


def _peak(who: int) -> int:
    """Largest memory in KiB of this process, or of any that it started."""
    return resource.getrusage(who).ru_maxrss


def _spent(folder: Path) -> float:
    path = folder / SPENT
    return float(read_json(path)["seconds"]) if path.exists() else 0.0


def _definition(definition: Map | None) -> Map | None:
    if definition is None:
        return None
    return {"name": definition["name"], "digest": definition_digest(definition)}


@cache
def code() -> Map:
    """Version of edgebench, git revision with a digest of what is not committed, and libraries."""
    package = Path(edgebench.__file__).parent
    lock = package.parents[1] / "envs" / "requirements.lock"
    return {
        "edgebench": edgebench.__version__,
        "git": _git("rev-parse", "HEAD"),
        "uncommitted": digest(difference, 16) if (difference := _git("diff", "HEAD")) else None,
        "fingerprint": fingerprint(),
        "lock": sha256_file(lock)[:16] if lock.exists() else None,
        "libraries": {name: metadata.version(name) for name in _LIBRARIES},
    }


@cache
def fingerprint() -> str:
    """Digest of all sources of edgebench."""
    package = Path(edgebench.__file__).parent
    sources = sorted(package.rglob("*.py"))
    return digest([(each.relative_to(package).as_posix(), sha256_file(each)) for each in sources], 16)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(edgebench.__file__).parent), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None


@cache
def machine() -> Map:
    """Host, processor, cores, and the GPU with CUDA's version when torch is loaded and sees one."""
    gpu = cuda = None
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        gpu = torch.cuda.get_device_name(0)
        cuda = torch.version.cuda
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "cuda": cuda,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
