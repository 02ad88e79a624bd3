"""The definitions below `config/`, read once, and the plan of a scale made from them."""

from __future__ import annotations

import itertools
import re
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from edgebench.errors import ConfigError, nearest
from edgebench.files import digest, pretty_json, sha256_file, write_text_if_changed
from edgebench.plan.claims import parse_claims
from edgebench.plan.definitions import Checkpoint, Config, Dataset, Experiment, Group, Protocol, Recipe, Row, Scale
from edgebench.plan.groups import group_rows, printed_in, row_name, without_doubles
from edgebench.plan.merging import leaves, merge, nested
from edgebench.plan.methods import all_settings, settings_class
from edgebench.plan.published import Published, published_rows
from edgebench.plan.reading import read_yaml, validate
from edgebench.plan.resolve import Layer, released_of, resolve
from edgebench.plan.runs import EVALUATE_VERSION, Run
from edgebench.plan.settings import (
    Evaluate,
    OnImages,
    Released,
    Resources,
    Settings,
    Strict,
    Train,
    checkpoint_fields,
    fields_by_scale,
    role_fields,
)
from edgebench.plan.tables import FIGURES, Plan, SeedRuns, Table, TableRow

Map = dict[str, Any]
Definition = TypeVar("Definition", bound=Strict)

COLUMNS_OF = {
    "edges": ["ods", "ois", "ap"],
    "crispness": [""],
    "perceptual": ["fid", "lpips"],
    # `METRICS` of edgebench.metrics.masks, which cannot be asked without numpy.
    "masks": [
        "max_f",
        "mean_f",
        "adaptive_f",
        "weighted_f",
        "s_measure",
        "max_e",
        "mean_e",
        "adaptive_e",
        "mae",
        "hce",
        "biou",
        "iou",
    ],
    "outlines": ["mae", "iou"],
}
RECORD_COLUMNS = ["seconds_per_image", "added_params_percent"]
FETCH_VERSION = 1
DOWNLOAD_MB_PER_MINUTE = 600
# The method of the train stage that makes our weights of a checkpoint, by its format.
CONVERTED_BY = {"memo_deepspeed": "memo_released", "diffdis_diffusers": "diffdis_released"}
RELEASED = "released"
SKELETONS = "skeletons"
LARGE_SET = 200
"""With more images, work on masks asks for several cores; with fewer, starting processes costs more than it saves."""
# The method of a run that a training run takes something from, by the setting that names the run.
MADE_FOR_TRAINING = {"labels": "mask_edges", "edge_targets": "mask_contours"}


