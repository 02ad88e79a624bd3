"""A small copy of the repository in which real workflows run in seconds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

CLASSICAL = {
    "title": "Two detectors that need no training",
    "shows": {"paper": "memo"},
    "recipe": "canny_bsds",
    "protocol": ["bsds_seval", "crispness"],
    "matrix": {"predict.sigma": [1, 2]},
    "rows": [{"key": "sobel", "label": "Sobel", "recipe": "sobel_bsds"}],
    "columns": ["seval_ods", "ac", "seconds_per_image"],
    "claims": ["2.seval_ods > 0.0"],
    "figures": ["precision_recall", "image_grid", "quality_against_time"],
}
TRAINED = {
    "title": "MEMO",
    "shows": {"paper": "memo", "table": "ablation_reveal_steps"},
    "recipe": "memo_bsds",
    "protocol": ["bsds_ceval", "crispness"],
    "matrix": {"predict.steps": [1, 2]},
    "columns": ["ceval_ods", "ac", "seconds_per_image"],
    "figures": [],
}
MASKS = {
    "title": "DiffDIS",
    "shows": {"paper": "diffdis", "table": "table2_main"},
    "recipe": "diffdis_dis5k",
    "protocol": ["masks_diffdis"],
    "rows": [
        {"key": "diffdis", "label": "DiffDIS", "published": {"method": "DiffDIS"}},
        {"key": "otsu", "label": "Otsu", "recipe": "otsu_dis5k"},
    ],
    "groups": [
        {"key": "vd", "title": "DIS-VD", "printed": "DIS-VD", "set": {"predict.split": "vd"}},
        {"key": "te1", "title": "DIS-TE1", "printed": "DIS-TE1", "set": {"predict.split": "te1"}},
    ],
    "columns": ["max_f", "hce"],
    "claims": ["vd/otsu.max_f > 0.0"],
    "figures": ["mask_grid"],
}


@dataclass
class Repository:
    """A copy of the repository with few and small images.

    Attributes:
        folder: Where it lies; snakemake runs in it.
    """

    folder: Path

    def write(self, file: str, content: object) -> None:
        """Write a YAML file."""
        (self.folder / file).write_text(yaml.safe_dump(content, sort_keys=False))

    def read(self, file: str) -> dict:
        """Read a YAML file."""
        return yaml.safe_load((self.folder / file).read_text())

    def snakemake(self, *arguments: str, check: bool = True, environment: dict[str, str] | None = None) -> str:
        """Run snakemake; returns everything it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *([] if "--profile" in arguments else ["--cores", "2"]), *arguments],
            cwd=self.folder,
            env={**clean_environment(), **(environment or {})},
            capture_output=True,
            text=True,
            timeout=300,
        )
        output = done.stdout + done.stderr
        assert not check or done.returncode == 0, output[-4000:]
        return output

    def edgebench(self, *arguments: str, code: int = 0) -> str:
        """Run the command; returns everything it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "edgebench", *arguments],
            cwd=self.folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def planned(self, *arguments: str) -> dict[str, int]:
        """Jobs that a dry run lists, by rule."""
        output = self.snakemake("-n", *arguments)
        table = re.search(r"^job +count\n[- ]+\n((?:\w+ +\d+\n)*)total", output, re.MULTILINE)
        if table is None:
            assert "Nothing to be done" in output, output[-2000:]
            return {}
        counts = dict(line.split() for line in table[1].splitlines())
        return {rule: int(count) for rule, count in counts.items() if rule not in ("tables", "figures")}


def clean_environment() -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": str(root / "src"), "EDGEBENCH_QUIET": "1", "OMP_NUM_THREADS": "1"}


def copy_repository(root: Path, folder: Path, experiments: dict[str, dict]) -> Repository:
    """Copy what a workflow needs, with few small images and only the given experiments."""
    for name in ("workflow", "profiles", "config", "envs"):
        shutil.copytree(root / name, folder / name)
    shutil.copy(root / "Snakefile", folder)
    (folder / "slurm").symlink_to("profiles/slurm")
    repository = Repository(folder)
    sizes = {
        "scenes": {"train": 4, "val": 2, "test": 3},
        "scenes_photos": {"train": 4},
        "scenes_dis": {"train": 4, "vd": 3, "te1": 1, "te2": 1, "te3": 1, "te4": 1},
    }
    for name, images in sizes.items():
        definition = repository.read(f"config/datasets/{name}.yaml")
        repository.write(f"config/datasets/{name}.yaml", definition | {"images": images})
    shutil.rmtree(folder / "config" / "experiments")
    for name, experiment in experiments.items():
        file = f"config/experiments/{experiment['shows']['paper']}/{name}.yaml"
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        repository.write(file, experiment)
    demo = repository.read("config/scales/demo.yaml")
    repository.write("config/scales/demo.yaml", demo | {"tables": None})  # all
    repository.write("config/config.yaml", {"scale": "demo"})
    return repository


@pytest.fixture
def classical(tmp_path: Path, root: Path) -> Repository:
    """A repository with one table of methods without training."""
    return copy_repository(root, tmp_path, {"classical": CLASSICAL})


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Repository:
    """The same, with its table and figures made; tests copy it before they change it."""
    repository = copy_repository(root, tmp_path_factory.mktemp("finished"), {"classical": CLASSICAL})
    repository.snakemake("tables", "figures", "--quiet", "rules")
    return repository


@pytest.fixture
def changed(finished: Repository, tmp_path: Path) -> Repository:
    """A copy of `finished`, free to change."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    return Repository(tmp_path / "copy")
