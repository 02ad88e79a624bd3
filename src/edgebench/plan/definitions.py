"""What the files below `config/` may say: data sets, checkpoints, protocols, recipes, scales, experiments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from edgebench.plan.cluster import Words
from edgebench.plan.settings import Fraction, PositiveInt, Strict

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class Draw(Strict):
    """Scenes that edgebench draws itself; see `edgebench.data.scenes`."""

    style: Literal["M", "T", "D"] = "M"
    size: PositiveInt = 64
    seed: int = 0


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Address = Annotated[str, Field(pattern=r"^https?://")]


class Archive(Strict):
    """A zip or tar file, in whichever compression, that a data set is unpacked from.

    Attributes:
        file: Its name.
        urls: Its addresses, tried in order.
        bytes: Its size; null where it is not known.
        sha256: Its digest, or else `md5`, where that is what is published.
        unpinned: Why neither is known. What the first fetch finds is then recorded, and the line that pins it printed.
        only: Members that are wanted, as `*` patterns (`*` also crosses `/`); all when empty. Pictures and annotations
            alone are unpacked in any case.
        inner: Members that are archives themselves, as patterns; they are unpacked where they lie.
        strip: Leading folders of the members' names that are left out.
        into: Folder, below the data set's, that it is unpacked in.
    """

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    urls: Annotated[list[Address], Field(min_length=1)]
    bytes: PositiveInt | None = None
    sha256: Sha256 | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    unpinned: str | None = None
    only: list[str] = []
    inner: list[str] = []
    strip: Annotated[int, Field(ge=0)] = 0
    into: Annotated[str, Field(pattern=r"^(\.|[A-Za-z0-9_][A-Za-z0-9_-]*(/[A-Za-z0-9_][A-Za-z0-9_-]*)*)$")] = "."

    @model_validator(mode="after")
    def _pinned_or_not(self) -> Archive:
        if sum([self.sha256 is not None, self.md5 is not None, self.unpinned is not None]) != 1:
            raise ValueError("say exactly one of 'sha256', 'md5' and 'unpinned' (why neither is known)")
        return self


class Source(Strict):
    """Where the files come from: mirrors with a manifest, archives, drawn by edgebench, or a folder of one's own."""

    mirrors: list[str] = []
    manifest: str | None = None
    archives: list[Archive] = []
    draw: Draw | None = None
    local: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        if sum([bool(self.manifest), bool(self.archives), self.draw is not None, self.local]) != 1:
            raise ValueError("say exactly one of 'manifest' (with 'mirrors'), 'archives', 'draw' and 'local'")
        if self.mirrors and not self.manifest:
            raise ValueError("'mirrors' belongs to 'manifest'; archives have 'urls' of their own")
        files = [archive.file for archive in self.archives]
        if len(set(files)) < len(files):
            raise ValueError("two archives have one name: each 'file' is another")
        return self


class Dataset(Strict):
    """A data set: `config/datasets/NAME.yaml`.

    Attributes:
        source: Where the files come from.
        layout: How the files lie on disk; names the adapter.
        images: Expected number of images per split.
        edge_tolerance: Largest distance of a matched edge pixel, as a fraction of the image diagonal.
        files: Number of files.
        bytes: Size of the download.
        gate: `manual` when people must ask the owners for the files themselves.
    """

    name: Name
    title: str
    layout: str
    source: Source
    images: dict[str, int]
    files: int | None = None
    licence: str
    terms: str
    citation: str
    edge_tolerance: Fraction | None = None
    bytes: int | None = None
    gate: Literal["none", "accept", "manual"] = "none"


class HubSource(Strict):
    """Files of a repository on the Hugging Face hub.

    Attributes:
        repo: OWNER/NAME.
        revision: Branch, tag or commit; the commit it stood for is recorded.
        patterns: Which files, as `*` patterns of their paths in the repository; `*` also crosses `/`.
    """

    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: str = "main"
    patterns: Annotated[list[str], Field(min_length=1)]


class CheckpointSource(Strict):
    """Where a checkpoint's files come from: a repository of the hub, or addresses that `files` lie below."""

    hub: HubSource | None = None
    mirrors: list[str] = []

    @model_validator(mode="after")
    def _one_kind(self) -> CheckpointSource:
        if (self.hub is not None) == bool(self.mirrors):
            raise ValueError("say exactly one of 'hub' and 'mirrors'")
        return self


class KnownFile(Strict):
    """What is known of a file beforehand.

    Attributes:
        sha256: Its digest, or 8 to 32 first digits of it, such as PyTorch's file names carry; null where the owner
            publishes none.
        bytes: Its size; null where it is not known.
    """

    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{8,32}|[0-9a-f]{64})$")] | None = None
    bytes: PositiveInt | None = None