class Workbench:
    """All definitions of a `config/` folder.

    Args:
        root: The repository: the folder that holds `config/`.
        config: What the command line adds to `config/config.yaml`.

    Raises:
        ConfigError: a definition is wrong; names file, key, value and the nearest right one.
    """

    def __init__(self, root: Path, config: Map | None = None) -> None:
        self.root = root
        path = root / "config" / "config.yaml"
        given = dict(config or {})
        # Not merged: a null in `set` removes a key of a recipe, not of `set`.
        changes = {**read_yaml(path).get("set", {}), **given.pop("set", {})}
        content = merge(read_yaml(path), given) | {"set": {key: _typed(value) for key, value in changes.items()}}
        self.config = validate(Config, content, self._shown(path))
        self._plans: dict[str, Plan] = {}
        self._definitions: dict[Path, Strict] = {}
        self._fetches: dict[str, Run] = {}

    # Definitions

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _load(self, model: type[Definition], kind: str, name: str) -> Definition:
        path = self.root / "config" / kind / f"{name}.yaml"
        if path not in self._definitions:
            if not path.exists():
                known = self.names(kind)
                raise ConfigError(f"{self._shown(path)}: no such file.{nearest(name, known)}")
            content = read_yaml(path)
            if "name" in model.model_fields and content.get("name") != path.stem:
                raise ConfigError(f"{self._shown(path)}: key 'name' must be '{path.stem}' like the file.")
            self._definitions[path] = validate(model, content, self._shown(path))
        return self._definitions[path]  # type: ignore[return-value]

    def names(self, kind: str) -> list[str]:
        """Names of all definitions of a kind: `checkpoints`, `datasets`, `experiments`, `protocols`, ..."""
        folder = self.root / "config" / kind
        return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml"))

    def dataset(self, name: str) -> Dataset:
        """The definition of a data set."""
        return self._load(Dataset, "datasets", name)

    def checkpoint(self, name: str) -> Checkpoint:
        """The definition of a released checkpoint."""
        return self._load(Checkpoint, "checkpoints", name)

    def protocol(self, name: str) -> Protocol:
        """The definition of a protocol."""
        return self._load(Protocol, "protocols", name)

    def scale(self, name: str) -> Scale:
        """The definition of a scale; its recipes and roles are checked to exist."""
        scale = self._load(Scale, "scales", name)
        known_keys = set[str]().union(*map(fields_by_scale, all_settings().values()))
        for key in scale.every:
            if key not in known_keys:
                raise ConfigError(
                    f"config/scales/{name}.yaml: every: a scale may not change '{key}'.{nearest(key, known_keys)}"
                )
        for checkpoint in scale.without_checkpoints:
            self.check_checkpoint(f"config/scales/{name}.yaml: without_checkpoints", checkpoint)
        experiments = self.names("experiments")
        for table in scale.tables or []:
            if table not in experiments:
                where = f"config/scales/{name}.yaml: tables"
                raise ConfigError(f"{where}: no experiment is called '{table}'.{nearest(table, experiments)}")
        papers = {experiment.partition("/")[0] for experiment in experiments}
        for paper in scale.notes:
            if paper not in papers:
                where = f"config/scales/{name}.yaml: notes"
                raise ConfigError(f"{where}: no experiment shows a paper '{paper}'.{nearest(paper, papers)}")
        for recipe, roles in scale.recipes.items():
            where = f"config/scales/{name}.yaml: recipes"
            if recipe not in self.names("recipes"):
                raise ConfigError(f"{where}: unknown recipe '{recipe}'.{nearest(recipe, self.names('recipes'))}")
            known = {role for _, layer in self._recipe_chain(recipe) for role in layer.runs}
            for role in roles:
                if role not in known:
                    raise ConfigError(f"{where}.{recipe}: unknown run '{role}'.{nearest(role, known)}")
        return scale

    def experiment(self, name: str) -> Experiment:
        """The definition of an experiment, such as `memo/main_bsds`."""
        return self._load(Experiment, "experiments", name)

    def _recipe_chain(self, name: str) -> list[tuple[str, Recipe]]:
        """The recipe and those it extends, the lowest first."""
        chain: list[tuple[str, Recipe]] = []
        following: str | None = name
        while following:
            if any(following == seen for seen, _ in chain):
                raise ConfigError(f"config/recipes/{following}.yaml: extends itself.")
            recipe = self._load(Recipe, "recipes", following)
            chain.insert(0, (following, recipe))
            following = recipe.extends
        return chain

    def dataset_map(self, name: str) -> Map:
        """A data set's definition as plain data, with the digest of its manifest."""
        dataset = self.dataset(name)
        content = dataset.model_dump(mode="json", exclude_none=True)
        if dataset.source.manifest:
            manifest = self.root / "config" / "datasets" / dataset.source.manifest
            if not manifest.exists():
                raise ConfigError(f"config/datasets/{name}.yaml: manifest '{manifest.name}' does not exist.")
            content["manifest_sha256"] = sha256_file(manifest)
            content["manifest_file"] = str(manifest)
        return content

    # Plans

    def plan(self, scale: str) -> Plan:
        """All tables of a scale and the runs they need.

        A table that only a change of the command line (`set`) makes impossible is told when it is asked for, so
        that it does not stand in the way of the others.
        """
        if scale not in self._plans:
            definition = self.scale(scale)
            tables: dict[str, Table] = {}
            impossible: dict[str, ConfigError] = {}
            for name in self.names("experiments"):
                try:
                    tables[name] = self._table(name, scale, definition)
                except ConfigError as error:
                    if not self.config.set:
                        raise
                    impossible[name] = error
            shown = definition.tables or self.names("experiments")
            self._plans[scale] = Plan(scale, definition.title, tables, shown, impossible)
        return self._plans[scale]

    def find_run(self, name: str) -> Run:
        """The run whose folder ends in `name` (label and id), at whichever scale it stands.

        Raises:
            ConfigError: the present definitions plan no such run.
        """
        wanted = name[-10:]
        for dataset in self.names("datasets"):
            if name.startswith(f"{dataset}-") and self.fetch_run(dataset).id == wanted:
                return self.fetch_run(dataset)
        for checkpoint in self.names("checkpoints"):
            if name.startswith(f"{checkpoint}-"):
                for brought in self.checkpoint_runs(checkpoint):
                    if brought.id == wanted:
                        return brought
        # The plans made so far first: a table's runs are asked for right after the table.
        for scale in dict.fromkeys([*self._plans, *self.names("scales")]):
            run = self.plan(scale).runs.get(wanted)
            if run is not None:
                return run
        raise ConfigError(
            f"results/runs/.../{name}: no run of the present definitions has this id; the settings have changed since. "
            f"`edgebench plan --scale SCALE` lists the present runs."
        )

    def find_table(self, scale: str, name: str) -> Table:
        """The table `PAPER/TABLE` of a scale."""
        known = self.names("experiments")
        if name not in known:
            raise ConfigError(f"config/experiments/{name}.yaml: no such experiment.{nearest(name, known)}")
        return self.plan(scale).table(name)

    def roles(self, stage: str) -> str:
        """Roles that runs of a stage can have, as a regular expression."""
        if stage in ("fetch", "evaluate"):
            return stage
        return "|".join(
            sorted(
                {"train": {RELEASED}, "predict": {SKELETONS}}.get(stage, set())
                | {
                    role
                    for name in self.names("recipes")
                    for _, recipe in self._recipe_chain(name)
                    for role, settings in recipe.runs.items()
                    if (settings or {}).get("stage") == stage
                }
            )
        )

    def write_spec(self, run: Run, own_mirror: str | None = None, accepted: bool = False) -> None:
        """Write what the job of a run needs to know, unless it stands there already."""
        spec = run.spec()
        spec["runtime"] = self.config.runtime.model_dump(mode="json")
        fetched = run.dataset or run.checkpoint
        if run.stage == "fetch" and fetched is not None:
            own = own_mirror or self.config.mirrors.get(fetched["name"])
            spec["mirrors"] = [*([own] if own else []), *fetched["source"]["mirrors"]]
            spec["accepted"] = accepted or fetched["gate"] == "none" or fetched["name"] in self.config.accept
        write_text_if_changed(run.spec_file, pretty_json(spec))

    def fetch_run(self, dataset: str) -> Run:
        """The run that fetches a data set; the same for every scale."""
        if dataset not in self._fetches:
            self._fetches[dataset] = _fetch_run("dataset", self.dataset_map(dataset))
        return self._fetches[dataset]

    def checkpoint_run(self, name: str) -> Run:
        """The run that fetches a released checkpoint; the same for every scale."""
        return _fetch_run("checkpoint", self.checkpoint(name).model_dump(mode="json", exclude_none=True))

    def released_run(self, name: str) -> Run:
        """The run that makes our weights of a released checkpoint; the same for every scale.

        Raises:
            ConfigError: there is nothing to make of a checkpoint of this format.
        """
        definition, fetched = self.checkpoint(name), self.checkpoint_run(name)
        method = _converter(definition)
        return Run(
            stage="train",
            role=RELEASED,
            version=settings_class("train", method, fetched.folder).VERSION,
            scale="",
            seed=None,
            settings={"method": method, "preset": definition.preset},
            inputs={"checkpoint": fetched},
            words=(name,),
            resources=Resources(mem_gb=8, minutes=5, disk_mb=fetched.resources["disk_mb"]).model_dump(),
        )

    def checkpoint_runs(self, name: str) -> list[Run]:
        """The run that fetches a checkpoint and, where there is one, the run that converts it."""
        converted = [self.released_run(name)] if self.checkpoint(name).format in CONVERTED_BY else []
        return [self.checkpoint_run(name), *converted]

    def _table(self, name: str, scale_name: str, scale: Scale) -> Table:
        experiment = self.experiment(name)
        where = f"config/experiments/{name}.yaml"
        protocols = {each: self.protocol(each) for each in experiment.protocol}
        _check_shown(experiment, protocols, where)
        plain = _all_rows(experiment, where)
        rows: list[TableRow] = []
        for group in experiment.groups or (None,):
            printed = self._printed(experiment)
            if group:
                printed = printed_in(printed, group, where)
            made = [
                self._table_row(experiment, row, group, printed, where, scale_name, scale, protocols)
                for row in (group_rows(plain, group, where) if group else plain)
            ]
            rows += [*(_printed_only(printed, made, group) if experiment.printed_only else []), *made]
        if experiment.groups:
            experiment, rows = without_doubles(experiment, rows)
        try:
            parse_claims(experiment.claims, [row.key for row in rows if row.reproduced], experiment.columns)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        changes = [_without_own(self.config.set, row) for row in plain]
        overrides = {key: value for key, value in self.config.set.items() if any(key in each for each in changes)}
        return Table(name, scale_name, scale, experiment, rows, overrides)

    def _table_row(
        self,
        experiment: Experiment,
        row: Row,
        group: Group | None,
        printed: list[Published],
        where: str,
        scale_name: str,
        scale: Scale,
        protocols: dict[str, Protocol],
    ) -> TableRow:
        beside = (
            [] if group and not group.printed else _printed_row(printed, row.published, f"{where}: row '{row.key}'")
        )
        seeds = [] if group and group.members else experiment.seeds or self.config.seeds
        return TableRow(
            key=row.key,
            label=row.label,
            published=_values(beside),
            runs=[self._seed_runs(experiment, row, where, scale_name, scale, protocols, seed) for seed in seeds],
            footnotes=_footnotes(beside),
            group=group.key if group else "",
            combines=group.combines if group else "",
            members=[f"{member}/{row_name(row.key)}" for member in group.members] if group else [],
        )

    def _printed(self, experiment: Experiment) -> list[Published]:
        if experiment.shows.table is None:
            return []
        path = self.root / "config" / "published" / f"{experiment.shows.paper}.csv"
        return _published(path, experiment.shows.table)

    def _seed_runs(
        self,
        experiment: Experiment,
        row: Row,
        where: str,
        scale_name: str,
        scale: Scale,
        protocols: dict[str, Protocol],
        seed: int,
    ) -> SeedRuns:
        chain = self._recipe_chain(row.recipe or experiment.recipe)
        layers = self._layers(chain, experiment, row, where, scale_name, scale)
        settings = resolve(layers)
        does_without = self._doing_without(settings, scale)
        released = released_of(layers, settings)
        for role, name in released.items():
            self.check_checkpoint(f"{where}: '{role}.released'", name)
        if self.config.checkpoints == "pull":
            settings |= self._pulled(released, settings)
        builder = _Builder(self, settings, scale_name, scale, seed, where, does_without)
        scored = chain[-1][1].evaluates
        if scored not in settings:
            raise ConfigError(f"config/recipes/{chain[-1][0]}.yaml: evaluates '{scored}', not one of its runs.")
        predict = builder.run(scored)
        evaluations = {name: self._evaluation(predict, protocol) for name, protocol in protocols.items()}
        return SeedRuns(seed, predict, evaluations)

    def _doing_without(self, settings: dict[str, Settings], scale: Scale) -> dict[str, tuple[str, ...]]:
        """Set to null what names a checkpoint that the scale leaves out, unless the command line names it.

        Returns:
            Names of the checkpoints by role.
        """
        left_out: dict[str, tuple[str, ...]] = {}
        for role, each in settings.items():
            named = {key: getattr(each, key) for key in sorted(checkpoint_fields(type(each)))}
            dropped = {
                key: name
                for key, name in named.items()
                if name in scale.without_checkpoints and f"{role}.{key}" not in self.config.set
            }
            if dropped:
                content = each.model_dump(exclude_unset=True) | dict.fromkeys(dropped)
                settings[role] = validate(type(each), content, f"the run '{role}' without {', '.join(dropped)}")
                left_out[role] = tuple(dict.fromkeys(dropped.values()))
        return left_out

    def _pulled(self, released: dict[str, str], settings: dict[str, Settings]) -> dict[str, Settings]:
        """Settings of the runs that a released checkpoint takes the place of."""
        pulled: dict[str, Settings] = {}
        for role, name in released.items():
            definition = self.checkpoint(name)
            # A network that a scale made smaller cannot start from the authors' weights.
            fits = all(
                getattr(each, "preset", None) == definition.preset
                for other, each in settings.items()
                if getattr(each, "start", None) == role and other not in released
            )
            if fits:
                method = _converter(definition)
                model = settings_class("train", method, f"config/checkpoints/{name}.yaml")
                pulled[role] = model.model_validate({"stage": "train", "method": method, "checkpoint": name})
        return pulled

    def check_checkpoint(self, where: str, name: str) -> None:
        """Check that a checkpoint of this name is defined.

        Raises:
            ConfigError: it is not; names the nearest.
        """
        known = self.names("checkpoints")
        if name not in known:
            raise ConfigError(f"{where} is '{name}', not a file below config/checkpoints.{nearest(name, known)}")

    def _layers(
        self,
        chain: list[tuple[str, Recipe]],
        experiment: Experiment,
        row: Row,
        where: str,
        scale_name: str,
        scale: Scale,
    ) -> list[Layer]:
        recipes = [Layer(f"config/recipes/{name}.yaml", recipe.runs, "recipe") for name, recipe in chain]
        roles = {role for _, recipe in chain for role in recipe.runs}
        changes = {role: value for role, value in experiment.runs.items() if role in roles or row.recipe is None}
        overrides = nested(_without_own(self.config.set, row))
        scales = [scale.recipes.get(name, {}) for name, _ in chain]
        return [
            *recipes,
            Layer(where, changes),
            Layer(f"{where}: row '{row.key}'", nested(row.set), "row"),
            Layer(f"config/scales/{scale_name}.yaml: every", dict.fromkeys(sorted(roles), scale.every), "every"),
            *(Layer(f"config/scales/{scale_name}.yaml", each, "scale") for each in scales),
            Layer("the command line", {r: value for r, value in overrides.items() if r in roles}, "override"),
        ]

    def _evaluation(self, predict: Run, protocol: Protocol) -> Run:
        assert predict.dataset is not None
        definition = protocol.content()
        if protocol.method == "edges" and protocol.max_distance is None:
            tolerance = predict.dataset.get("edge_tolerance")
            if tolerance is None:
                raise ConfigError(
                    f"config/datasets/{predict.dataset['name']}.yaml: key 'edge_tolerance' is needed by "
                    f"config/protocols/{protocol.name}.yaml."
                )
            definition["max_distance"] = tolerance
        if protocol.method == "outlines" and not predict.settings.get("edges"):
            raise ConfigError(
                f"config/protocols/{protocol.name}.yaml scores predicted edges, but run '{predict.role}' of method "
                f"'{predict.settings['method']}' writes none. Set {predict.role}.edges: true, or drop the protocol."
            )
        settings = Evaluate(
            method=protocol.method,
            dataset=predict.settings["dataset"],
            split=predict.settings["split"],
            limit=predict.settings["limit"],
            predictions=predict.role,
            resources=_on_masks(predict.settings, predict.dataset) if protocol.method == "masks" else Resources(),
        )
        return Run(
            stage="evaluate",
            role="evaluate",
            version=EVALUATE_VERSION[protocol.method],
            scale=predict.scale,
            seed=None,
            settings=settings.model_dump(mode="json", include={"method", "dataset", "split", "limit"}),
            inputs={
                "dataset": predict.inputs["dataset"],
                "predictions": predict,
                **({"skeletons": self._skeletons(predict)} if protocol.method == "masks" else {}),
                **{network: self.checkpoint_run(name) for network, name in protocol.networks.items()},
            },
            words=(predict.label, protocol.columns or protocol.name),
            dataset=predict.dataset,
            protocol=definition,
            resources=settings.resources.model_dump(),
        )

    def _skeletons(self, predict: Run) -> Run:
        """The run that draws the skeletons of the masks predicted on; all rows, protocols and scales share it."""
        assert predict.dataset is not None
        method = "mask_skeletons"
        on = {key: predict.settings[key] for key in ("dataset", "split", "limit")}
        model = settings_class("predict", method, SKELETONS)
        settings = model.model_validate({"stage": "predict", "method": method, **on})
        return Run(
            stage="predict",
            role=SKELETONS,
            version=model.VERSION,
            scale="",
            seed=None,
            settings=settings.model_dump(mode="json", exclude={"stage", "resources"}),
            inputs={"dataset": predict.inputs["dataset"]},
            words=(method, on["dataset"], on["split"]),
            dataset=predict.dataset,
            resources=_on_masks(on, predict.dataset).model_dump(),
        )

    def check_overrides(self) -> None:
        """Check that every key of `set` belongs to a run of some recipe.

        Raises:
            ConfigError: it does not; names the nearest.
        """
        known = self._settable
        for role, changes in nested(self.config.set).items():
            if role not in known:
                raise ConfigError(f"the command line: unknown run '{role}'.{nearest(role, known)}")
            if not isinstance(changes, dict):
                raise ConfigError(f"the command line: '{role}' is {changes!r}; write {role}.KEY: VALUE.")
            for key in changes:
                if key.removesuffix("!") not in known[role]:
                    raise ConfigError(f"the command line: run '{role}' has no key '{key}'.{nearest(key, known[role])}")

    @cached_property
    def _settable(self) -> dict[str, set[str]]:
        """Keys by role, over the methods that any recipe gives the role."""
        keys: dict[str, set[str]] = {}
        for name in self.names("recipes"):
            for recipe_name, recipe in self._recipe_chain(name):
                for role, settings in recipe.runs.items():
                    if settings and "method" in settings:
                        where = f"config/recipes/{recipe_name}.yaml"
                        model = settings_class(str(settings.get("stage")), str(settings["method"]), where)
                        keys.setdefault(role, set()).update(model.model_fields)
        return keys


