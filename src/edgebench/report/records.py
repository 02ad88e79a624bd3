"""Records of the runs behind a table, as its page shows them."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from edgebench.files import pretty_json, read_json
from edgebench.report.collect import Collected, Row
from edgebench.report.columns import column_title

Map = dict[str, Any]
Fact = tuple[str, str]


@dataclass(frozen=True)
class Record:
    """What a run left behind.

    Attributes:
        file: Its `run.json`, seen from the repository.
        content: What stands in there.
    """

    file: str
    content: Map

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.content["id"])

    @property
    def name(self) -> str:
        """Role and label."""
        return ": ".join(str(self.content[key]) for key in ("role", "label") if self.content.get(key)) or self.id

    @property
    def inputs(self) -> dict[str, str]:
        """Ids of the runs that it was made of, by what they are to it."""
        return dict(self.content.get("inputs") or {})

    @property
    def settings(self) -> list[Fact]:
        """Resolved settings, by name."""
        return [(name, _plain(value)) for name, value in (self.content.get("settings") or {}).items()]

    @property
    def results(self) -> list[Fact]:
        """The numbers that it gave."""
        return [(column_title(name), f"{value:.6g}") for name, value in (self.content.get("columns") or {}).items()]

    @property
    def seed(self) -> str:
        """The seed; none where nothing is random."""
        return _plain(self.content.get("seed"))

    @property
    def seconds(self) -> str:
        """How long it took; empty when not recorded."""
        seconds = self.content.get("seconds")
        return "" if seconds is None else f"{seconds:.1f}"

    @property
    def machine(self) -> str:
        """GPU or processor; empty when not recorded."""
        machine = self.content.get("machine") or {}
        return str(machine.get("gpu") or machine.get("cpu") or "")

    @property
    def facts(self) -> list[Fact]:
        """What made it, where, when and at what cost."""
        content, code, machine = self.content, self.content.get("code") or {}, self.content.get("machine") or {}
        libraries = ", ".join(f"{name} {version}" for name, version in (code.get("libraries") or {}).items())
        revision = code.get("git") and code["git"] + (", with uncommitted changes" if code.get("uncommitted") else "")
        computer = [machine.get("gpu") or "no GPU", machine.get("cpu"), f"{machine.get('cores')} cores"]
        cost = [
            self.seconds and f"{self.seconds} s",
            f"{content['gpu_seconds']:.1f} GPU-seconds" if content.get("gpu_seconds") else "",
            f"{content['peak_memory_mb']} MB at most" if content.get("peak_memory_mb") else "",
        ]
        known = {
            "Stage": content.get("stage") and f"{content['stage']}, version {content.get('version')}",
            "Scale": content.get("scale") or "the same for every scale",
            "Seed": self.seed,
            "Images": content.get("n_images"),
            "Cost": ", ".join(filter(None, cost)),
            "Started": content.get("start"),
            "Revision": revision,
            "Libraries": libraries,
            "Machine": machine and ", ".join(filter(None, [machine.get("host"), *computer, machine.get("system")])),
            "Data set": (content.get("dataset") or {}).get("name"),
        }
        return [(name, str(text)) for name, text in known.items() if text not in (None, "", {})]

    @property
    def whole(self) -> Markup:
        """Everything, as JSON in HTML, where text needs no quotation marks escaped: they are an eighth of it."""
        return Markup(html.escape(pretty_json(self.content), quote=False))


class Records:
    """All records behind a table: those of the runs that it shows and, as far as they lie here, of all before these.

    Args:
        collected: The table's plan and what its runs recorded.
    """

    def __init__(self, collected: Collected) -> None:
        self.by_id: dict[str, Record] = {}
        self._folders: dict[Path, dict[str, Path]] = {}
        self._parts = {
            row.key: self._of_row(row, collected.spec.columns) for row in collected.rows if not row.published_only
        }

    def of(self, row: Row) -> list[tuple[Record, str]]:
        """The runs behind a row with what each gives, those first whose numbers it shows."""
        return self._parts.get(row.key, [])

    def _of_row(self, row: Row, columns: list[str]) -> list[tuple[Record, str]]:
        parts: dict[tuple[str, str], tuple[Record, str]] = {}
        for run in row.all_runs:
            runs = run.predict.parent.parent
            shown: list[tuple[Record, str]] = []
            for name, each in run.evaluations.items():
                given = [column_title(column) for column in columns if column in each.columns]
                shown.append((self._read(each.folder, runs), ", ".join(given) or name))
            shown.append((self._read(run.predict, runs), "predictions"))
            seen = {record.id for record, _ in shown}
            waiting = [record for record, _ in shown]
            while waiting:
                for name, run_id in waiting.pop(0).inputs.items():
                    if run_id not in seen and (record := self._find(run_id, runs)):
                        seen.add(run_id)
                        shown.append((record, name.replace("_", " ")))
                        waiting.append(record)
            for record, gives in shown:  # seeds share runs in which nothing is random
                parts.setdefault((record.id, gives), (record, gives))
        return list(parts.values())

    def _find(self, run_id: str, runs: Path) -> Record | None:
        if runs not in self._folders:
            self._folders[runs] = {path.parent.name[-10:]: path.parent for path in runs.glob("*/*/run.json")}
        folder = self._folders[runs].get(run_id)
        return self.by_id.get(run_id) or (self._read(folder, runs) if folder else None)

    def _read(self, folder: Path, runs: Path) -> Record:
        file = f"results/runs/{folder.relative_to(runs).as_posix()}/run.json"
        record = Record(file, read_json(folder / "run.json"))
        return self.by_id.setdefault(record.id, record)


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return pretty_json(value).strip() if isinstance(value, list | dict) else str(value)