class Checkpoint(Strict):
    """Weights that somebody released: `config/checkpoints/NAME.yaml`.

    Attributes:
        format: `memo_deepspeed` is a training checkpoint of MEMO's authors and `diffdis_diffusers` the folder of
            DiffDIS' authors, which are converted once; `transformers` and `diffusers` are folders that these
            libraries read; `file` whatever else.
        preset: Size of the network in a checkpoint that is converted.
        files: What is known of single files, by path; the hub's own digests are checked besides.
        bytes: Size of the download; an estimate where the owner states none.
        gate: `manual` when people must ask the owners for the files themselves.
    """

    name: Name
    title: str
    format: Literal["memo_deepspeed", "diffdis_diffusers", "transformers", "diffusers", "file"]
    preset: str | None = None
    source: CheckpointSource
    files: dict[str, KnownFile] = {}
    bytes: PositiveInt | None = None
    gate: Literal["none", "accept", "manual"] = "none"
    licence: str
    terms: str
    citation: str

    @model_validator(mode="after")
    def _complete(self) -> Checkpoint:
        if self.source.hub is None and not self.files:
            raise ValueError("name the 'files' that lie below 'source.mirrors'")
        if (self.format in ("memo_deepspeed", "diffdis_diffusers")) != (self.preset is not None):
            raise ValueError("'preset' belongs to the formats memo_deepspeed and diffdis_diffusers, and to no other")
        return self


class EdgeNms(Strict):
    """Non-maximum suppression of the edge evaluation; see `edgebench.metrics.edges.nms`."""

    radius: PositiveInt = 1
    border: Annotated[int, Field(ge=0)] = 5
    multiplier: float = 1.01


class Protocol(Strict):
    """How predictions are scored: `config/protocols/NAME.yaml`.

    Attributes:
        method: `edges` matches boundaries with annotators, `crispness` needs no annotators, `perceptual` compares
            maps and drawings as pictures (FID, LPIPS), `masks` compares foreground, `outlines` the edges predicted
            beside masks, `instances` scores objects as COCO does, `panoptic` gives panoptic quality, and
            `instance_edges` matches edges with the borders between the segments of a panoptic ground truth.
        columns: Prefix of the columns that it gives (`seval` gives `seval_ods`, `seval_ois`, ...); may be empty.
        nms: Suppression before thresholding; null for none.
        thin: Whether binary maps are thinned before matching.
        max_distance: Tolerance as a fraction of the diagonal; null takes the data set's own.
        thresholds: Number of thresholds.
        map: What `perceptual` compares: the probability map, or the map cut at one half.
        networks: Checkpoints that `perceptual` needs, by what they are for: `inception` and `lpips`.
        rule: Whose conventions `masks` follows: the public evaluators' (`standard`) or the authors' (`diffdis`); see
            `edgebench.metrics.masks.protocols`.
        per_class: Whether `instances` matches within categories and averages over them; else all are one.
        images: Which images `instances` counts: `all`, those with `adjacent` objects of one class, or those with
            none (`apart`).
        reach: Distance within which two objects are adjacent, pixels.
        void: Whether `instance_edges` takes the border of unlabelled regions for an edge.
        truth: Whose borders are the edges of `instance_edges`: those of the segments of a panoptic map, or those of
            instances, where a data set has no such map.
    """

    name: Name
    title: str
    method: Literal["edges", "crispness", "perceptual", "masks", "outlines", "instances", "panoptic", "instance_edges"]
    columns: str
    nms: EdgeNms | None = None
    thin: bool = True
    max_distance: Fraction | None = None
    thresholds: PositiveInt = 99
    map: Literal["probability", "binary"] = "probability"
    networks: dict[Literal["inception", "lpips"], Name] = {}
    rule: Literal["standard", "diffdis"] | None = None
    per_class: bool = False
    images: Literal["all", "adjacent", "apart"] = "all"
    reach: PositiveInt = 2
    void: bool = False
    truth: Literal["panoptic", "instances"] = "panoptic"

    @model_validator(mode="after")
    def _networks_where_needed(self) -> Protocol:
        if len(self.networks) != (2 if self.method == "perceptual" else 0):
            raise ValueError("method 'perceptual' needs 'networks' {inception: NAME, lpips: NAME}, and no other does")
        return self

    @model_validator(mode="after")
    def _rule_where_needed(self) -> Protocol:
        if (self.rule is not None) != (self.method == "masks"):
            raise ValueError("method 'masks' needs 'rule' (standard or diffdis), and no other does")
        return self

    @model_validator(mode="after")
    def _own_fields_alone(self) -> Protocol:
        owners = {
            **dict.fromkeys(("per_class", "images", "reach"), "instances"),
            **dict.fromkeys(("void", "truth"), "instance_edges"),
        }
        for name, owner in owners.items():
            if name in self.model_fields_set and self.method != owner:
                raise ValueError(f"'{name}' belongs to method '{owner}', not to '{self.method}'")
        if "reach" in self.model_fields_set and self.images == "all":
            raise ValueError("'reach' means nothing with 'images: all'")
        return self

    def content(self) -> dict[str, Any]:
        """What decides the scores, as plain data: fields of other methods do not count."""
        named = {"name", "title", "method", "columns"}
        edges = {"nms", "thin", "max_distance", "thresholds"}
        own = {
            "masks": named | {"rule"},
            "outlines": named,
            "instances": named | {"per_class", "images"} | ({"reach"} if self.images != "all" else set()),
            "panoptic": named,
            "instance_edges": named | edges | {"void", "truth"},
        }
        # The first protocols carry fields of one another, which their runs' ids keep.
        kept = own.get(self.method, named | edges | {"map", "networks"})
        content = self.model_dump(mode="json", include=kept)
        if self.method in ("masks", "outlines"):
            return {name: value for name, value in content.items() if value is not None}
        return content