def _on_masks(settings: Map, dataset: Map) -> Resources:
    """What work on the masks of a split asks of a machine."""
    images = dataset["images"].get(settings["split"], 0)
    images = min(images, settings["limit"] or images)
    # Two seconds of one core and 1 GiB for an image of DIS5K's size.
    cpus = 4 if images > LARGE_SET else 1
    return Resources(cpus=cpus, mem_gb=4 + cpus, minutes=2 + images / 30 / cpus, disk_mb=10 + images / 20)


def _fetch_run(kind: Literal["dataset", "checkpoint"], definition: Map) -> Run:
    name, size = definition["name"], definition.get("bytes", 0) / 1e6
    resources = Resources(cpus=4, disk_mb=size, minutes=10 + size / DOWNLOAD_MB_PER_MINUTE)
    return Run(
        stage="fetch",
        role="fetch",
        version=FETCH_VERSION,
        scale="",
        seed=None,
        settings={"method": "fetch", kind: name},
        inputs={},
        words=(name,),
        dataset=definition if kind == "dataset" else None,
        checkpoint=definition if kind == "checkpoint" else None,
        resources=resources.model_dump(),
    )


def _converter(checkpoint: Checkpoint) -> str:
    """The method of the train stage that makes our weights of a checkpoint."""
    if checkpoint.format not in CONVERTED_BY:
        raise ConfigError(
            f"config/checkpoints/{checkpoint.name}.yaml: format '{checkpoint.format}' holds no trained method. Name a "
            f"checkpoint of the format {' or '.join(CONVERTED_BY)}."
        )
    return CONVERTED_BY[checkpoint.format]


