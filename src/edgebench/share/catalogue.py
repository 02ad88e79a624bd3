"""`dvc.yaml`: the catalogue of what is shared, written whole from the files below `artifacts/`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import yaml

from edgebench.files import write_bytes, write_json, write_text, write_text_if_changed
from edgebench.plan.catalogue import FOLDER, read_catalogue
from edgebench.plan.freshness import recorded_id
from edgebench.plan.tables import TABLE_FORMATS, Table
from edgebench.share.manifest import read_manifest

CATALOGUE = "dvc.yaml"
HEAD = """# What is shared: archives of finished runs, the numbers of tables (`dvc metrics show`) and a plot of each.
# `edgebench publish` writes this file whole, from the files below artifacts/ (docs/sharing.md). It has no stages: how
# runs are made is for Snakemake to know.
"""
METRICS, PLOT = ".metrics.json", ".plot.csv"
KINDS = {"train": "weights", "predict": "predictions", "evaluate": "scores"}
_SUFFIXES = (*TABLE_FORMATS, "claims.csv")


def write_catalogue(root: Path) -> None:
    """Write `dvc.yaml` from what lies below `artifacts/`.

    Raises:
        EdgebenchError: a manifest is damaged.
    """
    artifacts: dict[str, Any] = {}
    for artifact in read_catalogue(root).values():
        manifest = read_manifest(root, artifact)
        artifacts[f"{artifact.role.replace('_', '-')}-{artifact.id}"] = {
            "path": artifact.archive,
            "type": KINDS[manifest.stage],
            "desc": f"{manifest.label} ({artifact.role}), {len(manifest.files)} files",
            "labels": [each for each in (manifest.stage, manifest.method, manifest.scale) if each],
        }
    tables = root / FOLDER / "tables"
    metrics = [path.relative_to(root).as_posix() for path in sorted(tables.rglob(f"*{METRICS}"))]
    plots = [
        {path.relative_to(root).as_posix(): {"x": _first_column(path), "y": "row", "template": "bar_horizontal"}}
        for path in sorted(tables.rglob(f"*{PLOT}"))
    ]
    content = {"artifacts": artifacts, "metrics": metrics, "plots": plots}
    write_text_if_changed(root / CATALOGUE, HEAD + yaml.safe_dump(content, sort_keys=False, width=1000))


def _first_column(plot: Path) -> str:
    with open(plot, newline="") as file:
        return next(csv.reader(file))[1]


def shared_table(table: Table) -> str:
    """Where a shared table lies, relative to the repository, without its suffix."""
    return f"{FOLDER}/tables/{table.scale_name}/{table.name}"


def share_table(root: Path, table: Table) -> bool:
    """Copy a finished table beside the manifests, with its numbers as DVC reads them.

    Returns:
        Whether it was there and shows what the plan says.
    """
    source, target = root / f"results/tables/{table.scale_name}/{table.name}", root / shared_table(table)
    if recorded_id(_with(source, ".json")) != table.id:
        return False
    _copy(source, target)
    values = _values(_with(source, ".csv"))
    write_json(_with(target, METRICS), values)
    write_text(_with(target, PLOT), _wide(values, table.experiment.columns))
    return True


def is_restorable(root: Path, table: Table) -> bool:
    """Whether a shared table shows what the plan says, and none such stands where the workflow makes it."""
    source, target = root / shared_table(table), root / f"results/tables/{table.scale_name}/{table.name}"
    return recorded_id(_with(source, ".json")) == table.id and recorded_id(_with(target, ".json")) != table.id


def restore_table(root: Path, table: Table) -> None:
    """Copy a shared table to where the workflow makes it."""
    _copy(root / shared_table(table), root / f"results/tables/{table.scale_name}/{table.name}")


def _copy(source: Path, target: Path) -> None:
    for suffix in sorted(_SUFFIXES, key=lambda each: each == "json"):  # the record last
        if _with(source, f".{suffix}").is_file():
            write_bytes(_with(target, f".{suffix}"), _with(source, f".{suffix}").read_bytes())


def _with(base: Path, suffix: str) -> Path:
    return base.with_name(base.name + suffix)


def _values(table: Path) -> dict[str, dict[str, float]]:
    """Reproduced numbers by row and column."""
    found: dict[str, dict[str, float]] = {}
    with open(table, newline="") as file:
        for line in csv.DictReader(file):
            if line["value"]:
                found.setdefault(line["row"], {})[line["column"]] = float(line["value"])
    return found


def _wide(values: dict[str, dict[str, float]], columns: list[str]) -> str:
    """One line per row of the table, as DVC plots it."""
    shown = [name for name in columns if any(name in row for row in values.values())] or columns[:1]
    lines: list[list[Any]] = [
        ["row", *shown],
        *([key, *(row.get(name, "") for name in shown)] for key, row in values.items()),
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
