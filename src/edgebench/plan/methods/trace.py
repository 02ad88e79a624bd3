"""Settings of TRACE (ICLR 2026): its small backbone, one-step distillation, and edges in one pass."""

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
    Role,
    Settings,
    Train,
)

Flip = Annotated[Literal["none", "horizontal", "dihedral"], BY_SCALE]


class TraceBackboneTrain(Train):
    """A small diffusion transformer, trained on the pictures alone; it stands in for a pre-trained model.

    Attributes:
        preset: Sizes of the network: `small` for drawn scenes in minutes on a core, `mini` for photographs in an hour
            on a GPU.
        size: Side of the square that pictures are resized to, pixels; null is the preset's.
        flip: How pictures are turned: not at all, left and right exchanged half of the time, or all eight ways.
    """

    VERSION: ClassVar[int] = 1

    method: Literal["trace_backbone"]
    preset: Annotated[Literal["small", "mini"], BY_SCALE] = "small"
    size: Annotated[PositiveInt | None, BY_SCALE] = None
    flip: Flip = "dihedral"

    @model_validator(mode="after")
    def _begins(self) -> Self:
        for key in ("start", "labels"):
            if getattr(self, key) is not None:
                raise ValueError(f"TRACE's small backbone takes no {key}: it learns from pictures alone")
        return self

    def words(self) -> list[str]:
        return [self.preset, f"{self.steps}steps"]


class TraceTrain(Train):
    """Distillation of pseudo edges into one pass (ICLR 2026): adapters in the denoiser and a small decoder of edges.

    What the paper leaves open is a setting with our choice as its default. A small network learns drawn scenes in
    minutes with others, so a scale may change those too.

    Attributes:
        backbone: Checkpoint of a pre-trained network; null takes the one that `pretrained` trained.
        pretrained: Run of method `trace_backbone`.
        labels: Run of method `trace_attention` that made the pseudo edges.
        reads: As for method `trace_attention`, of an encoder without time.
        layers: As for method `trace_attention`, of a model of images and text.
        size: Side of the square that pictures are resized to, pixels; null takes what the network was trained at.
        blocks: Self-attention blocks that the decoder looks at, by index (negative from the end) or by name, in which
            `*` stands for anything; null takes all. Fewer take less memory.
        decoder_input: What the decoder sees of a token: where it looks on 16 x 16 squares of the picture (`keys16`),
            how much it looks at each token around it (`relative`), or the tokens themselves (`hidden`).
        decoder_join: Of the blocks of one resolution the decoder sees the `mean`, or `each`.
        window: Side of the window of `relative`, tokens.
        decoder_width: Channels of the decoder; 40 make about 0.1 million parameters.
        recon: Reconstruction term: `literal`, as printed, which hardly trains anything; `nominal`, at a level of
            noise where there is something to reconstruct; or `off`.
        recon_sigma: Level of `nominal` as a share of all; null takes 0.1 of flow matching, and 0.099 of a DDPM.
        lora_rank: Rank of the adapters, whose alpha follows it; null trains all of a small network instead.
        decoder_rate: Learning rate of the decoder, relative to `learning_rate`.
        flip: How pictures are turned, with their labels.
    """

    VERSION: ClassVar[int] = 1
    MADE_BY: ClassVar[dict[str, tuple[str, ...]]] = {
        "labels": ("trace_attention",),
        "pretrained": ("trace_backbone",),
    }

    method: Literal["trace"]
    backbone: Annotated[CheckpointName | None, BY_SCALE] = None
    pretrained: Role | None = None
    labels: Role
    reads: Literal["attention", "features"] = "attention"
    layers: Literal["vision", "language"] = "vision"
    size: Annotated[PositiveInt | None, BY_SCALE] = None
    blocks: Annotated[tuple[int | str, ...] | None, BY_SCALE] = None
    decoder_input: Annotated[Literal["keys16", "relative", "hidden"], BY_SCALE] = "keys16"
    decoder_join: Annotated[Literal["mean", "each"], BY_SCALE] = "mean"
    window: Annotated[PositiveInt, BY_SCALE] = 9
    decoder_width: Annotated[PositiveInt, BY_SCALE] = 40
    recon: Annotated[Literal["literal", "nominal", "off"], BY_SCALE] = "nominal"
    recon_sigma: Annotated[float, Field(gt=0, lt=1)] | None = None
    lora_rank: Annotated[PositiveInt | None, BY_SCALE] = 64
    learning_rate: Annotated[float, Field(gt=0), BY_SCALE] = 1e-4
    decoder_rate: Annotated[float, Field(gt=0), BY_SCALE] = 10.0
    schedule: Annotated[
        Literal["constant", "linear_warmup", "cosine", "exponential", "compounding_decay", "nominal_decay"], BY_SCALE
    ] = "cosine"
    batch: Annotated[PositiveInt, BY_SCALE] = 4
    flip: Flip = "none"

    @model_validator(mode="after")
    def _has_network(self) -> Self:
        if self.backbone is None and self.pretrained is None:
            raise ValueError("name a 'backbone' (a checkpoint) or, to train a small one, 'pretrained' (a run)")
        if self.backbone is not None and self.lora_rank is None:
            raise ValueError("lora_rank null trains all of a network, which only a small one ('pretrained') allows")
        if self.start is not None:
            raise ValueError("TRACE takes no start: it has backbone or pretrained instead")
        if self.window % 2 == 0:
            raise ValueError(f"window {self.window} has no middle: give an odd number")
        if self.blocks is not None and not self.blocks:
            raise ValueError("blocks names none; null takes all")
        return self

    def words(self) -> list[str]:
        rank = f"lora{self.lora_rank}" if self.lora_rank else "all"
        return [self.backbone or "small", self.decoder_input, rank, f"recon-{self.recon}", f"{self.steps}steps"]

    def idle(self) -> set[str]:
        """A small network is read as it was trained; only one kind of input has a window, only one term a level."""
        unused = {"pretrained"} if self.backbone else {"size", "reads", "layers"}
        unused |= {"window"} if self.decoder_input != "relative" else set()
        return unused | ({"recon_sigma"} if self.recon != "nominal" else set())


class TracePredict(Predict):
    """Edges between instances in one pass.

    Attributes:
        weights: Training run whose weights are used.
        backbone: Checkpoint that the weights belong to; null where they belong to a small network, which lies in the
            same file.
        precision: Of the network.
    """

    VERSION: ClassVar[int] = 1
    MADE_BY: ClassVar[dict[str, tuple[str, ...]]] = {"weights": ("trace",)}

    method: Literal["trace"]
    weights: Role
    backbone: Annotated[CheckpointName | None, BY_SCALE] = None
    batch: Annotated[PositiveInt, BY_SCALE] = 4
    precision: Precision = "fp32"
    device: Device = "auto"

    def words(self) -> list[str]:
        return [self.backbone or "small"]


SETTINGS: dict[tuple[str, str], type[Settings]] = {
    ("train", "trace_backbone"): TraceBackboneTrain,
    ("train", "trace"): TraceTrain,
    ("predict", "trace"): TracePredict,
}