def _without_own(changes: Map, row: Row) -> Map:
    """Changes of the command line without the keys that the row sets itself: what tells rows apart stays."""
    own = leaves(nested(row.set))
    return {key: value for key, value in changes.items() if key.replace("!", "") not in own}


def _typed(value: Any) -> Any:
    """A value of the command line, which hands over numbers and null as text."""
    try:
        return yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError:
        raise ConfigError(f"the command line: the value {value!r} is not valid YAML.") from None


@cache
def _published(path: Path, table: str) -> list[Published]:
    return published_rows(path, table)


class _Builder:
    """Turns the settings of one recipe into runs, each once."""

    def __init__(
        self,
        bench: Workbench,
        settings: dict[str, Settings],
        scale_name: str,
        scale: Scale,
        seed: int,
        where: str,
        does_without: dict[str, tuple[str, ...]],
    ) -> None:
        self.bench, self.settings, self.scale_name, self.scale = bench, settings, scale_name, scale
        self.seed, self.where, self.does_without = seed, where, does_without
        self._runs: dict[str, Run] = {}
        self._open: list[str] = []

    def run(self, role: str) -> Run:
        """The run of a role, with all that it needs."""
        if role in self._open:
            raise ConfigError(f"{self.where}: runs need one another in a circle: {' -> '.join([*self._open, role])}.")
        if role not in self._runs:
            self._open.append(role)
            self._runs[role] = self._make(role, self.settings[role])
            self._open.pop()
        return self._runs[role]

    def _make(self, role: str, settings: Settings) -> Run:
        roles, checkpoints = role_fields(type(settings)), checkpoint_fields(type(settings))
        for name in checkpoints:
            if getattr(settings, name) is not None:
                self.bench.check_checkpoint(f"{self.where}: '{role}.{name}'", getattr(settings, name))
        if isinstance(settings, Released):
            return self.bench.released_run(settings.checkpoint)
        content = settings.model_dump(mode="json", exclude={"stage", "resources", "released", *roles, *checkpoints})
        idle = settings.idle()
        content |= type(settings).model_construct().model_dump(mode="json", include=idle - roles - checkpoints)
        inputs, words, stands_for = {}, [settings.method], None
        if isinstance(settings, OnImages):
            dataset, split = self.scale.stand_in(settings.dataset, settings.split)
            stands_for = settings.dataset if dataset != settings.dataset else None
            self._check_split(role, dataset, split)
            inputs["dataset"] = self.bench.fetch_run(dataset)
            content |= {"dataset": dataset, "split": split}
            words.append(dataset)
        for name in sorted(roles - idle):
            other = getattr(settings, name)
            if other is not None:
                if other not in self.settings:
                    raise ConfigError(
                        f"{self.where}: '{role}.{name}' is '{other}', not a run.{nearest(other, self.settings)}"
                    )
                inputs[name] = self.run(other)
        for name in sorted(checkpoints - idle):
            other = getattr(settings, name)
            if other is not None:
                inputs[name] = self.bench.checkpoint_run(other)
        if settings.method == "brought":
            content["files"] = _folder_digest(content["folder"], self.where)
        for name, maker in MADE_FOR_TRAINING.items():
            if name in inputs:
                self._check_made_for(role, content, name, inputs[name], maker)
        if isinstance(settings, Train) and "start" in inputs:
            self._check_start(role, content, inputs["start"])
        if content.get("tune_on"):
            content["edge_tolerance"] = self.bench.dataset(content["dataset"]).edge_tolerance
        return Run(
            stage=settings.stage,
            role=role,
            version=settings.VERSION,
            scale=self.scale_name,
            seed=self.seed if settings.draws() else None,
            settings=content,
            inputs=inputs,
            words=(*words, *settings.words()),
            dataset=inputs["dataset"].dataset if "dataset" in inputs else None,
            stands_for=stands_for,
            does_without=self.does_without.get(role, ()),
            resources=settings.resources.model_dump(),
        )

    def _check_split(self, role: str, dataset: str, split: str) -> None:
        splits = self.bench.dataset(dataset).images
        known = {*splits, *({"trainval"} if {"train", "val"} <= set(splits) else set())}
        if split not in known:
            raise ConfigError(
                f"{self.where}: run '{role}' uses split '{split}' of data set '{dataset}'.{nearest(split, known)}"
            )

    def _check_start(self, role: str, content: Map, start: Run) -> None:
        if content.get("preset") != start.settings.get("preset"):
            raise ConfigError(
                f"{self.where}: run '{role}' has preset '{content.get('preset')}', but starts from the weights of "
                f"'{start.role}' with preset '{start.settings.get('preset')}'. Give both the same."
            )

    def _check_made_for(self, role: str, content: Map, name: str, made: Run, maker: str) -> None:
        """Check that a run makes what training asks for under `name`, and of the images that it trains on."""
        what = name.replace("_", " ")
        if made.settings["method"] != maker:
            raise ConfigError(
                f"{self.where}: the {what} of run '{role}' come from '{made.role}' of method "
                f"'{made.settings['method']}'; only a run of method '{maker}' makes {what}."
            )
        same = [content[key] == made.settings[key] for key in ("dataset", "split")]
        if not all(same):
            raise ConfigError(
                f"{self.where}: run '{role}' trains on {content['dataset']}/{content['split']}, but its {what} come "
                f"from {made.settings['dataset']}/{made.settings['split']}. Give both the same data set and split."
            )


