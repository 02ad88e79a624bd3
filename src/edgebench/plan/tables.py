"""Tables of a plan: which runs they show, and what the report needs to know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from edgebench.errors import ConfigError, nearest
from edgebench.files import digest
from edgebench.plan.definitions import Experiment, Scale
from edgebench.plan.runs import Run

Map = dict[str, Any]

TABLE_FORMATS = ("csv", "md", "tex", "html", "json")
REPORT_VERSION = 2
MAIL_MB = 25
"""What most mail servers take."""
# Of a page of the report: what shows it, a table with the records of its runs, and a picture at most.
PAGE_MB, TABLE_MB, FIGURE_MB = 3.2, 0.35, 0.55
FIGURES = {
    "precision_recall": "Grey lines join points of equal F; a dot marks the best threshold over all images (ODS).",
    "image_grid": "The images are evenly spaced in the split, not picked. Dark is edge.",
    "quality_against_time": (
        "Bars are 95 % bootstrap intervals over images. A table in sections has one panel for each."
    ),
    "quality_against_steps": (
        "A ring marks revealing until nothing is left, placed at the mean number of rounds that it took. "
        "Bars are 95 % bootstrap intervals over images."
    ),
    "guidance_strip": "The first image of the split, not a picked one. Dark is edge.",
    "reveal_frames": "The first images of the split, not picked ones. Dark is edge, blue is not revealed yet.",
    "mask_grid": (
        "Of a table in sections the first is shown. The images are evenly spaced in the split, not picked. Below or "
        "beside each picture stands the detail that its frame shows: where the ground truth has most contour."
    ),
    "segment_grid": (
        "Of a table in sections the first is shown. The images are evenly spaced in the split, not picked. Colours "
        "tell neighbours apart and mean nothing else; of instances the twenty with the highest scores are shown."
    ),
    "f_curves": (
        "F (beta^2 = 0.3) averaged over the images, at every threshold; one panel per section of the table that has "
        "runs of its own, and per protocol. Dots mark the maximum, bands are 95 % bootstrap intervals over images. "
        "Where the protocol cuts masks at one half first, all thresholds but the lowest give one value."
    ),
    "e_curves": (
        "E averaged over the images, at every threshold; one panel per section of the table that has runs of its own, "
        "and per protocol. Dots mark the maximum, bands are 95 % bootstrap intervals over images. Where the protocol "
        "cuts masks at one half first, all thresholds but the lowest give one value."
    ),
    "divergence_curves": (
        "Divergence of the self-attention of neighbouring levels of noise, from clean to noisy: the mean over images, "
        "bands from the first to the third quartile. Right, how often each level was kept."
    ),
    "emergence": (
        "Self-attention of the first image at each level of noise, as colours: tokens that attend to the same are "
        "alike. Below, how much it changes between levels, with the widest gap marked, and ABDiv at the level kept."
    ),
    "abdiv_pixels": (
        "ABDiv of tokens whose cell an edge of the ground truth crosses, and of all others, over the first images of "
        "the split."
    ),
    "determinism": (
        "The same weights start from several draws of the noise. Boxes show, over images, the median and the quartiles "
        "of the standard deviation over the draws, whiskers its 5th and 95th percentile: left that of the scores, "
        "right that of a pixel's grey level (black 0, white 1), averaged over the image. Below, the image of median "
        "spread."
    ),
}


OF_NUMBERS = {
    "precision_recall",
    "quality_against_time",
    "quality_against_steps",
    "f_curves",
    "e_curves",
    "divergence_curves",
}
"""Figures that are drawn of numbers alone; the others open the data set, too."""

STAGE_1 = "trace_attention"
"""The method whose runs make TRACE's pseudo labels."""


def _nearest(run: Run, method: str) -> Run | None:
    """The run itself, or the one of a method that is fewest inputs away from it, the first by name of several."""
    level = [run]
    while level:
        if found := next((each for each in level if each.settings.get("method") == method), None):
            return found
        level = [each.inputs[name] for each in level for name in sorted(each.inputs)]
    return None


def stand(names: str) -> str:
    """The verb for one data set that stands in for another, or for several joined by `and`."""
    return "stand" if " and " in names else "stands"


