"""From the settings of one recipe to runs, and to the runs that score them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.errors import ConfigError, nearest
from edgebench.files import digest, images_beside, sha256_file
from edgebench.plan.definitions import Protocol, Scale
from edgebench.plan.methods import all_settings, settings_class
from edgebench.plan.runs import EVALUATE_VERSION, Run
from edgebench.plan.settings import (
    Evaluate,
    OnImages,
    Predict,
    Released,
    Resources,
    Settings,
    Train,
    checkpoint_fields,
    role_fields,
)

if TYPE_CHECKING:
    from edgebench.plan.workbench import Workbench

Map = dict[str, Any]

SKELETONS = "skeletons"
LARGE_SET = 200
"""With more images, work on masks asks for several cores; with fewer, starting processes costs more than it saves."""
# What methods of scoring read of a predict run; all others read maps.
SCORES = {"instances": "instances", "panoptic": "panoptic"}


class Chain:
    """The runs of one recipe, each made once, when it is asked for.

    Args:
        bench: All definitions.
        settings: Settings by role.
        scale_name: Name of the scale.
        scale: Its definition.
        seed: Seed of all runs that draw anything.
        where: What messages begin with.
        does_without: Names of the checkpoints that the scale took from the settings, by role.
    """

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
        if settings.BRINGS:
            brought = {key: content[key] for key in settings.BRINGS if content[key] is not None}
            content["files"] = _brought_digest(brought, f"{self.where}: run '{role}'")
        for name in sorted(roles & inputs.keys()):
            self._check_made_for(role, settings, content, name, inputs[name])
            if name in settings.NEEDS:
                self._check_writes(role, settings, content, name, inputs[name])
        if isinstance(settings, Train) and "start" in inputs:
            self._check_start(role, content, inputs["start"])
        if isinstance(settings, OnImages) and content.get("tune_on"):
            # A split of the same data set, so that of the stand-in where there is one.
            content["tune_on"] = self.scale.stand_in(settings.dataset, content["tune_on"])[1]
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
            resources=_shared_among(settings, content, inputs).model_dump(),
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

    def _check_made_for(self, role: str, settings: Settings, content: Map, name: str, made: Run) -> None:
        """Check that a run makes what another one asks for under `name`, and of the images that this is about."""
        what = name.replace("_", " ")
        makers = settings.MADE_BY.get(name)
        if makers and made.settings["method"] not in makers:
            known = " or ".join(f"'{each}'" for each in makers)
            raise ConfigError(
                f"{self.where}: the {what} of run '{role}' come from '{made.role}' of method "
                f"'{made.settings['method']}'; only a run of method {known} makes {what}."
            )
        same = [content.get(key) == made.settings.get(key) for key in ("dataset", "split")]
        if name in settings.OF_SAME_IMAGES and not all(same):
            does = "trains on" if isinstance(settings, Train) else "works on"
            raise ConfigError(
                f"{self.where}: run '{role}' {does} {content['dataset']}/{content['split']}, but its {what} come "
                f"from {made.settings.get('dataset')}/{made.settings.get('split')}. Give both the same data set and "
                f"split."
            )

    def _check_writes(self, role: str, settings: Settings, content: Map, name: str, made: Run) -> None:
        """Check that a run writes what another one reads under `name`, and for as many images."""
        what, wanted = name.replace("_", " "), settings.NEEDS[name]
        written = settings_class(made.stage, made.settings["method"], self.where).WRITES
        if written != wanted:
            models = all_settings().items()
            able = sorted({method for (_, method), each in models if wanted == each.WRITES})
            raise ConfigError(
                f"{self.where}: the {what} of run '{role}' come from '{made.role}' of method "
                f"'{made.settings['method']}', which writes {written}. Name a run that writes {wanted}, of one of the "
                f"methods {', '.join(able)}."
            )
        ours, theirs = content.get("limit"), made.settings.get("limit")
        if isinstance(settings, Predict) and theirs is not None and (ours is None or ours > theirs):
            raise ConfigError(
                f"{self.where}: run '{role}' works on {ours or 'all'} images, but its {what} come from '{made.role}', "
                f"which stops after {theirs} (limit). Give both the same limit."
            )


def evaluation_run(bench: Workbench, predict: Run, protocol: Protocol) -> Run:
    """The run that scores a predict run by a protocol.

    Raises:
        ConfigError: the data set or the predict run lacks what the protocol needs.
    """
    assert predict.dataset is not None
    _check_written(predict, protocol)
    definition = protocol.content()
    if protocol.method in ("edges", "instance_edges") and protocol.max_distance is None:
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
        resources=_for_scoring(protocol, predict.settings, predict.dataset),
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
            **({"skeletons": _skeletons_run(predict)} if protocol.method == "masks" else {}),
            **{network: bench.checkpoint_run(name) for network, name in protocol.networks.items()},
        },
        words=(predict.label, protocol.columns or protocol.name),
        dataset=predict.dataset,
        protocol=definition,
        resources=settings.resources.model_dump(),
    )


def _check_written(predict: Run, protocol: Protocol) -> None:
    """Check that a predict run writes what a protocol scores."""
    written = settings_class("predict", predict.settings["method"], predict.role).WRITES
    scored = SCORES.get(protocol.method, "maps")
    if written != scored:
        raise ConfigError(
            f"config/protocols/{protocol.name}.yaml: method '{protocol.method}' scores {scored}, but run "
            f"'{predict.role}' of method '{predict.settings['method']}' writes {written}. Score a run that writes "
            f"{scored} ('evaluates' of the recipe names it), or drop the protocol."
        )


def _for_scoring(protocol: Protocol, settings: Map, dataset: Map) -> Resources:
    """What an evaluation asks of a machine."""
    if protocol.method == "masks":
        return _on_masks(settings, dataset)
    if protocol.method not in ("instances", "panoptic", "instance_edges"):
        return Resources()
    images = _count(settings, dataset)
    # Instances are scored by one process in little time; matching edges takes a second of one core per image.
    cpus = 4 if images > LARGE_SET and protocol.method != "instances" else 1
    seconds = {"instances": 0.05, "panoptic": 0.05, "instance_edges": 1}[protocol.method]
    return Resources(cpus=cpus, mem_gb=4 + cpus, minutes=2 + images * seconds / 60 / cpus, disk_mb=5 + images / 100)


def _skeletons_run(predict: Run) -> Run:
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


def _on_masks(settings: Map, dataset: Map) -> Resources:
    """What work on the masks of a split asks of a machine."""
    images = _count(settings, dataset)
    # Two seconds of one core and 1 GiB for an image of DIS5K's size.
    cpus = 4 if images > LARGE_SET else 1
    return Resources(cpus=cpus, mem_gb=4 + cpus, minutes=2 + images / 30 / cpus, disk_mb=10 + images / 20)


def _shared_among(settings: Settings, content: Map, inputs: dict[str, Run]) -> Resources:
    """The resources of a run, with no more shards than its images suffice for."""
    resources = settings.resources
    if resources.shards == 1:
        return resources
    if settings.BRINGS:  # what is only copied
        return resources.model_copy(update={"shards": 1})
    assert inputs["dataset"].dataset is not None
    images = _count(content, inputs["dataset"].dataset)
    if not images:  # a split of which only its parts are counted
        return resources
    return resources.model_copy(update={"shards": max(1, min(resources.shards, images // resources.shard_images))})


def _count(settings: Map, dataset: Map) -> int:
    """Images of the split that a run works on."""
    images: int = dataset["images"].get(settings["split"], 0)
    return min(images, settings["limit"] or images)


def _brought_digest(brought: dict[str, str], where: str) -> str:
    """Digest of the names and contents of files and folders that somebody brought, by the setting that names them."""
    found: dict[Path, list[Path]] = {}
    for key, named in brought.items():
        path = Path(named).expanduser()
        if key == "folder" and not path.is_dir():
            raise ConfigError(f"{where}: key 'folder': there is no folder '{named}'.")
        if key != "folder" and not path.is_file():
            raise ConfigError(f"{where}: key '{key}': there is no file '{named}'.")
        looked_at = (path, images_beside(path)) if path.is_file() else sorted(path.rglob("*"))
        found[path] = [each for each in looked_at if each.is_file()]
    files = [(each, each.relative_to(top if top.is_dir() else top.parent)) for top in found for each in found[top]]
    states = [(path, name.as_posix(), path.stat()) for path, name in files]
    return _digest_of(tuple((path, name, each.st_size, each.st_mtime_ns) for path, name, each in states))


@cache
def _digest_of(files: tuple[tuple[Path, str, int, int], ...]) -> str:
    """Digest of the contents; read once however many sections, seeds and scales predict with the same files."""
    return digest([(name, sha256_file(path)) for path, name, _, _ in files], length=16)