def _folder_digest(folder: str, where: str) -> str:
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ConfigError(f"{where}: the folder of brought maps '{folder}' does not exist.")
    return digest(sorted((p.name, sha256_file(p)) for p in path.iterdir() if p.is_file()), length=16)


def _all_rows(experiment: Experiment, where: str) -> list[Row]:
    rows = list(experiment.rows)
    names = list(experiment.matrix)
    for values in itertools.product(*experiment.matrix.values()) if names else ():
        chosen = dict(zip(names, values, strict=True))
        if any(all(chosen.get(key) == value for key, value in left_out.items()) for left_out in experiment.without):
            continue
        key = ",".join(str(value) for value in values)
        label = _fill(experiment.row or ", ".join(f"{{{name}}}" for name in names), chosen, where)
        rows.append(Row(key=key, label=label, set=chosen, published=experiment.published.get(key, {})))
    keys = [row.key for row in rows]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ConfigError(f"{where}: the row keys {sorted(twice)} appear twice.")
    if not rows:
        raise ConfigError(f"{where}: no rows. Give 'matrix' or 'rows'.")
    for key in experiment.published:
        if key not in keys:
            raise ConfigError(f"{where}: published: unknown row '{key}'.{nearest(key, keys)}")
    for left_out in experiment.without:
        for key in left_out:
            if key not in names:
                raise ConfigError(f"{where}: without: unknown key '{key}'.{nearest(key, names)}")
    return rows