@dataclass(frozen=True)
class SeedRuns:
    """The runs behind one row for one seed.

    Attributes:
        overrides: What the command line changed of their settings, by dotted key.
    """

    seed: int
    predict: Run
    evaluations: dict[str, Run]
    overrides: Map = field(default_factory=dict)

    def spec(self) -> Map:
        """As plain data."""
        predict = self.predict
        return {
            "seed": self.seed,
            "predict": predict.folder,
            "dataset": {
                "folder": predict.inputs["dataset"].folder,
                "layout": (predict.dataset or {})["layout"],
                "split": predict.settings["split"],
                "images": (predict.dataset or {})["images"].get(predict.settings["split"]),
                "limit": predict.settings["limit"],
            },
            "weights": predict.inputs["weights"].folder if "weights" in predict.inputs else None,
            "evaluations": {name: run.folder for name, run in self.evaluations.items()},
            **({"behind": behind} if (behind := self._behind()) else {}),
        }

    def _behind(self) -> dict[str, str]:
        return {name: run.folder for name, run in self._spoken_of().items()}

    def _spoken_of(self) -> dict[str, Run]:
        """Runs that columns speak of besides the scored one: of its edges, and of TRACE's stage 1."""
        runs = {"edges": self.predict.inputs.get("edges"), "labels": _nearest(self.predict, STAGE_1)}
        return {name: run for name, run in runs.items() if run is not None}

    def reads(self, figure: str | None = None) -> list[Run]:
        """Runs whose files a table or a figure opens for this row."""
        opened = [self.predict, *self.evaluations.values(), *self._spoken_of().values()]
        if "weights" in self.predict.inputs:
            opened.append(self.predict.inputs["weights"])
        if figure is not None and figure not in OF_NUMBERS:
            opened.append(self.predict.inputs["dataset"])
        if figure == "divergence_curves":  # goes from run to run back to the labels
            opened += [run for run in self.predict.upstream() if run.stage != "fetch"]
        return opened


@dataclass(frozen=True)
class TableRow:
    """One row: reproduced by `runs`, computed from other rows, or printed only.

    Attributes:
        footnotes: Remarks on printed numbers by column.
        group: Key of the section that it stands in, or empty.
        combines: What is computed of `members`, keys of other rows; empty for a row of its own.
    """

    key: str
    label: str
    published: dict[str, float]
    runs: list[SeedRuns]
    footnotes: dict[str, list[str]] = field(default_factory=dict)
    group: str = ""
    combines: Literal["", "mean", "spread"] = ""
    members: list[str] = field(default_factory=list)

    @property
    def shows(self) -> tuple[str, ...]:
        """Ids of the runs that its numbers come from."""
        runs = [run for each in self.runs for run in (each.predict, *each.evaluations.values())]
        return tuple(run.id for run in runs)

    @property
    def reproduced(self) -> bool:
        """Whether there are numbers beside the printed ones."""
        return bool(self.runs or self.members)

    def spec(self) -> Map:
        """As plain data; keys that say nothing are left out."""
        optional = {name: getattr(self, name) for name in ("footnotes", "group", "combines", "members")}
        return {
            "key": self.key,
            "label": self.label,
            "published": self.published,
            "published_only": not self.reproduced,
            "runs": [each.spec() for each in self.runs],
            **{name: value for name, value in optional.items() if value},
        }


