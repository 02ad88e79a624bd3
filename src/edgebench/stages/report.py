"""Stages `table` and `figure`: finished runs and published values in; csv, md, tex, html and png out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgebench.errors import EdgebenchError
from edgebench.files import read_json, remove_leftovers, write_json
from edgebench.stages.record import code


def make_table(spec_file: Path) -> list[Path]:
    """Write a table in all formats below `results/tables`, its record last.

    Raises:
        EdgebenchError: a run is not finished, or runs were scored by different versions of a metric.
    """
    from edgebench.report.tables import build_table
    from edgebench.report.terminal import print_table
    from edgebench.report.write import write_table

    spec = read_table_spec(spec_file)
    base = _base(spec, "tables")
    remove_leftovers(base.parent, f"{base.name}.")
    files = write_table(build_table(spec_file), base)
    write_json(base.with_suffix(".json"), {"id": spec["id"], "made_of": spec, "code": code()})
    print_table(base.with_suffix(".csv"))
    return files


def make_figure(name: str, spec_file: Path) -> list[Path]:
    """Draw one figure below `results/figures`.

    Raises:
        EdgebenchError: a run is not finished, or there is no such figure.
    """
    from edgebench.report.figures import write_figure

    base = _base(read_table_spec(spec_file), "figures")
    base = base.with_name(f"{base.name}-{name}")
    remove_leftovers(base.parent, f"{base.name}.")
    return write_figure(spec_file, name, base)


def read_table_spec(spec_file: Path) -> dict[str, Any]:
    """Read the plan file of a table.

    Raises:
        EdgebenchError: it is missing or is not the plan file of a table.
    """
    spec = read_json(spec_file)
    if not isinstance(spec, dict) or not {"id", "scale", "paper", "table", "rows"} <= set(spec):
        raise EdgebenchError(f"{spec_file}: not the plan file of a table. They lie in results/plan/tables.")
    return spec


def _base(spec: dict[str, Any], kind: str) -> Path:
    return Path("results", kind, spec["scale"], spec["paper"], spec["table"])