def _fill(template: str, values: Map, where: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ConfigError(f"{where}: row: unknown key '{match[1]}'.{nearest(match[1], values)}")
        return str(values[match[1]])

    return re.sub(r"\{([^}]+)\}", value, template)


def _check_shown(experiment: Experiment, protocols: dict[str, Protocol], where: str) -> None:
    known = list(RECORD_COLUMNS)
    for protocol in protocols.values():
        known += [f"{protocol.columns}_{each}".strip("_") for each in COLUMNS_OF[protocol.method]]
    for column in experiment.columns:
        if column not in known:
            raise ConfigError(f"{where}: columns: none of its protocols gives '{column}'.{nearest(column, known)}")
    for figure in experiment.figures:
        if figure not in FIGURES:
            raise ConfigError(f"{where}: figures: unknown figure '{figure}'.{nearest(figure, FIGURES)}")


def _printed_row(printed: list[Published], chosen: dict[str, str], where: str) -> list[Published]:
    """The printed numbers of one row."""
    if not chosen:
        return []
    keys = ["method", "variant", "dataset"]
    for key in chosen:
        if key not in keys:
            raise ConfigError(f"{where}: published: unknown key '{key}'.{nearest(key, keys)}")
    rows = [row for row in printed if all(getattr(row, key) == value for key, value in chosen.items())]
    if not rows:
        known = sorted({f"{row.method} / {row.variant}" for row in printed})
        raise ConfigError(f"{where}: no printed row is {chosen}. Printed: {'; '.join(known)}.")
    numbers = [row for row in rows if row.value is not None]
    for metric in {row.metric for row in numbers}:
        if len({row.value for row in numbers if row.metric == metric}) > 1:
            raise ConfigError(f"{where}: {chosen} has several printed numbers for '{metric}'. Add a 'dataset'.")
    return numbers


def _values(printed: list[Published]) -> dict[str, float]:
    return {row.metric: row.value for row in printed if row.value is not None}


def _footnotes(printed: list[Published]) -> dict[str, list[str]]:
    return {row.metric: row.remarks for row in printed if row.remarks}


def _printed_only(printed: list[Published], rows: list[TableRow], group: Group | None = None) -> list[TableRow]:
    """Printed rows that no reproduced row stands beside, in printed order."""
    taken = [row.published for row in rows]
    found: dict[str, list[Published]] = {}
    for line in printed:
        if line.value is not None:
            found.setdefault(f"{line.method} {line.variant}".strip(), []).append(line)
    prefix, of = (f"{group.key}/", group.key) if group else ("", "")
    return [
        TableRow(f"{prefix}printed: {name}", name, _values(lines), [], footnotes=_footnotes(lines), group=of)
        for name, lines in found.items()
        if _values(lines) not in taken
    ]
