"""Every command of the README is carried out, in its order, in a copy of the repository with small data."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file

from edgebench.data.manifest import scan_folder, write_manifest
from edgebench.data.scenes import draw_dataset
from edgebench.files import write_json
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.presets import PRESETS
from edgebench.methods.memo.weights import weight_metadata
from edgebench.methods.trace import small as small_weights
from edgebench.plan.workbench import Workbench
from edgebench.stages.weights import SHOWN_BY
from tests.unit.cli.helpers import maps_and_truth
from tests.unit.cli.test_predict_trace import distilled
from tests.unit.methods.diffdis_models import write_diffdis
from tests.unit.methods.test_trace_small import TINY
from tests.unit.methods.test_trace_small import backbone as small_backbone

# Too long for a test, or in need of a cluster: carried out as a dry run of the same targets.
INSTEAD = {
    "make demo": "snakemake demo -n",
    "make test": "python -m pytest --collect-only -q tests/docs",
    "snakemake --profile slurm": "snakemake --profile slurm -n",
}
SHORT = {
    "pretrain.steps": 2,
    "pretrain.batch": 2,
    "pretrain.warm_start_steps": 1,
    "pretrain.warmup_steps": 0,
    "pretrain.ema_start": 0,
    "pretrain.preset": "small",
    "pretrain.crop": 32,
    "finetune.steps": 2,
    "finetune.batch": 2,
    "finetune.warm_start_steps": 1,
    "finetune.ema_start": 0,
    "finetune.preset": "small",
    "finetune.crop": 32,
    "predict.limit": 2,
    "predict.tune_limit": 2,
}


def blocks(root: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which BSDS500 is six drawn scenes and trainings take two steps."""
    root = Path(__file__).resolve().parents[2]
    folder = tmp_path_factory.mktemp("readme")
    for name in ("workflow", "profiles", "config", "envs", "tests"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "README.md", "pyproject.toml", "dvc.yaml", ".dvcignore"):
        shutil.copy(root / name, folder)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)  # which DVC wants
    (folder / ".dvc").mkdir()
    shutil.copy(root / ".dvc" / "config", folder / ".dvc")
    (folder / "slurm").symlink_to("profiles/slurm")
    counts = {"train": 2, "val": 2, "test": 2}
    draw_dataset(folder / "my_copy_of_bsds500", counts, size=64, seed=3, layout="bsds", style="M")
    entries = scan_folder(folder / "my_copy_of_bsds500", ("images", "groundTruth"))
    write_manifest(folder / "config/datasets/bsds500.sha256", entries)
    definition = yaml.safe_load((folder / "config/datasets/bsds500.yaml").read_text())
    definition |= {"images": counts}
    (folder / "config/datasets/bsds500.yaml").write_text(yaml.safe_dump(definition))
    (folder / "config/config.yaml").write_text(yaml.safe_dump({"scale": "paper", "set": SHORT}))
    maps, truth = maps_and_truth(folder)
    maps.rename(folder / "my_maps")
    truth.rename(folder / "annotations")
    for name in ("my_masks", "masks"):
        (folder / name).mkdir()
        Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(folder / name / "one.png")
    untrained_demo(folder)
    return folder


def untrained_demo(folder: Path) -> None:
    """Weights where `make demo`, of which the test makes a dry run, would have left its own."""
    bench = Workbench(folder)
    for method, (table, key) in SHOWN_BY.items():
        row = next(row for row in bench.find_table("demo", table).rows if row.key == key)
        run = row.runs[0].predict.inputs["weights"]
        (folder / run.folder).mkdir(parents=True)
        if method == "memo":
            config = PRESETS[run.settings["preset"]]
            weights = folder / run.folder / "weights.safetensors"
            save_file(MemoNetwork(config).state_dict(), weights, metadata=weight_metadata(config))
        elif method == "diffdis":
            write_diffdis(folder / run.folder)
        else:
            made = small_backbone(TINY)
            distilled(folder / run.folder / "weights.safetensors", small_backbone(TINY))
            pretrained = run.inputs["pretrained"]
            (folder / pretrained.folder).mkdir(parents=True)
            tensors = small_weights.weight_tensors(made.network.state_dict(), made.codec)
            kept = {name: each.clone() for name, each in tensors.items()}
            save_file(kept, folder / pretrained.folder / "weights.safetensors", small_weights.weight_metadata(TINY))
            write_json(folder / pretrained.folder / "run.json", pretrained.spec())
        write_json(folder / run.folder / "run.json", run.spec())


def test_is_short(root: Path) -> None:
    assert len((root / "README.md").read_text().splitlines()) < 150


def test_pictures_and_links_exist(root: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", (root / "README.md").read_text()):
        assert (root / target).exists(), target


@pytest.mark.slow
def test_every_command_works(place: Path, root: Path) -> None:
    (ablation,) = blocks(root, "yaml")
    (place / "config/experiments/memo/schedule.yaml").write_text(ablation)
    commands = [line for block in blocks(root, "bash") for line in block.splitlines() if line]
    assert len(commands) > 8
    environment = {
        **os.environ,
        "PYTHONPATH": str(root / "src"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "EDGEBENCH_QUIET": "1",
    }
    short = (place / "config/config.yaml").read_text()
    for command in commands:
        # What only plans is tried with what a reader has; what runs takes two steps of training.
        planned = " -n" in INSTEAD.get(command, command) or command.startswith("edgebench plan")
        real = (root / "config/config.yaml").read_text()
        (place / "config/config.yaml").write_text(real if planned else short)
        done = subprocess.run(
            ["bash", "-euc", INSTEAD.get(command, command)],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
        )
        fine = (0, 3) if command == "edgebench status" else (0,)  # 3: not everything is made yet
        assert done.returncode in fine, f"{command}\n{(done.stdout + done.stderr)[-4000:]}"


def test_the_python_example_works(root: Path) -> None:
    (example,) = blocks(root, "python")
    prediction = np.zeros((20, 20))
    prediction[10] = 1
    names = {"prediction": prediction, "annotators": [prediction > 0]}
    exec(example, names)
    counts = names["counts"]
    assert counts.cntR.tolist() == [20] * 99  # type: ignore[attr-defined]


def test_make_has_the_commands(root: Path) -> None:
    for target, part in (("demo", "snakemake demo"), ("test", "pytest")):
        done = subprocess.run(["make", "-n", target], cwd=root, capture_output=True, text=True, check=True)
        assert part in done.stdout
