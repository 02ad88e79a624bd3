"""Stages `table` and `figure`: finished runs and published values in; csv, md, tex, html and png out."""

from __future__ import annotations

from pathlib import Path

from edgebench.files import read_json, write_json
from edgebench.stages.record import code


def make_table(spec_file: Path) -> list[Path]:
    """Write a table in all formats below `results/tables`, its record last.

    Raises:
        EdgebenchError: a run is not finished, or runs were scored by different versions of a metric.
    """
    from edgebench.report.tables import build_table
    from edgebench.report.terminal import print_table
    from edgebench.report.write import write_table

    base = _beside(spec_file, "tables")
    files = write_table(build_table(spec_file), base)
    spec = read_json(spec_file)
    write_json(base.with_suffix(".json"), {"id": spec["id"], "made_of": spec, "code": code()})
    print_table(base.with_suffix(".csv"))
    return files


def make_figure(name: str, spec_file: Path) -> list[Path]:
    """Draw one figure below `results/figures`.

    Raises:
        EdgebenchError: a run is not finished, or there is no such figure.
    """
    from edgebench.report.figures import write_figure

    base = _beside(spec_file, "figures")
    return write_figure(spec_file, name, base.with_name(f"{base.name}-{name}"))


def _beside(spec_file: Path, kind: str) -> Path:
    """`results/plan/tables/demo/memo/main.json` -> `results/KIND/demo/memo/main`."""
    parts = spec_file.parts
    start = len(parts) - 1 - parts[::-1].index("plan")
    return Path(*parts[:start], kind, *parts[start + 2 :]).with_suffix("")