class Recipe(Strict):
    """A chain of runs: `config/recipes/NAME.yaml`.

    Attributes:
        extends: Recipe whose runs are taken over and changed.
        runs: Settings by role. The role is also the folder below `results/runs`.
        evaluates: Role of the predict run that is scored.
    """

    title: str
    extends: Name | None = None
    runs: dict[str, Any]
    evaluates: str = "predict"

    @field_validator("runs")
    @classmethod
    def _maps(cls, runs: dict[str, Any]) -> dict[str, Any]:
        for role, settings in runs.items():
            if settings is not None and not isinstance(settings, dict):
                raise ValueError(f"'{role}' must be a map of settings")
        return runs


class StandIn(Strict):
    """The data set used instead of another one at a scale.

    Attributes:
        split: Its split; one for all splits of the other, or by their names where the two name them differently.
    """

    dataset: Name
    split: str | dict[str, str] | None = None


class Scale(Strict):
    """How large everything is: `config/scales/NAME.yaml`.

    Attributes:
        stand_ins: Data sets used instead of others, with another split where theirs differ; one for all splits of the
            other, or one for each.
        without_checkpoints: Released checkpoints that runs do without: settings that name them become null.
        every: Settings for every run that has them.
        recipes: Settings by recipe and role; those of an extended recipe apply too.
        tables: What the targets that ask for all tables make; null for every experiment. The others are made
            when they are asked for by name.
        notes: Sentences that every reader of a table of this scale should know, by paper.
    """

    title: str
    tables: list[str] | None = None
    stand_ins: dict[str, str | StandIn | dict[str, StandIn]] = {}
    without_checkpoints: list[Name] = []
    every: dict[str, Any] = {}
    recipes: dict[str, dict[str, dict[str, Any]]] = {}
    notes: dict[Name, list[str]] = {}

    def stand_in(self, dataset: str, split: str) -> tuple[str, str]:
        """Data set and split that are really used for `dataset` and `split`."""
        other = self.stand_ins.get(dataset)
        if isinstance(other, dict):
            other = other.get(split)
        if other is None:
            return dataset, split
        if isinstance(other, str):
            return other, split
        if isinstance(other.split, dict):
            return other.dataset, other.split.get(split, split)
        return other.dataset, other.split or split


class Shows(Strict):
    """Which printed table an experiment reproduces; `table` null when the paper prints no numbers."""

    paper: Name
    table: str | None = None


class Row(Strict):
    """One row that is not part of the matrix.

    Attributes:
        key: How claims call it.
        label: How people read it.
        recipe: Chain of runs, when it is not the experiment's.
        set: Settings by dotted key, such as `predict.sigma`.
        published: Which printed row stands beside it (`method`, `variant`, `dataset`; a section brings its own data
            set).
    """

    key: str
    label: str
    recipe: Name | None = None
    set: dict[str, Any] = {}
    published: dict[str, str] = {}


