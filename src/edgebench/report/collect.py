"""From a table's plan to the numbers that its runs left behind."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from edgebench.errors import ConfigError, DataError
from edgebench.files import read_json

SECONDS = "seconds_per_image"
ADDED = "added_params_percent"
EDGES, LABELS = "edges", "labels"
TIMES = (SECONDS, f"{EDGES}_{SECONDS}", f"{LABELS}_{SECONDS}")
# What the record of a run of stage 1 of TRACE says of its labels, by column.
_OF_LABELS = {"edge_share": "edge", "interior_share": "interior", "unknown_share": "unknown", "guarded": "guarded"}
KEPT_TAU = "kept_tau"


@dataclass(frozen=True)
class TableSpec:
    """What the plan says about one table; rows are as in the plan file, `groups` the sections' titles by key."""

    id: str
    title: str
    paper: str
    table: str
    scale: str
    scale_title: str
    columns: list[str]
    rows: list[dict[str, Any]]
    seeds: list[int]
    stand_ins: dict[str, str] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    claims: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def comparable(self) -> bool:
        """Whether the numbers may be held against the printed ones: the paper's scale on the paper's data."""
        return self.scale == "paper" and not self.stand_ins


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluate run.

    Attributes:
        name: Protocol.
        folder: The run's folder.
        run_id: Its id.
        version: Version of the metric.
        protocol: Settings of the protocol.
        columns: Value by column.
        scores: Scores in full (thresholds, precision, recall).
        n_images: Number of images scored.
    """

    name: str
    folder: Path
    run_id: str
    version: int
    protocol: dict[str, Any]
    columns: dict[str, float]
    scores: dict[str, Any]
    n_images: int


@dataclass(frozen=True)
class SeedRun:
    """The runs of one row for one seed.

    Attributes:
        seed: Seed of the chain of runs.
        predict: Folder of the predict run.
        record: Its `run.json`.
        dataset: `folder`, `layout`, `split`, `images`, `limit` of the data predicted on, or None.
        evaluations: By protocol.
        training: `run.json` of the training whose weights were used, or None.
        behind: `run.json` of the run that made the edges which the predict run was given (`edges`), and of stage 1 of
            TRACE that it is or goes back to (`labels`), where there are such runs.
    """

    seed: int
    predict: Path
    record: dict[str, Any]
    dataset: dict[str, Any] | None
    evaluations: dict[str, Evaluation]
    training: dict[str, Any] | None = None
    behind: dict[str, dict[str, Any]] = field(default_factory=dict)

    def evaluation_of(self, column: str) -> Evaluation | None:
        """The evaluation that gives `column`."""
        return next((each for each in self.evaluations.values() if column in each.columns), None)

    def value(self, column: str) -> float | None:
        """The number of `column`; times, parameters and facts of labels come from the records of runs."""
        if column == ADDED:
            return self._added()
        if column in TIMES:
            role = column.removesuffix(SECONDS).rstrip("_")
            seconds = (self.behind.get(role, {}) if role else self.record).get(SECONDS)
            return None if seconds is None else float(seconds)
        if column in _OF_LABELS or column == KEPT_TAU:
            return self._of_labels(column)
        evaluation = self.evaluation_of(column)
        return None if evaluation is None else evaluation.columns[column]

    def _added(self) -> float | None:
        """Adapters in percent of the network's own parameters; None without adapters."""
        training = self.training or {}
        if merged := training.get("adapter_parameters"):  # released weights, whose adapters were merged
            return float(100 * merged / training["parameters"])
        if not training.get("settings", {}).get("lora_rank") or "parameters" not in training:
            return None
        trained = training["trained_parameters"]
        return float(100 * trained / (training["parameters"] - trained))

    def _of_labels(self, column: str) -> float | None:
        """A fact of the labels that stage 1 of TRACE made; None without."""
        record = self.behind.get(LABELS, {})
        if column == KEPT_TAU:
            kept = {float(tau): count for tau, count in record.get("kept", {}).items()}
            total = sum(kept.values())
            return sum(tau * count for tau, count in kept.items()) / total if total else None
        value = record.get(_OF_LABELS[column])
        return None if value is None else float(value)

    def covers(self, column: str) -> int | None:
        """Number of images that `column` speaks for: those that a protocol passes over by its nature are among them."""
        evaluation = self.evaluation_of(column)
        chosen = evaluation.scores.get("images", {}).get("of") if evaluation else None
        return chosen or self.n_images(column)

    def n_images(self, column: str) -> int | None:
        """Number of images behind `column`."""
        evaluation = self.evaluation_of(column)
        return evaluation.n_images if evaluation else self.record.get("n_images")

    def expected_images(self) -> int | None:
        """Number of images that should have been scored, as far as the plan or the predict run says."""
        dataset = self.dataset or {}
        expected: int | None = dataset.get("images") or self.record.get("n_images")
        limit = dataset.get("limit")
        return min(expected, limit) if expected and limit else expected or limit

    def run_ids(self, column: str) -> list[str]:
        """Ids of the predict run and of the evaluation behind `column`."""
        evaluation = self.evaluation_of(column)
        return [self.record["id"], *([evaluation.run_id] if evaluation else [])]


