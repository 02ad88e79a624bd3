"""Small file systems that fill up, and folders that cannot be written. Both are mounted, which takes root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Have a file system of `size` bytes at `folder`, empty at first; what it holds is lost at the end."""
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "edgebench-faults"):
        yield


def grow(folder: Path, size: int) -> None:
    """Give a small disk another size in bytes, as if space had been freed."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write to a folder; permissions alone would not stop root."""
    with _mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield


@contextmanager
def _mounted(folder: Path, *how: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *how, folder], capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip() or "mount failed"
        pytest.skip(f"needs the right to mount a file system{'' if os.geteuid() == 0 else ', as root has'} ({reason})")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