class Group(Strict):
    """A section of a table: every row once, on other data or with other noise.

    Attributes:
        key: Goes before the rows' keys: `vd/diffdis`.
        title: Heading of the section.
        printed: Data set of the printed numbers beside it, as `config/published` names it; null for none.
        images: `dataset`, `split` and `limit` of the run that is scored, whichever role it has in a row's recipe; runs
            that name no data set and that it uses take them over.
        set: Settings by dotted key, for every row.
        mean_of: Sections whose mean is shown, instead of runs of its own.
        spread_of: Sections whose standard deviation is shown, instead of runs of its own.
    """

    key: Name
    title: str
    printed: str | None = None
    images: dict[Literal["dataset", "split", "limit"], Any] = {}
    set: dict[str, Any] = {}
    mean_of: list[Name] = []
    spread_of: list[Name] = []

    @property
    def members(self) -> list[str]:
        """Sections that this one is computed from; none where it has runs."""
        return self.mean_of or self.spread_of

    @property
    def combines(self) -> Literal["", "mean", "spread"]:
        """What is computed of the members; empty without."""
        return "mean" if self.mean_of else "spread" if self.spread_of else ""

    @model_validator(mode="after")
    def _one_kind(self) -> Group:
        if sum(map(bool, (self.set or self.images, self.mean_of, self.spread_of))) > 1:
            raise ValueError("say one of 'set' (with 'images'), 'mean_of' and 'spread_of'")
        if len(self.members) == 1:
            raise ValueError("'mean_of' and 'spread_of' need two sections or more")
        return self


class Experiment(Strict):
    """A table: `config/experiments/PAPER/NAME.yaml`.

    Attributes:
        shows: The printed table that it reproduces.
        recipe: Chain of runs of every row that names no other.
        runs: Changes of the recipe for all rows.
        matrix: Values by dotted key; every combination is a row.
        without: Combinations left out.
        rows: Rows besides the matrix.
        row: Template of the matrix rows' labels.
        groups: Sections, each with every row; row keys are then `group/row`.
        columns: What is shown, in this order.
        protocol: Protocols by which every row is scored.
        published: Printed row by the key of a matrix row.
        printed_only: Whether printed rows without a reproduction are listed too.
        claims: What the paper concludes, or edgebench expects (`notes` say so), checked on the reproduced numbers.
        figures: Pictures made of the same runs.
        notes: Sentences that every reader of the table should know.
        seeds: Seeds of this table, when they are not those of `config/config.yaml`.
    """

    title: str
    shows: Shows
    recipe: Name
    runs: dict[str, Any] = {}
    protocol: list[Name]
    matrix: dict[str, list[Any]] = {}
    without: list[dict[str, Any]] = []
    rows: list[Row] = []
    row: str = ""
    groups: list[Group] = []
    columns: list[str]
    published: dict[str, dict[str, str]] = {}
    printed_only: bool = False
    claims: list[str] = []
    figures: list[str] = []
    notes: list[str] = []
    seeds: list[int] | None = None

    @field_validator("groups")
    @classmethod
    def _members_have_runs(cls, groups: list[Group]) -> list[Group]:
        keys = [group.key for group in groups]
        for twice in {key for key in keys if keys.count(key) > 1}:
            raise ValueError(f"the key '{twice}' appears twice")
        measured = [group.key for group in groups if not group.members]
        for group in groups:
            for member in group.members:
                if member not in measured:
                    raise ValueError(f"'{group.key}' is made of '{member}', which is not a group with runs")
        return groups


class Runtime(Strict):
    """How runs are carried out; changes no result and is no part of any identity.

    Attributes:
        checkpoint_minutes: Time between checkpoints of a training run.
        time_limit_minutes: Training stops itself after this time with a checkpoint, to be started again.
        tensorboard: Whether training also logs for TensorBoard.
        loader_workers: Processes that prepare training samples; null takes the run's cores but one where a GPU
            trains, and none on a CPU, which would be taken from the training itself.
    """

    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10
    time_limit_minutes: Annotated[float, Field(gt=0)] | None = None
    tensorboard: bool = False
    loader_workers: Annotated[int, Field(ge=0)] | None = None


class Config(Strict):
    """The person's choices: `config/config.yaml`, and what `--config` adds.

    Attributes:
        scale: Scale of the targets `all`, `tables`, `figures` and `report`.
        seeds: One chain of runs per seed.
        accept: Data sets and checkpoints whose terms the person has read and accepts.
        set: Settings laid over everything else, by dotted key (`finetune.steps`).
        mirrors: Own mirrors by data set or checkpoint: a folder or an address, tried before the public ones.
        checkpoints: `build` makes everything here; `pull` takes the weights that the authors released wherever a
            recipe names them (`released`), pulls the runs that are shared, and starts no other training; `auto` plans
            as `build` does, pulls the runs that are shared and makes the others.
        cluster: How the cluster is asked, which a profile says: SLURM's `--gpus` or `--gres`, or Kubernetes; null is
            this machine.
        runtime: How runs are carried out.
    """

    scale: Name = "paper"
    seeds: Annotated[list[int], Field(min_length=1)] = [0]
    set: dict[str, Any] = {}
    mirrors: dict[str, str] = {}
    checkpoints: Literal["build", "pull", "auto"] = "build"
    cluster: Words | None = None
    accept: list[str] = []
    runtime: Runtime = Runtime()
