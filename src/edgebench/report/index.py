"""`results/index.tsv`: one line per finished run, for people, spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebench.files import write_text_if_changed
from edgebench.report.lineage import finished_runs

INDEX = "results/index.tsv"


def write_index(root: Path) -> Path:
    """Write the index of all finished runs below `results/runs`, unless it is right already.

    Returns:
        `results/index.tsv`.

    Raises:
        EdgebenchError: it cannot be written.
    """
    path = root / INDEX
    lines = [index_line(run.record, run.folder) for run in finished_runs(root).values()]
    if lines or path.exists():
        text = io.StringIO()
        writer = csv.writer(text, delimiter="\t", lineterminator="\n")
        writer.writerows([list(index_line({}, "")), *(list(line.values()) for line in lines)])
        write_text_if_changed(path, text.getvalue())
    return path


def index_line(record: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """What the index says of a run, by column; empty where its record says nothing."""
    settings, code = record.get("settings") or {}, record.get("code") or {}
    return {
        **{key: _text(record.get(key)) for key in ("id", "role", "label", "stage")},
        **{key: _text(settings.get(key)) for key in ("method", "dataset", "split")},
        **{key: _text(record.get(key)) for key in ("scale", "seed", "version", "start", "seconds", "gpu_seconds")},
        "host": _text((record.get("machine") or {}).get("host")),
        "revision": _text(code.get("git")) + ("+changes" if code.get("uncommitted") else ""),
        "fingerprint": _text(code.get("fingerprint")),
        "folder": folder,
    }


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())
