"""Sections of a table: every row once per section, and sections that a scale made the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from edgebench.errors import ConfigError, nearest
from edgebench.plan.definitions import Experiment, Group, Row
from edgebench.plan.published import Published
from edgebench.plan.tables import TableRow


def group_rows(rows: list[Row], group: Group, scored: Callable[[Row], str], where: str) -> list[Row]:
    """The rows as they stand in a section that has runs.

    Args:
        rows: The table's rows.
        group: The section.
        scored: Gives the role of the run that is scored of a row.
        where: What messages begin with.

    Raises:
        ConfigError: a row and the section set the same key.
    """
    placed = []
    for row in rows:
        own = group.set | {f"{scored(row)}.{key}": value for key, value in group.images.items()}
        for key in row.set:
            if key in own:
                raise ConfigError(f"{where}: row '{row.key}' and group '{group.key}' both set '{key}'.")
        placed.append(row.model_copy(update={"key": f"{group.key}/{row.key}", "set": row.set | own}))
    return placed


def row_name(key: str) -> str:
    """The row's own key of a key `group/row`."""
    return key.partition("/")[2]


def printed_in(printed: list[Published], group: Group, where: str) -> list[Published]:
    """The printed numbers that stand beside a section.

    Raises:
        ConfigError: the section names a data set for which nothing is printed.
    """
    if group.printed is None:
        return []
    known = sorted({each.dataset for each in printed})
    if group.printed not in known:
        raise ConfigError(
            f"{where}: group '{group.key}': nothing is printed for '{group.printed}'.{nearest(group.printed, known)}"
        )
    return [each for each in printed if each.dataset == group.printed]


def without_doubles(experiment: Experiment, rows: list[TableRow]) -> tuple[Experiment, list[TableRow]]:
    """Show sections whose rows are the same runs once, because a scale put one data set in the place of several.

    The mean of nothing but such sections is shown in their place, otherwise the first of them. Its title names them
    all, claims speak of it, and a note says whose printed numbers stand beside it.

    Args:
        experiment: The table's definition.
        rows: Its rows in all sections.

    Returns:
        The definition and the rows that are left.
    """
    # Which section is shown in the place of each: of those with the same runs, the first.
    of = {group.key: [row for row in rows if row.group == group.key] for group in experiment.groups}
    shown: dict[str, str] = {}
    first: dict[tuple[tuple[str, ...], ...], str] = {}
    for group in experiment.groups:
        if not group.members:
            shown[group.key] = first.setdefault(tuple(row.shows for row in of[group.key] if row.runs), group.key)
    # A mean of sections that are all the same is that section; it takes their place, as their printed numbers' mean.
    for group in experiment.groups:
        if group.members:
            same = {shown[member] for member in group.members}
            if group.mean_of and len(same) == 1:
                (kept,) = same
                runs = {row_name(row.key): row.runs for row in of[kept]}
                of[group.key] = [
                    replace(row, runs=runs[row_name(row.key)], combines="", members=[]) if row.members else row
                    for row in of[group.key]
                ]
                shown = {key: group.key if other == kept else other for key, other in shown.items()}
            shown[group.key] = group.key
    # What is left, under the titles of all that it stands for.
    kept_groups, notes = [], []
    for group in experiment.groups:
        if shown[group.key] != group.key:
            continue
        titles = [each.title for each in experiment.groups if shown[each.key] == group.key]
        if len(titles) > 1:
            beside = f"; the printed numbers beside them are those of {group.title}" if group.printed else ""
            notes.append(f"The same runs stand for {', '.join(titles)} at this scale and are shown once{beside}.")
        kept_groups.append(group.model_copy(update={"title": ", ".join(titles)}))
    # Members and claims speak of the sections that are shown.
    left = [
        replace(row, members=[_renamed(member, shown) for member in row.members])
        for group in kept_groups
        for row in of[group.key]
    ]
    claims = dict.fromkeys(_renamed(claim, shown) for claim in experiment.claims)
    update = {"groups": kept_groups, "claims": list(claims), "notes": [*experiment.notes, *notes]}
    return experiment.model_copy(update=update), left


def _renamed(text: str, shown: dict[str, str]) -> str:
    """`text` with the keys of the sections that are shown instead."""
    return re.sub(r"(?<!\S)([a-z0-9_]+)/", lambda match: f"{shown.get(match[1], match[1])}/", text)
