"""What a reader of a table is told besides its numbers; every format prints it."""

from __future__ import annotations

from typing import Any

from edgebench.plan.tables import stand
from edgebench.report.bootstrap import RESAMPLES
from edgebench.report.collect import TIMES, TableSpec
from edgebench.report.columns import kind_of
from edgebench.report.tables import MAE_TOLERANCE, Table

_PROTOCOL_SETTINGS = ("nms", "thin", "max_distance", "thresholds", "void", "truth")


def warning(spec: TableSpec) -> str:
    """The sentence that keeps small scales from misleading; empty when numbers may be compared."""
    if spec.comparable:
        return ""
    return (
        f"Made at scale '{spec.scale}': the reproduced numbers are not comparable with the published ones, "
        f"which stand beside them for orientation only."
    )


def facts(table: Table) -> list[tuple[str, str]]:
    """What a reader must know to use the numbers, as (name, text) pairs of plain text."""
    spec = table.spec
    images = sorted({cell.n_images for cell in table.cells.values() if cell.n_images is not None})
    shown = [
        ("Scale", f"{spec.scale} ({spec.scale_title})"),
        ("Data", _data(spec)),
        ("Images", " to ".join(map(str, dict.fromkeys([images[0], images[-1]]))) if images else "none"),
        ("Seeds", ", ".join(map(str, spec.seeds))),
        ("Overrides", ", ".join(f"{key} = {value}" for key, value in spec.overrides.items()) or "none"),
        *([("Machine", _machines(table))] if set(TIMES) & set(spec.columns) else []),
        *[("Protocol", text) for text in protocols(table)],
        (
            "Numbers",
            f"mean over seeds; ± standard deviation over seeds where there are several; in brackets the 95 % "
            f"bootstrap interval over images ({RESAMPLES} resamples), which says nothing about training again "
            f"with another seed; differences are reproduced minus published.",
        ),
        *[("Numbers", text) for text in _combined(table)],
    ]
    if spec.comparable:
        shown.append(
            (
                "Verdict",
                f"match: within 0.005{_mae_tolerance(spec)}, 0.5 % or twice the spread of the published number; "
                "incomplete: images or seeds are missing, or settings were overridden; none for times, which depend "
                "on the machine.",
            )
        )
    return [*shown, *[("Note", note) for note in spec.notes]]


def _combined(table: Table) -> list[str]:
    """How the sections that combine others are made."""
    how = {"mean": "mean of", "spread": "standard deviation over"}
    texts = []
    for row in table.rows:
        if row.members:
            titles = [table.spec.groups[member.group] for member in row.members]
            same = len({member.images for member in row.members}) == 1
            drawn = "for all of them together" if same else "in each data set by itself"
            texts.append(
                f"{table.spec.groups[row.group]}: {how[row.combines]} the sections {', '.join(titles)}; its interval "
                f"resamples images {drawn}."
            )
    return list(dict.fromkeys(texts))


def _mae_tolerance(spec: TableSpec) -> str:
    return f" ({MAE_TOLERANCE} for MAE)" if any(kind_of(column) == "mae" for column in spec.columns) else ""


def _machines(table: Table) -> str:
    """What the rows were timed on, each machine once."""
    machines = [run.record.get("machine") or {} for row in table.rows for run in row.runs]
    named = [f"{each['gpu']}" if each.get("gpu") else f"{each.get('cpu')}, no GPU" for each in machines if each]
    return "; ".join(dict.fromkeys(named)) or "not recorded"


def _data(spec: TableSpec) -> str:
    if not spec.stand_ins:
        return "the data sets of the paper"
    return ", ".join(f"{other} {stand(other)} in for {dataset}" for dataset, other in spec.stand_ins.items())


def protocols(table: Table) -> list[str]:
    """Each protocol with its settings and version, once."""
    texts = []
    for each in table.collected.evaluations():
        title = f": {each.protocol['title']}" if "title" in each.protocol else ""
        # Other methods match nothing, so the settings of the matching say nothing about them.
        matched = each.protocol if each.protocol.get("method", "edges") in ("edges", "instance_edges") else {}
        settings = [f"{key} {_plain(matched[key])}" for key in _PROTOCOL_SETTINGS if key in matched]
        remarks = [score["note"] for score in each.scores.values() if "note" in score]
        texts.append("; ".join([f"{each.name}{title}", *settings, *remarks, f"version {each.version}"]))
    return list(dict.fromkeys(texts))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {_plain(each)}" for key, each in value.items()) + ")"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
