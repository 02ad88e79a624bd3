"""What a run can be told: the fields that all stages and methods share.

Each method describes its own settings in `edgebench.plan.methods`, one file per method. A field marked
`BY_SCALE` may be changed by a scale, because it is a matter of size; one marked `SCALE_DEFAULT` is a choice that a
small network may need otherwise, which a scale makes where no row of a table does. Every other field belongs to the
science and only recipes, experiments and the command line may set it. A field marked `Role` names another run of the
recipe, one marked `CheckpointName` a released checkpoint, which is fetched; both become inputs of the run, under the
field's name.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Marker:
    def __init__(self, name: str) -> None:
        self.name = name


BY_SCALE = _Marker("may be changed by a scale")
SCALE_DEFAULT = _Marker("may be chosen by a scale, where no row of the table chooses it")
ROLE = _Marker("names a run of the recipe")
CHECKPOINT = _Marker("names a file below config/checkpoints")

Role = Annotated[str, ROLE]
CheckpointName = Annotated[str, CHECKPOINT]
PositiveInt = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Device = Annotated[Literal["auto", "cpu", "cuda"], BY_SCALE]
Precision = Annotated[Literal["fp32", "bf16"], BY_SCALE]
Written = Literal["weights", "maps", "instances", "panoptic", "semantic", "labels", "skeletons"]
Limit = Annotated[PositiveInt | None, BY_SCALE]


class Strict(BaseModel):
    """Unknown keys are errors and values do not change after they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Resources(Strict):
    """What one run asks of a machine, in neutral words that each profile translates.

    Attributes:
        gpus: Number of GPUs, of each node.
        nodes: Number of machines that share a training; cores and memory are those of each.
        vram_gb: Memory that each GPU must have, GiB.
        cpus: Processor cores.
        mem_gb: Main memory, GiB.
        minutes: Declared run time; also the declared estimate of `edgebench plan`.
        disk_mb: What the run leaves on disk, MB.
        shards: Jobs that share a predict run, at most: each works on a part of the images, then one more job gathers.
            `gpus`, `vram_gb`, `cpus` and `mem_gb` are those of each, `minutes` and `disk_mb` those of the whole run.
        shard_images: Images that each of these jobs has, at least; smaller sets are shared by fewer jobs.
    """

    gpus: Annotated[int, Field(ge=0)] = 0
    nodes: PositiveInt = 1
    vram_gb: Annotated[int, Field(ge=0)] = 0
    cpus: PositiveInt = 1
    mem_gb: PositiveInt = 4
    minutes: Annotated[float, Field(gt=0)] = 10
    disk_mb: Annotated[float, Field(ge=0)] = 10
    shards: PositiveInt = 1
    shard_images: PositiveInt = 1


class Settings(Strict):
    """Fields of every run.

    Attributes:
        VERSION: Raised by hand when the results of this stage and method change; part of the identity.
        RANDOM: Whether the seed matters; runs without randomness are shared between seeds.
        MADE_BY: The methods that the run has which a field names, by field; fields that are not here take any.
        OF_SAME_IMAGES: The fields whose run must be of the same data set and split as this one.
        WRITES: What the run keeps, of each image if it predicts; it decides what protocols can score it.
        NEEDS: What the run that a field names must write, as its WRITES says, by field. A predict run reads it of all
            images that it works on.
        BRINGS: Fields that name files or folders of one's own, whose contents are part of the identity.
        COPIES: What of other people's the run keeps in another form; such runs are not shared. Empty for nothing.
        resources: What the run asks of a machine; no part of the identity.
    """

    VERSION: ClassVar[int] = 1
    RANDOM: ClassVar[bool] = False
    MADE_BY: ClassVar[dict[str, tuple[str, ...]]] = {}
    OF_SAME_IMAGES: ClassVar[frozenset[str]] = frozenset()
    WRITES: ClassVar[Written] = "weights"
    NEEDS: ClassVar[dict[str, Written]] = {}
    BRINGS: ClassVar[tuple[str, ...]] = ()
    COPIES: ClassVar[Literal["", "the data set's annotations", "the authors' weights"]] = ""

    stage: Literal["train", "predict", "evaluate"]
    method: str
    resources: Annotated[Resources, BY_SCALE] = Resources()

    @model_validator(mode="after")
    def _shared_only_if_it_predicts(self) -> Self:
        if self.resources.shards > 1 and self.stage != "predict":
            raise ValueError(
                f"resources.shards is {self.resources.shards}, but only runs of stage predict can be shared, "
                f"not those of stage {self.stage}; leave it out"
            )
        return self

    def draws(self) -> bool:
        """Whether anything in the run is random; seeds share a run of which nothing is."""
        return self.RANDOM

    def idle(self) -> set[str]:
        """Fields that mean nothing beside the others; they count as their defaults, so that they make no other run."""
        return set()

    def words(self) -> list[str]:
        """Readable words for the label of the run's folder, besides method and data set."""
        return []


