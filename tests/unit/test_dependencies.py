"""Who may import whom, and what must stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

BASE = {"errors", "files", "progress"}
# Each package and what of edgebench it may import.
ALLOWED = {
    "plan": {"plan"},
    "metrics": {"metrics"},
    "data": {"data"},
    "methods": {"methods", "metrics", "data", "plan"},
    "training": {"training", "data", "plan"},
    "report": {"report", "metrics", "data", "plan"},
    "stages": {"stages", "plan", "data", "metrics", "methods", "training", "report"},
    "share": {"share", "stages", "plan"},
    "cli": {"cli", "share", "stages", "plan", "data", "metrics", "methods", "training", "report"},
}
HEAVY = ["torch", "numpy", "pandas", "matplotlib", "transformers", "diffusers", "skimage", "scipy", "numba"]


def imports(file: Path) -> set[str]:
    """Modules of edgebench that a file imports, anywhere in it, as dotted names without the package."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        found |= {name.removeprefix("edgebench.") for name in names if name.startswith("edgebench.")}
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_dependency_direction(root: Path, package: str) -> None:
    for file in (root / "src" / "edgebench" / package).rglob("*.py"):
        others = {name.split(".")[0] for name in imports(file)} - BASE
        assert others <= ALLOWED[package], f"{file.relative_to(root)} imports {others - ALLOWED[package]}"


def test_methods_do_not_import_one_another(root: Path) -> None:
    folder = root / "src" / "edgebench" / "methods"
    for file in folder.rglob("*.py"):
        own = file.relative_to(folder).parts[0]
        # A module beside the methods' folders is what they share.
        used = {name.split(".")[1] for name in imports(file) if name.startswith("methods.")}
        methods = {name for name in used if (folder / name).is_dir()}
        assert methods <= {own}, f"{file.relative_to(root)} imports {methods - {own}}"


def test_the_workflow_imports_only_the_plan(root: Path) -> None:
    for file in [root / "Snakefile", *(root / "workflow").rglob("*.smk")]:
        for line in file.read_text().splitlines():
            if line.startswith(("import edgebench", "from edgebench")):
                assert line.split()[1] in ("edgebench.errors",) or line.split()[1].startswith("edgebench.plan.")


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("edgebench.plan.workbench", HEAVY),
        ("edgebench.plan.freshness", HEAVY),
        ("edgebench.cli.app", HEAVY),
        ("edgebench.stages.evaluate", ["torch", "transformers", "diffusers"]),
        ("edgebench.data.adapters", ["torch", "transformers", "diffusers"]),
        ("edgebench.stages.evaluate_masks", ["torch", "transformers", "diffusers", "cv2"]),
        ("edgebench.stages.evaluate_instances", ["torch", "transformers", "diffusers", "faster_coco_eval"]),
        ("edgebench.metrics.edges", ["torch", "transformers", "diffusers"]),
    ],
)
def test_stays_light(module: str, forbidden: list[str]) -> None:
    code = f"import sys, {module}; print([name for name in {forbidden} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_metrics_do_no_input_or_output(root: Path) -> None:
    for file in (root / "src" / "edgebench" / "metrics").rglob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
        assert "open" not in names
        assert "Path" not in names
