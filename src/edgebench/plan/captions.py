"""What the HTML report says of a table and of a figure: category, name in the list, and caption."""

from __future__ import annotations

import re
from typing import Any

from edgebench.plan.tables import FIGURES, Table, stand

PAPERS = {"memo": "1. MEMO", "diffdis": "2. DiffDIS", "trace": "3. TRACE"}
"""How the report calls the papers. It lists its categories alphabetically, so the numbers keep their order."""

_SPELLED = {
    "precision_recall": "precision and recall",
    "f_curves": "F curves",
    "e_curves": "E curves",
    "abdiv_pixels": "ABDiv of pixels",
}


def category(table: Table) -> str:
    """The paper, as the report calls it."""
    paper = table.name.split("/", 1)[0]
    return PAPERS.get(paper, paper)


def labels(table: Table, figure: str = "") -> dict[str, str]:
    """What the report lists a table or one of its figures as.

    One label, with the file's name in it: of several labels the report makes switches, and of entries that are called
    the same it shows one.
    """
    title = f"{table.experiment.title} ({table.name.split('/', 1)[1]})"
    return {"Figure": f"{title}: {_SPELLED.get(figure, figure.replace('_', ' '))}"} if figure else {"Table": title}


def caption(table: Table, figure: str = "") -> str:
    """What the report says beside a table or figure, in reStructuredText: scale, settings, data, protocol, identity."""
    lines = [
        ("Scale", f"{table.scale_name}: {table.scale.title}."),
        ("Data", " ".join([f"{_images(table)}.", *_stand_ins(table)])),
        ("Recipes", f"{', '.join(table.recipes)}. Seeds: {', '.join(map(str, table.seeds))}."),
        *(("Set by the scale", f"{recipe}: {changes}.") for recipe, changes in _set_by_scale(table)),
        *(("Changed on the command line", f"{key} = {value}.") for key, value in table.overrides.items()),
        ("Protocols", f"{', '.join(table.experiment.protocol)}."),
        *(("Note", note) for note in table.notes),
        ("Identity", f"{table.id}. Files: results/tables/{table.scale_name}/{table.name} (csv, md, tex, html, json)."),
    ]
    parts = [f"**{_rst(table.experiment.title)}**"]
    if table.scale_name != "paper":
        parts.append(f"*Made at scale {table.scale_name}: not comparable with the printed numbers.*")
    if figure:
        parts.append(_rst(FIGURES[figure]))
    else:
        parts.append("Every reproduced number leads to the records of the runs that made it: click on it.")
    return "\n\n".join([*parts, "\n".join(f"- *{name}:* {_rst(text)}" for name, text in lines)])


def _images(table: Table) -> str:
    """Data sets that are scored, with their split and number of images."""
    used: dict[str, None] = {}
    for run in table.predictions:
        split, limit = run.settings["split"], run.settings["limit"]
        there = (run.dataset or {})["images"].get(split)
        count = min(filter(None, (there, limit)), default=None)
        used[f"{run.settings['dataset']}/{split} ({count or 'all'} images)"] = None
    return "scored on " + ", ".join(used)


def _stand_ins(table: Table) -> list[str]:
    return [f"{other} {stand(other)} in for {name}." for name, other in table.stand_ins.items()]


def _set_by_scale(table: Table) -> list[tuple[str, str]]:
    """What the scale sets in each recipe of the table, as one line of text."""
    every = ", ".join(f"{key} {_value(value)}" for key, value in table.scale.every.items())
    found = [("every run", every)] if every else []
    for recipe in table.recipes:
        roles = [
            f"{role} ({', '.join(changed)})"
            for role, settings in table.scale.recipes.get(recipe, {}).items()
            if (changed := [f"{key} {_value(value)}" for key, value in settings.items() if key[:9] != "resources"])
        ]
        if roles:
            found.append((recipe, ", ".join(roles)))
    return found


def _value(value: Any) -> str:
    return {None: "none", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def _rst(text: str) -> str:
    """Plain text, in which nothing is taken for markup."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)