class OnImages(Settings):
    """Fields of every run that works on a data set.

    Attributes:
        split: Part of the data set.
        limit: Number of images, the first in ASCII order of their ids; null takes all.
    """

    dataset: str
    split: str = "train"
    limit: Limit = None


class Train(OnImages):
    """Fields of every training run: those of the one training loop.

    Attributes:
        start: Training run to start from.
        labels: Run that makes the labels, of a method of `MADE_BY`; without it the data set's own annotations.
        steps: Optimiser steps.
        batch: Samples of one micro-batch.
        accumulate: Micro-batches averaged for one optimiser step, shared among all GPUs.
        ema_decay: Decay of the averaged weights; null trains without them.
        ema_start: Optimiser step at which averaging starts.
        gradient_clip: Largest norm of the gradient; null does not clip.
        released: Checkpoint that the authors trained so, taken instead with `checkpoints: pull`; no part of the
            identity. A change of the run or of what it starts from makes it void, unless another one is named.
    """

    RANDOM: ClassVar[bool] = True
    MADE_BY: ClassVar[dict[str, tuple[str, ...]]] = {"labels": ("mask_edges",)}
    OF_SAME_IMAGES: ClassVar[frozenset[str]] = frozenset({"labels"})

    stage: Literal["train"]
    start: Role | None = None
    labels: Role | None = None
    steps: Annotated[PositiveInt, BY_SCALE]
    batch: Annotated[PositiveInt, BY_SCALE] = 8
    accumulate: Annotated[PositiveInt, BY_SCALE] = 1
    learning_rate: Annotated[float, Field(gt=0), BY_SCALE]
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    schedule: Annotated[
        Literal["constant", "linear_warmup", "cosine", "exponential", "compounding_decay", "nominal_decay"], BY_SCALE
    ] = "constant"
    warmup_steps: Annotated[int, Field(ge=0), BY_SCALE] = 0
    gradient_clip: Annotated[Annotated[float, Field(gt=0)] | None, BY_SCALE] = None
    gradient_checkpointing: Annotated[bool, BY_SCALE] = False
    ema_decay: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, BY_SCALE] = None
    ema_start: Annotated[int, Field(ge=0), BY_SCALE] = 0
    precision: Precision = "fp32"
    device: Device = "auto"
    released: str | None = None

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        if self.ema_decay is not None and self.ema_start >= self.steps:
            raise ValueError(f"ema_start {self.ema_start} is not below steps {self.steps}")
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} is not below steps {self.steps}")
        return self


class Released(Settings):
    """Weights that the authors released, in place of a training run.

    Attributes:
        checkpoint: What is fetched and converted.
    """

    COPIES = "the authors' weights"

    stage: Literal["train"]
    checkpoint: CheckpointName


class Predict(OnImages):
    """Fields of every predict run; most methods keep a map of edges or of foreground."""

    WRITES: ClassVar[Written] = "maps"

    stage: Literal["predict"]
    split: str = "test"


class Evaluate(OnImages):
    """Scores of one predict run under one protocol."""

    stage: Literal["evaluate"] = "evaluate"
    predictions: Role
    split: str = "test"


def _marked(annotation_metadata: list[Any], marker: _Marker) -> bool:
    return any(each is marker for each in annotation_metadata)


@cache
def fields_by_scale(model: type[Settings]) -> frozenset[str]:
    """Names of the fields that a scale may change."""
    own = {name for name, field in model.model_fields.items() if _marked(field.metadata, BY_SCALE)}
    return scale_defaults(model) | own


@cache
def scale_defaults(model: type[Settings]) -> frozenset[str]:
    """Names of the fields that a scale may choose, where no row of a table does."""
    return frozenset(name for name, field in model.model_fields.items() if _marked(field.metadata, SCALE_DEFAULT))


def role_fields(model: type[Settings]) -> frozenset[str]:
    """Names of the fields whose value names another run of the recipe."""
    return _fields_with(model, ROLE)


def checkpoint_fields(model: type[Settings]) -> frozenset[str]:
    """Names of the fields whose value names a released checkpoint."""
    return _fields_with(model, CHECKPOINT)


@cache
def _fields_with(model: type[Settings], marker: _Marker) -> frozenset[str]:
    def inside(annotation: Any) -> bool:
        if _marked(list(getattr(annotation, "__metadata__", ())), marker):
            return True
        return any(inside(each) for each in getattr(annotation, "__args__", ()))

    return frozenset(
        name
        for name, field in model.model_fields.items()
        if _marked(field.metadata, marker) or inside(field.annotation)
    )
