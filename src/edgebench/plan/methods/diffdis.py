"""Settings of DiffDIS (ICLR 2025): masks of what stands out, in one diffusion step."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from edgebench.plan.settings import (
    BY_SCALE,
    CheckpointName,
    Device,
    PositiveInt,
    Precision,
    Predict,
    Released,
    Role,
    Settings,
    Train,
)


class DiffdisTrain(Train):
    """Training mask and edge together (paper, section 4).

    The learning rate of the stream embedding is ten times `learning_rate`.

    Attributes:
        preset: Size of the network where it starts from scratch; `full` is the published one.
        backbone: Stable Diffusion model whose U-Net the network begins with; null starts from random weights.
        vae: Stable Diffusion model whose autoencoder codes the pictures, and whose answer to the empty text a network
            from scratch is given; null takes the backbone's. Without either a code of patches stands in, which is
            fitted to the training pictures.
        prediction: What the network's output is, where it starts from scratch: the noise, the velocity or the
            clean latents. A pre-trained model brings its own.
        edge_targets: Run of method `mask_contours` that drew the edges; null draws them from the masks in training.
        edge: Predict the edge beside the mask.
        stream_embedding: Batch-discriminative embedding of the two streams.
        interaction: Attention between the streams in the middle block: `mutual` (the paper's), `concat` (as
            GeoWizard), `self` (a control of equal size) or none.
        injection: Scale-wise conditional injection.
        cutmix: Exchange boxes between pairs of a batch.
        size: Side of the square that pictures are resized to, pixels.
        margin: Largest number of rows and columns that the centre crop takes away.
        colour: Change the pictures' colours, as the authors' code does.
        picture_range: `stretch` each picture to its own range, as released, or keep it `fixed` as in prediction.
        noise: With more power at coarse scales (`pyramid`, as released) or plain.
        times: Time steps of training: the `last` alone, `one_of_two`, the chain of `two_steps`, or `any`.
        signal: Leave in the input what the last time step leaves of the target, as released; without it
            training begins with noise alone, as prediction does.
        epochs: Epochs that the whole training stands for, which the decay schedules count.
    """

    VERSION: ClassVar[int] = 1
    MADE_BY: ClassVar[dict[str, tuple[str, ...]]] = {"edge_targets": ("mask_contours",)}
    OF_SAME_IMAGES: ClassVar[frozenset[str]] = frozenset({"edge_targets"})

    method: Literal["diffdis"]
    preset: Annotated[Literal["full", "mini", "small"], BY_SCALE] = "full"
    backbone: CheckpointName | None = None
    vae: CheckpointName | None = None
    prediction: Annotated[Literal["epsilon", "v_prediction", "sample"] | None, BY_SCALE] = None
    edge_targets: Role | None = None
    edge: bool = True
    stream_embedding: bool = True
    interaction: Literal["mutual", "concat", "self", "none"] = "mutual"
    injection: bool = True
    cutmix: Annotated[bool, BY_SCALE] = True
    size: Annotated[PositiveInt, BY_SCALE] = 1024
    margin: Annotated[int, Field(ge=0), BY_SCALE] = 30
    colour: Annotated[bool, BY_SCALE] = True
    picture_range: Annotated[Literal["stretch", "fixed"], BY_SCALE] = "stretch"
    noise: Annotated[Literal["pyramid", "gaussian"], BY_SCALE] = "pyramid"
    times: Literal["last", "one_of_two", "two_steps", "any"] = "last"
    signal: Annotated[bool, BY_SCALE] = True
    batch: Annotated[PositiveInt, BY_SCALE] = 4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    epochs: Annotated[PositiveInt, BY_SCALE] = 90

    @model_validator(mode="after")
    def _streams(self) -> Self:
        if not self.edge and (self.stream_embedding or self.interaction != "none"):
            raise ValueError("without edge there is one stream: set stream_embedding: false and interaction: none")
        return self

    @model_validator(mode="after")
    def _begins(self) -> Self:
        for key, instead in (("start", "backbone"), ("labels", "edge_targets")):
            if getattr(self, key) is not None:
                raise ValueError(f"DiffDIS takes no {key}: it has {instead} instead")
        return self

    def words(self) -> list[str]:
        parts = {"edge": self.edge, self.interaction: self.interaction != "none", "injection": self.injection}
        return [self.backbone or self.preset, *(part for part, used in parts.items() if used), f"{self.steps}steps"]

    def idle(self) -> set[str]:
        """A mask alone has no edge to aim at, a pre-trained model says what it predicts, and few schedules count."""
        unused = {"edge_targets": not self.edge, "prediction": self.backbone is not None}
        unused["epochs"] = not self.schedule.endswith("_decay")
        return {name for name, holds in unused.items() if holds}


class DiffdisReleased(Released):
    """A U-Net that DiffDIS' authors released, with the autoencoder and the text encoder beside it."""

    VERSION: ClassVar[int] = 1
    method: Literal["diffdis_released"]