@dataclass(frozen=True)
class Table:
    """A table of a scale.

    Attributes:
        name: `PAPER/TABLE`, the experiment's file.
        recipes: Names of the recipes of its rows, each after those that it extends.
    """

    name: str
    scale_name: str
    scale: Scale
    experiment: Experiment
    rows: list[TableRow]
    recipes: list[str] = field(default_factory=list)

    @cached_property
    def overrides(self) -> Map:
        """What the command line changed of any row, by dotted key."""
        return {key: value for row in self.rows for runs in row.runs for key, value in runs.overrides.items()}

    @cached_property
    def evaluations(self) -> list[Run]:
        """All evaluate runs of the table."""
        return [run for row in self.rows for seed in row.runs for run in seed.evaluations.values()]

    @cached_property
    def predictions(self) -> list[Run]:
        """All predict runs that are scored."""
        return [seed.predict for row in self.rows for seed in row.runs]

    def reads(self, figure: str | None = None) -> list[Run]:
        """Runs whose files the table, or one of its figures, is made of."""
        return _each_once(run for row in self.rows for seed in row.runs for run in seed.reads(figure))

    @cached_property
    def id(self) -> str:
        """Identity of the table: what it shows, of which runs."""
        return digest(self._content(), length=10)

    @cached_property
    def stand_ins(self) -> dict[str, str]:
        """Names of the data sets that stand in for others, by these."""
        runs = [run for each in self.predictions for run in [*each.upstream(), each]]
        used: dict[str, set[str]] = {}
        for run in runs:
            if run.stands_for and run.dataset:
                used.setdefault(run.stands_for, set()).add(run.dataset["name"])
        return {each: " and ".join(sorted(used[each])) for each in self.scale.stand_ins if each in used}

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds of its runs."""
        return sorted({each.seed for row in self.rows for each in row.runs})

    @cached_property
    def notes(self) -> list[str]:
        """Sentences that every reader should know: of the experiment, of the scale, and of how its rows came about."""
        return [
            *self.experiment.notes,
            *self.scale.notes.get(self.name.split("/", 1)[0], []),
            *self._without_checkpoints(),
            *self._released(),
            *self._mixed(),
            *self._alike(),
        ]

    def _content(self) -> Map:
        experiment = self.experiment
        paper, table = self.name.split("/", 1)
        return {
            "version": REPORT_VERSION,
            "title": experiment.title,
            "paper": paper,
            "table": table,
            "scale": self.scale_name,
            "scale_title": self.scale.title,
            "stand_ins": self.stand_ins,
            # What a run asks of a machine changes no number.
            "overrides": {key: value for key, value in self.overrides.items() if ".resources" not in key},
            "seeds": self.seeds,
            "protocol": experiment.protocol,
            "columns": experiment.columns,
            "claims": [] if self._mixed() else experiment.claims,
            "notes": self.notes,
            "figures": list(experiment.figures),
            **({"groups": {each.key: each.title for each in experiment.groups}} if experiment.groups else {}),
            "rows": [row.spec() for row in self.rows],
        }

    def _mixed(self) -> list[str]:
        """A sentence if some rows show the authors' weights and others a network of another size trained here."""
        authors: set[str] = set()
        here: set[str] = set()
        for run in {run.id: run for each in self.predictions for run in each.inputs.values()}.values():
            if run.stage == "train" and "preset" in run.settings:
                (authors if "checkpoint" in run.inputs else here).add(run.settings["preset"])
        if not authors or here <= authors:
            return []
        return [
            "The authors' weights and those trained here are of networks of different sizes, so that no claim about "
            "their rows is checked."
        ]

    def _without_checkpoints(self) -> list[str]:
        """A sentence naming the checkpoints that runs of the table do without at this scale."""
        runs = [run for each in self.predictions for run in [*each.upstream(), each]]
        names = sorted({name for run in runs for name in run.does_without})
        if not names:
            return []
        return [
            f"Left out at this scale: {', '.join(names)}. A network that would begin with one begins with random "
            f"weights, and a code of patches, fitted to the training pictures, stands in for an autoencoder."
        ]

    def _released(self) -> list[str]:
        """A sentence per checkpoint of the authors that rows of the table use."""
        rows: dict[str, list[str]] = {}
        titles: dict[str, str] = {}
        for row in self.rows:
            for run in [run for each in row.runs for run in each.predict.upstream()]:
                if run.stage == "train" and "checkpoint" in run.inputs:
                    definition = run.inputs["checkpoint"].checkpoint or {}
                    titles[definition["name"]] = definition["title"]
                    rows.setdefault(definition["name"], []).append(row.label)
        return [
            f"Weights released by the authors, not trained here: {name} ({titles[name]}), used by "
            f"{'; '.join(dict.fromkeys(labels))}."
            for name, labels in rows.items()
        ]

    def _alike(self) -> list[str]:
        """A sentence per set of rows that differ in name only, because the scale made them the same runs."""
        labels: dict[tuple[str, ...], dict[str, None]] = {}
        for row in self.rows:
            if row.runs:
                labels.setdefault(row.shows, {})[row.label] = None
        alike = dict.fromkeys(tuple(same) for same in labels.values() if len(same) > 1)
        return [f"These rows show the same runs at this scale: {'; '.join(same)}." for same in alike]

    def spec(self) -> Map:
        """What the report needs to know, as plain data."""
        return {"id": self.id, **self._content()}

    @property
    def spec_file(self) -> str:
        """Where the plan writes `spec`."""
        return f"results/plan/tables/{self.scale_name}/{self.name}-{self.id}.json"

    @property
    def files(self) -> list[str]:
        """The table in all its formats."""
        return [f"results/tables/{self.scale_name}/{self.name}.{each}" for each in TABLE_FORMATS]

    @property
    def figure_files(self) -> list[str]:
        """The pictures made of the same runs."""
        return [f"results/figures/{self.scale_name}/{self.name}-{each}.png" for each in self.experiment.figures]