@dataclass(frozen=True)
class Row:
    """One row of a table with everything its runs recorded.

    Attributes:
        footnotes: Remarks on printed numbers by column.
        group: Key of the section that it stands in, or empty.
        combines: What is computed of `members`: their mean or their standard deviation; empty for a row with runs
            of its own.
        members: The same row in other sections.
    """

    key: str
    label: str
    published: dict[str, float]
    published_only: bool
    runs: list[SeedRun]
    footnotes: dict[str, list[str]] = field(default_factory=dict)
    group: str = ""
    combines: Literal["", "mean", "spread"] = ""
    members: list[Row] = field(default_factory=list)

    @property
    def distinct_runs(self) -> list[SeedRun]:
        """The runs without those that several seeds share because nothing in them is random."""
        return list({run.predict: run for run in reversed(self.runs)}.values())[::-1]

    @property
    def images(self) -> tuple[Path, str] | None:
        """Folder and split of the data set that it was scored on, as far as the plan says."""
        dataset = self.runs[0].dataset if self.runs else None
        return (dataset["folder"], dataset["split"]) if dataset else None

    @property
    def all_runs(self) -> list[SeedRun]:
        """The runs behind the numbers: its own, or those of its members."""
        return self.runs or [run for member in self.members for run in member.runs]

    def values(self, column: str) -> list[float]:
        """Values of `column`, one per distinct run that has it; of members combined, one per seed."""
        if self.members:
            found = [member.values(column) for member in self.members]
            if len({len(values) for values in found}) > 1:  # a member lacks a run, so that seeds cannot be told apart
                return []
            return [self.combine(values) for values in zip(*found, strict=True)]
        values = [run.value(column) for run in self.distinct_runs]
        return [value for value in values if value is not None]

    def combine(self, values: Sequence[float]) -> float:
        """The mean or the standard deviation of one value per member."""
        return statistics.mean(values) if self.combines == "mean" else statistics.stdev(values)

    def n_images(self, column: str) -> int | None:
        """Images behind `column`, the fewest of all seeds; of members those of all their data sets together."""
        if self.members:
            counted = {member.images: member.n_images(column) for member in self.members}
            return sum(n for n in counted.values() if n is not None) or None
        return min((n for run in self.runs if (n := run.n_images(column)) is not None), default=None)


@dataclass(frozen=True)
class Collected:
    """A table's plan and its rows."""

    spec: TableSpec
    rows: list[Row]

    def row(self, key: str) -> Row:
        """The row called `key`, which must be one of the table's."""
        return next(row for row in self.rows if row.key == key)

    def evaluations(self) -> list[Evaluation]:
        """Every evaluation behind the table, in row order."""
        return [each for row in self.rows for run in row.runs for each in run.evaluations.values()]


def read_spec(path: str | Path) -> TableSpec:
    """Read a table's plan file.

    Raises:
        EdgebenchError: it is missing or not JSON.
        ConfigError: a key is missing.
    """
    content = read_json(path)
    known = {each.name for each in fields(TableSpec)}
    try:
        return TableSpec(**{key: value for key, value in content.items() if key in known})
    except TypeError as error:
        raise ConfigError(f"{path}: not the plan of a table ({error}). Delete it and plan again.") from None


