"""Whether two folders hold the same, but for what may differ between two undisturbed runs."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

OF_THIS_CALL = {
    *("start", "end", "seconds", "gpu_seconds", "seconds_per_image", "training_seconds", "peak_memory_mb"),
    "resumed_from_step",
    "origins",  # of the files that the last call of a fetch brought
}
"""Entries of `run.json` that tell one call from another. They must be there; their values count for nothing."""
COST_OF_A_RUN = re.compile(
    r'(<a href="#run-.*?)<td class="number">.*?(?=</tr>)|<dt>(?:Cost|Started)</dt><dd>.*?</dd>'
    rf'|"(?:{"|".join(sorted(OF_THIS_CALL))})": .*'
)
"""On a table's page, what each run cost, on which machine and when it began."""


def differences(found: Path, expected: Path) -> list[str]:
    """Files of `expected` that `found` lacks or has otherwise, and files that it has besides; empty when equal.

    Every file is compared byte for byte. Excepted are what `run.json` says `OF_THIS_CALL`, the seconds per image in
    `timing.json`, the column `seconds` of `log.csv`, the files' own times in `.verified.json` and `.archives`, which
    call downloaded an archive, and the seconds of runs on a table's page.
    """
    there, wanted = _files(found), _files(expected)
    lines = [f"{name}: is missing" for name in sorted(wanted - there)]
    lines += [f"{name}: was left behind" for name in sorted(there - wanted)]
    for name in sorted(there & wanted):
        one, other = found / name, expected / name
        if one.read_bytes() != other.read_bytes() and _comparable(one) != _comparable(other):
            lines.append(f"{name}: differs")
    return lines


def _files(folder: Path) -> set[str]:
    return {
        (Path(place) / name).relative_to(folder).as_posix() for place, _, names in os.walk(folder) for name in names
    }


def _comparable(path: Path) -> Any:
    """Content of a file without what may differ; its bytes where that is nothing."""
    if path.name == "run.json":
        record = json.loads(path.read_text())
        archives = [_without(each, {"origin"}) for each in record.get("archives") or []]
        return _without(record, OF_THIS_CALL) | {"archives": archives}
    if path.name == ".verified.json":
        return {name: (size, digest) for name, (size, _, digest) in json.loads(path.read_text()).items()}
    if path.parent.name == ".archives":
        note = json.loads(path.read_text())
        return _without(note, {"origin"}) | {"files": [(name, size) for name, size, _ in note["files"]]}
    if path.name == "timing.json":
        return sorted(json.loads(path.read_text()))
    if path.name == "log.csv":
        with path.open(newline="") as file:
            return [_without(row, {"seconds"}) for row in csv.DictReader(file)]
    if path.suffix == ".html":
        return COST_OF_A_RUN.sub(r"\1", path.read_text())
    return path.read_bytes()


def _without(content: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: None if key in keys else value for key, value in content.items()}
