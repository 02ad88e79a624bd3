"""Calling the command as people do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SOURCE = str(Path(__file__).resolve().parents[3] / "src")
"""What `PYTHONPATH` must be for the code under test, in whatever folder a command runs."""


def run(folder: Path, *arguments: str, code: int = 0, environment: dict[str, str] | None = None) -> str:
    """Run `edgebench` in `folder`; returns everything it printed."""
    ours = {"PYTHONPATH": SOURCE, "EDGEBENCH_QUIET": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "edgebench", *arguments],
        cwd=folder,
        env={**os.environ, **ours, **(environment or {})},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def maps_and_truth(
    folder: Path, names: tuple[str, ...] = ("a", "b"), size: tuple[int, int] = (24, 30)
) -> tuple[Path, Path]:
    """A folder of edge maps and one of BSDS annotations for the same small images."""
    maps, truth = folder / "maps", folder / "truth"
    maps.mkdir()
    truth.mkdir()
    boundary = np.zeros(size, np.uint8)
    boundary[:, 12] = 1
    for name in names:
        Image.fromarray(255 * boundary).save(maps / f"{name}.png")
        cell = np.empty((1, 1), object)
        cell[0, 0] = {"Boundaries": boundary, "Segmentation": boundary.astype(np.uint16) + 1}
        savemat(truth / f"{name}.mat", {"groundTruth": cell})
    return maps, truth