class DiffdisPredict(Predict):
    """From noise to mask, and edge if asked for, in one step or a few.

    Attributes:
        weights: Training run whose weights are used.
        size: Side of the square that pictures are resized to; with `aspect` their long side. Pixels.
        resize: `square`, as released, or close to the picture's `aspect`.
        tta: Runs that are averaged: one, two (`flip`) or the `official` six, which the authors' code always does.
        steps: Steps from noise to latent.
        sampler: How several steps are taken: `ddpm`, as released, or `ddim`, without fresh noise.
        noise: Which draw of the noise: another number starts the same weights from other noise.
        edges: Write the edge beside the mask.
        tiled: Encode and decode in tiles: less memory, and slightly other maps.
    """

    VERSION: ClassVar[int] = 1
    RANDOM: ClassVar[bool] = True

    method: Literal["diffdis"]
    weights: Role
    size: Annotated[PositiveInt, BY_SCALE] = 1024
    resize: Literal["square", "aspect"] = "square"
    tta: Literal["none", "flip", "official"] = "none"
    steps: Annotated[int, Field(ge=1, le=1000)] = 1
    sampler: Literal["ddpm", "ddim"] = "ddpm"
    noise: Annotated[int, Field(ge=0)] = 0
    edges: bool = False
    tiled: Annotated[bool, BY_SCALE] = False
    batch: Annotated[PositiveInt, BY_SCALE] = 4
    precision: Precision = "fp32"
    device: Device = "auto"

    def words(self) -> list[str]:
        """Runs that are averaged are named in every result, because published figures may include them."""
        chain = [f"{self.sampler}{self.steps}"] if self.steps > 1 else []
        return [f"tta-{self.tta}", *chain, *([f"noise{self.noise}"] if self.noise else [])]

    def idle(self) -> set[str]:
        """A single step is the same with every sampler."""
        return {"sampler"} if self.steps == 1 else set()


class DiffdisVaePredict(Predict):
    """The true masks through the code of latents and back: the best that DiffDIS could do (paper, table 1).

    Attributes:
        vae: Checkpoint whose autoencoder is the code; null fits a code of patches, which stands in for it.
        fit_on: Split that the code of patches is fitted to.
        channels: Numbers in a latent of the code of patches.
        size: Side of the square that masks are resized to, pixels.
        tiled: Encode and decode in tiles: less memory, and slightly other maps.
    """

    method: Literal["diffdis_vae"]
    vae: Annotated[CheckpointName | None, BY_SCALE] = None
    fit_on: Annotated[str, BY_SCALE] = "train"
    channels: Annotated[PositiveInt, BY_SCALE] = 16
    size: Annotated[PositiveInt, BY_SCALE] = 1024
    tiled: Annotated[bool, BY_SCALE] = False
    precision: Precision = "fp32"
    device: Device = "auto"

    def words(self) -> list[str]:
        return [self.vae or f"patches{self.channels}", str(self.size)]

    def idle(self) -> set[str]:
        """A pre-trained autoencoder is fitted to nothing; a code of patches has no use for less precision or memory."""
        return {"fit_on", "channels"} if self.vae else {"precision", "tiled"}


SETTINGS: dict[tuple[str, str], type[Settings]] = {
    ("train", "diffdis"): DiffdisTrain,
    ("train", "diffdis_released"): DiffdisReleased,
    ("predict", "diffdis"): DiffdisPredict,
    ("predict", "diffdis_vae"): DiffdisVaePredict,
}