def collect(spec_path: str | Path, root: str | Path = ".") -> Collected:
    """Read a table's plan and the runs it names.

    Args:
        spec_path: The table's plan file.
        root: Folder that the plan's run folders are relative to.

    Raises:
        DataError: a run is missing or damaged, a column has two sources, or the rows were scored by
            different versions of a metric.
    """
    spec = read_spec(spec_path)
    rows = [
        Row(
            key=row["key"],
            label=row["label"],
            published={k: v for k, v in (row.get("published") or {}).items() if v is not None},
            published_only=bool(row.get("published_only")),
            runs=[_seed_run(run, row["key"], spec, Path(root)) for run in row.get("runs") or []],
            footnotes=row.get("footnotes") or {},
            group=row.get("group") or "",
            combines=row.get("combines") or "",
        )
        for row in spec.rows
    ]
    by_key = {row.key: row for row in rows}
    for row, content in zip(rows, spec.rows, strict=True):
        row.members.extend(by_key[key] for key in content.get("members") or [])
    collected = Collected(spec, rows)
    _check_versions(collected)
    return collected


def _seed_run(run: Mapping[str, Any], row: str, spec: TableSpec, root: Path) -> SeedRun:
    needed_by = f"row '{row}' (seed {run['seed']}) of table '{spec.table}' at scale {spec.scale}"
    record = _read(root / run["predict"], "run.json", root, needed_by)
    evaluations = {
        name: _evaluation(name, root / folder, root, needed_by) for name, folder in run["evaluations"].items()
    }
    source: dict[str, Evaluation] = {}
    for each in evaluations.values():
        for column in each.columns:
            if column in source:
                raise DataError(
                    f"{needed_by}: column '{column}' is given by two evaluations, {source[column].folder} "
                    f"and {each.folder}. Give the protocols different column names."
                )
            source[column] = each
    dataset = run.get("dataset")
    if dataset:
        dataset = {**dataset, "folder": root / dataset["folder"]}
    weights = run.get("weights")
    training = _read(root / weights, "run.json", root, needed_by) if weights else None
    behind = {
        role: _read(root / folder, "run.json", root, needed_by) for role, folder in (run.get("behind") or {}).items()
    }
    return SeedRun(int(run["seed"]), root / run["predict"], record, dataset, evaluations, training, behind)


def _evaluation(name: str, folder: Path, root: Path, needed_by: str) -> Evaluation:
    record = _read(folder, "run.json", root, needed_by)
    scores = _read(folder, "scores.json", root, needed_by)
    try:
        return Evaluation(
            name=name,
            folder=folder,
            run_id=record["id"],
            version=scores["version"],
            protocol=scores["protocol"],
            columns={key: float(value) for key, value in scores["columns"].items()},
            scores=scores.get("scores") or {},
            n_images=int(scores["n_images"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder}/scores.json: not the scores of an evaluate run ({error!r}). "
            f"Delete the folder and run: snakemake {_target(folder, root)}"
        ) from None


def _read(folder: Path, name: str, root: Path, needed_by: str) -> dict[str, Any]:
    if not (folder / name).is_file():
        raise DataError(
            f"{folder / name}: missing; {needed_by} needs it. Make it with: snakemake {_target(folder, root)}"
        )
    content: dict[str, Any] = read_json(folder / name)
    return content


def _target(folder: Path, root: Path) -> str:
    return (folder.relative_to(root) / "run.json").as_posix()


def _check_versions(collected: Collected) -> None:
    first: dict[str, Evaluation] = {}
    for each in collected.evaluations():
        other = first.setdefault(each.name, each)
        if other.version != each.version:
            raise DataError(
                f"table '{collected.spec.table}': protocol '{each.name}' was scored by version "
                f"{other.version} in {other.folder} and by version {each.version} in {each.folder}; such "
                f"numbers do not belong in one table. Score the older one again: delete its folder "
                f"and the table, and run snakemake once more."
            )
