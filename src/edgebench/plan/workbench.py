"""The definitions below `config/`, read once, and the plan of a scale made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from edgebench.errors import ConfigError, nearest
from edgebench.files import pretty_json, sha256_file, write_text_if_changed
from edgebench.plan.catalogue import Artifact, Outlook, outlook, pattern, read_catalogue
from edgebench.plan.chains import SKELETONS
from edgebench.plan.cluster import Cluster
from edgebench.plan.definitions import Checkpoint, Config, Dataset, Experiment, Protocol, Recipe, Scale
from edgebench.plan.experiments import TableMaker
from edgebench.plan.merging import merge, nested
from edgebench.plan.methods import all_settings, settings_class
from edgebench.plan.reading import read_yaml, validate
from edgebench.plan.runs import Run
from edgebench.plan.settings import Resources, Strict, fields_by_scale
from edgebench.plan.tables import Plan, Table

Map = dict[str, Any]
Definition = TypeVar("Definition", bound=Strict)

FETCH_VERSION = 1
DOWNLOAD_MB_PER_MINUTE = 600
# The method of the train stage that makes our weights of a checkpoint, by its format.
CONVERTED_BY = {"memo_deepspeed": "memo_released", "diffdis_diffusers": "diffdis_released"}
RELEASED = "released"


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
        self._names: dict[str, list[str]] = {}
        self._fetches: dict[tuple[str, str], Run] = {}

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
        if kind not in self._names:
            folder = self.root / "config" / kind
            found = (path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
            self._names[kind] = sorted(found)
        return self._names[kind]

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
        papers = {path.stem for path in (self.root / "config" / "published").glob("*.csv")}
        for paper in scale.notes:
            if paper not in papers:
                where = f"config/scales/{name}.yaml: notes"
                raise ConfigError(f"{where}: no paper is called '{paper}'.{nearest(paper, papers)}")
        for recipe, roles in scale.recipes.items():
            where = f"config/scales/{name}.yaml: recipes"
            if recipe not in self.names("recipes"):
                raise ConfigError(f"{where}: unknown recipe '{recipe}'.{nearest(recipe, self.names('recipes'))}")
            known = {role for _, layer in self.recipe_chain(recipe) for role in layer.runs}
            for role in roles:
                if role not in known:
                    raise ConfigError(f"{where}.{recipe}: unknown run '{role}'.{nearest(role, known)}")
        return scale

    def experiment(self, name: str) -> Experiment:
        """The definition of an experiment, such as `memo/main_bsds`."""
        return self._load(Experiment, "experiments", name)

    def recipe_chain(self, name: str) -> list[tuple[str, Recipe]]:
        """The recipe and those it extends, the lowest first.

        Raises:
            ConfigError: one of them extends itself.
        """
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

    @cached_property
    def cluster(self) -> Cluster:
        """What `config/cluster.yaml` says of the cluster; a repository without the file asks for nothing special.

        Raises:
            ConfigError: an unknown key or role; names the nearest.
        """
        path = self.root / "config" / "cluster.yaml"
        if not path.exists():
            return Cluster()
        cluster = validate(Cluster, read_yaml(path), self._shown(path))
        known = "|".join(self.roles(stage) for stage in ("train", "predict", "evaluate")).split("|")
        for role in cluster.roles:
            if role not in known:
                raise ConfigError(f"{self._shown(path)}: unknown run 'roles.{role}'.{nearest(role, known)}")
        return cluster

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
                    tables[name] = TableMaker(self, name, scale, definition).table()
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
        if (fetched := self.find_fetched(name)) is not None:
            return fetched
        # The plans made so far first: a table's runs are asked for right after the table.
        for scale in dict.fromkeys([*self._plans, *self.names("scales")]):
            run = self.plan(scale).runs.get(wanted)
            if run is not None:
                return run
        raise ConfigError(
            f"results/runs/.../{name}: no run of the present definitions has this id; the settings have changed since. "
            f"`edgebench plan --scale SCALE` lists the present runs."
        )

    def find_fetched(self, name: str) -> Run | None:
        """The run whose folder ends in `name`, where it fetches or converts something that every scale shares."""
        datasets = [each for each in self.names("datasets") if name.startswith(f"{each}-")]
        checkpoints = [each for each in self.names("checkpoints") if name.startswith(f"{each}-")]
        runs = [*map(self.fetch_run, datasets), *(run for each in checkpoints for run in self.checkpoint_runs(each))]
        return next((run for run in runs if run.id == name[-10:]), None)

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
                    for _, recipe in self.recipe_chain(name)
                    for role, settings in recipe.runs.items()
                    if (settings or {}).get("stage") == stage
                }
            )
        )

    # What is shared

    @cached_property
    def catalogue(self) -> dict[str, Artifact]:
        """Shared runs that the workflow pulls, by their folder; none with `checkpoints: build`."""
        return {} if self.config.checkpoints == "build" else read_catalogue(self.root)

    def pulled(self) -> str:
        """Names of the runs that are pulled, as a regular expression."""
        return pattern(self.catalogue)

    def outlook(self, wanted: Iterable[Run], root: Path = Path(".")) -> Outlook:
        """What becomes of runs below `root` and of all that they need, as `checkpoints` says."""
        return outlook(wanted, self.catalogue, self.config.checkpoints, root)

    def require_trained(self, wanted: Iterable[Run]) -> None:
        """Check that no run needs a training that `checkpoints: pull` does not start.

        Raises:
            ConfigError: naming the trainings.
        """
        refused = self.outlook(wanted).of("refused")
        if refused:
            raise ConfigError(
                f"checkpoints: pull starts no training, but {', '.join(run.folder for run in refused)} "
                f"{'is' if len(refused) == 1 else 'are'} neither here, nor shared (artifacts/), nor taken from "
                f"released weights. To train: `snakemake ... --config checkpoints=auto`. "
                f"`edgebench plan --checkpoints pull` says beforehand what is not there."
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
        return self._fetch_run("dataset", dataset, self.dataset_map)

    def checkpoint_run(self, name: str) -> Run:
        """The run that fetches a released checkpoint; the same for every scale."""
        return self._fetch_run("checkpoint", name, self._checkpoint_map)

    def _checkpoint_map(self, name: str) -> Map:
        return self.checkpoint(name).model_dump(mode="json", exclude_none=True)

    def _fetch_run(self, kind: Literal["dataset", "checkpoint"], name: str, definition: Callable[[str], Map]) -> Run:
        # One object each, because a run's identity is costly to compute and most runs go back to these.
        if (kind, name) not in self._fetches:
            self._fetches[kind, name] = _fetch_run(kind, definition(name))
        return self._fetches[kind, name]

    def released_run(self, name: str) -> Run:
        """The run that makes our weights of a released checkpoint; the same for every scale.

        Raises:
            ConfigError: there is nothing to make of a checkpoint of this format.
        """
        definition, fetched = self.checkpoint(name), self.checkpoint_run(name)
        method = self.converter(name)
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

    def converter(self, name: str) -> str:
        """The method of the train stage that makes our weights of a checkpoint.

        Raises:
            ConfigError: there is nothing to make of a checkpoint of this format.
        """
        checkpoint = self.checkpoint(name)
        if checkpoint.format not in CONVERTED_BY:
            raise ConfigError(
                f"config/checkpoints/{name}.yaml: format '{checkpoint.format}' holds no trained method. Name a "
                f"checkpoint of the format {' or '.join(CONVERTED_BY)}."
            )
        return CONVERTED_BY[checkpoint.format]

    def checkpoint_runs(self, name: str) -> list[Run]:
        """The run that fetches a checkpoint and, where there is one, the run that converts it."""
        converted = [self.released_run(name)] if self.checkpoint(name).format in CONVERTED_BY else []
        return [self.checkpoint_run(name), *converted]

    def check_checkpoint(self, where: str, name: str) -> None:
        """Check that a checkpoint of this name is defined.

        Raises:
            ConfigError: it is not; names the nearest.
        """
        known = self.names("checkpoints")
        if name not in known:
            raise ConfigError(f"{where} is '{name}', not a file below config/checkpoints.{nearest(name, known)}")

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
            for recipe_name, recipe in self.recipe_chain(name):
                for role, settings in recipe.runs.items():
                    if settings and "method" in settings:
                        where = f"config/recipes/{recipe_name}.yaml"
                        model = settings_class(str(settings.get("stage")), str(settings["method"]), where)
                        keys.setdefault(role, set()).update(model.model_fields)
        return keys


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


def _typed(value: Any) -> Any:
    """A value of the command line, which hands over numbers and null as text."""
    try:
        return yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError:
        raise ConfigError(f"the command line: the value {value!r} is not valid YAML.") from None