def by_paper(tables: Iterable[Table]) -> dict[str, list[Table]]:
    """The tables of each paper."""
    found: dict[str, list[Table]] = {}
    for table in tables:
        found.setdefault(table.name.split("/", 1)[0], []).append(table)
    return found


def runs_of(tables: Iterable[Table]) -> list[Run]:
    """The runs that tables need, each once, in an order in which they could be carried out."""
    return _each_once(run for table in tables for each in table.evaluations for run in [*each.upstream(), each])


def opened_by(tables: Iterable[Table]) -> list[Run]:
    """The runs whose files tables and their figures are made of, each once."""
    made = [(table, figure) for table in tables for figure in [None, *table.experiment.figures]]
    return _each_once(run for table, figure in made for run in table.reads(figure))


def _each_once(runs: Iterable[Run]) -> list[Run]:
    return list({run.id: run for run in runs}.values())


@dataclass(frozen=True)
class Plan:
    """All tables of a scale and the runs they need.

    Attributes:
        tables: Every experiment's table, by name, but for the impossible ones.
        shown: Names of those that are made without being named.
        impossible: Why a table cannot be planned with what the command line changes.
    """

    scale: str
    title: str
    tables: dict[str, Table]
    shown: list[str]
    impossible: dict[str, ConfigError]

    def table(self, name: str) -> Table:
        """A table by its name.

        Raises:
            ConfigError: what the command line changes makes it impossible.
        """
        if name in self.impossible:
            raise self.impossible[name]
        return self.tables[name]

    def targets(self, paper: str = "") -> list[Table]:
        """The tables that are made without being named, of all papers or of one.

        Raises:
            ConfigError: there are none of the paper, or what the command line changes makes one of them impossible.
        """
        if paper and paper not in self.papers:
            raise ConfigError(f"scale '{self.scale}' makes no table of a paper '{paper}'.{nearest(paper, self.papers)}")
        return [self.table(name) for name in self.shown if not paper or name.startswith(f"{paper}/")]

    @property
    def papers(self) -> list[str]:
        """Papers that have such tables."""
        return list(dict.fromkeys(name.split("/", 1)[0] for name in self.shown))

    @property
    def pages(self) -> list[str]:
        """Pages of the HTML report: one, or one for each paper where a single one could not be mailed."""
        tables = self.targets()
        size = PAGE_MB + sum(TABLE_MB + FIGURE_MB * len(table.figure_files) for table in tables)
        if size <= MAIL_MB:
            return [f"results/report/{self.scale}.html"]
        return [f"results/report/{self.scale}-{paper}.html" for paper in self.papers]

    @cached_property
    def runs(self) -> dict[str, Run]:
        """Every run by id, in an order in which they could be carried out.

        Raises:
            ConfigError: the same run stands under two roles, or a role under two stages.
        """
        found: dict[str, Run] = {}
        stages: dict[str, str] = {}
        for table in self.tables.values():
            for evaluation in table.evaluations:
                for run in [*evaluation.upstream(), evaluation]:
                    same = found.setdefault(run.id, run)
                    if same.role != run.role:
                        raise ConfigError(
                            f"the same run is called '{same.role}' and '{run.role}'; give it one name in all recipes."
                        )
                    if stages.setdefault(run.role, run.stage) != run.stage:
                        raise ConfigError(f"'{run.role}' names runs of stages {stages[run.role]} and {run.stage}.")
        return found
