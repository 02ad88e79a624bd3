"""Settings of MEMO (CVPR 2026): masked edge prediction."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from edgebench.plan.settings import (
    BY_SCALE,
    CheckpointName,
    Device,
    Fraction,
    PositiveInt,
    Precision,
    Predict,
    Released,
    Role,
    Settings,
    Train,
)

DINO_OF_PRESET = {"default": "dinov2_with_registers_base", "tiny": "dinov2_small"}
"""The presets with an image encoder, and its published weights."""


class MemoTrain(Train):
    """Pre-training and fine-tuning of MEMO (paper, sections 3.2 and 3.4).

    Attributes:
        preset: Size of the network; `default` and `tiny` are the published ones.
        crop: Side of the random square crop in pixels; null trains on whole images.
        crop_rule: Where crops lie: `released` keeps them away from the border and from black pixels, `uniform` does
            not. Of an image below 1.66 crops the released rule shows the middle alone, hence `uniform` at small scales.
        drop_first: Cut off the first row and column, as the authors do on BSDS (481x321 becomes 480x320).
        vertical_flip: Flip upside down half of the time; left and right are always exchanged half of the time.
        rotate: Turn crops by 90 degrees half of the time: each `sample` clockwise (the authors' pre-training), the
            `batch` as a whole, each to a side of its own (their fine-tuning), or `none`. Whole images are always
            turned so that those of a batch agree.
        annotators: One annotator drawn per sample, or the union of all. On images of few pixels outlines that lie a
            pixel apart unite into a band, so that a scale may draw one.
        crest_labels: Suppress non-maxima of every crop's annotation, as the authors do on BIPED.
        mask: `bernoulli` masks every pixel with probability r (as released); `focal` exactly the share r, drawn
            with four times the weight around the edges.
        loss: `released` balances the edge region and weighs by clamp(1/r, 1, 5) as the authors' code does;
            `paper` is the plain cross-entropy on masked pixels.
        mask_ratio: Distribution of the masked share per sample (`uniform` as released); `full` masks
            everything, which makes the one-shot baseline.
        full_mask_share: Share of samples that are fully masked on purpose.
        warm_start_steps: First steps with every sample fully masked; small networks fail without them.
        image_drop: Probability of training without the image, for guidance.
        lora_rank: Rank of the adapters when fine-tuning; null trains all weights.
        dino: `frozen` as the paper says or `trainable` as the authors' code does. Adapters reach DINOv2 in either
            case; a preset without DINOv2 has nothing to freeze, so that both are one run.
        dino_weights: Published DINOv2 that the image encoder begins with; by default the one of the preset. Null
            for presets without DINOv2, and where training starts from another run's weights.
    """

    VERSION: ClassVar[int] = 1

    method: Literal["memo"]
    preset: Annotated[Literal["default", "tiny", "mini", "small"], BY_SCALE] = "default"
    crop: Annotated[PositiveInt | None, BY_SCALE] = None
    crop_rule: Annotated[Literal["released", "uniform"], BY_SCALE] = "released"
    drop_first: Annotated[bool, BY_SCALE] = False
    vertical_flip: bool = True
    rotate: Literal["none", "sample", "batch"] = "sample"
    annotators: Annotated[Literal["random", "union"], BY_SCALE] = "random"
    crest_labels: bool = False
    mask: Literal["bernoulli", "focal"] = "bernoulli"
    loss: Literal["released", "paper"] = "released"
    mask_ratio: Literal["uniform", "logit_normal", "truncated_linear", "full"] = "uniform"
    full_mask_share: Annotated[Fraction, BY_SCALE] = 0.0
    warm_start_steps: Annotated[int, Field(ge=0), BY_SCALE] = 0
    image_drop: Fraction = 0.1
    lora_rank: PositiveInt | None = None
    dino: Literal["frozen", "trainable"] = "frozen"
    dino_weights: Annotated[CheckpointName | None, BY_SCALE] = None

    @model_validator(mode="before")
    @classmethod
    def _dino_of_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("start") or "dino_weights" in values:
            return values
        return {**values, "dino_weights": DINO_OF_PRESET.get(values.get("preset", "default"))}

    @model_validator(mode="after")
    def _dino_where_needed(self) -> Self:
        needed = self.start is None and self.preset in DINO_OF_PRESET
        if needed != (self.dino_weights is not None):
            reason = "starts from other weights" if self.start else f"preset '{self.preset}'"
            raise ValueError(f"dino_weights {'must be given' if needed else 'must be null'}: {reason}")
        return self

    @model_validator(mode="after")
    def _trains_on_masks(self) -> Self:
        if self.mask_ratio != "full" and self.warm_start_steps >= self.steps:
            raise ValueError(f"warm_start_steps {self.warm_start_steps} is not below steps {self.steps}")
        if self.crop is not None and self.crop % 8:
            raise ValueError(f"crop {self.crop} is not a multiple of 8")
        return self

    def words(self) -> list[str]:
        return [self.preset, *(["oneshot"] if self.mask_ratio == "full" else []), f"{self.steps}steps"]

    def idle(self) -> set[str]:
        """Without an image encoder there is none to train."""
        return set() if self.preset in DINO_OF_PRESET else {"dino"}


class MemoReleased(Released):
    """A checkpoint of MEMO's authors: averaged weights, adapters merged."""

    VERSION: ClassVar[int] = 2
    method: Literal["memo_released"]


class MemoPredict(Predict):
    """Revealing an edge map in order of confidence (paper, section 3.3).

    Attributes:
        weights: Training run whose weights are used.
        reveal: Which pixels are revealed at each step.
        steps: Forward rounds; at the last one everything left is revealed. `full` goes on until no pixel is
            masked; for the scheduled orders it is 100 rounds, the authors' default. `adaptive` (ours) is full, but
            ends an image when its map has stopped changing.
        confidence_threshold: locmax reveals only what is surer than this; 0.5 is no threshold.
        schedule: How many pixels each step of topk and random reveals.
        guidance: Scale of classifier-free guidance; 1 needs no second pass.
        compat: Borders and the 20 % cap: `edgebench` (no wrap-around, most confident first), `official` (the
            authors' PyTorch code: wrap-around, random subset) or `native` (their C++ operator).
        dino_size: Size at which DINOv2 sees an image: the one the network was built for, or the image's own.
        long_side: Images with a longer side are shrunk to this many pixels, and their maps enlarged; null does not.
        tile: Images with a longer side go through the network in overlapping tiles of this many pixels, which
            bounds the memory and is approximate; null does not.
        scales: The logits are averaged over the image at these scales.
        batch: Images of one padded size that share a pass.
        compile: Let torch.compile specialise the network, which pays for many images of few sizes on a GPU.
        frames: Of so many images, the first, the reveal is kept as `frames/<id>.npz`: `order` (H, W), the step from
            0 that revealed each pixel, and `probability` (H, W), 0 to 255.
    """

    VERSION: ClassVar[int] = 1

    method: Literal["memo"]
    weights: Role
    reveal: Literal["locmax", "topk", "random"] = "locmax"
    steps: PositiveInt | Literal["full", "adaptive"] = 10
    confidence_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5
    schedule: Literal["uniform", "linear", "exponential", "cycloid", "circle_x", "circle_t"] = "uniform"
    guidance: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.4
    compat: Literal["edgebench", "official", "native"] = "edgebench"
    dino_size: Literal["fixed", "adaptive"] = "fixed"
    long_side: PositiveInt | None = None
    tile: Annotated[int, Field(gt=64, multiple_of=32)] | None = None
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    batch: Annotated[PositiveInt, BY_SCALE] = 4
    precision: Precision = "fp32"
    compile: Annotated[bool, BY_SCALE] = False
    device: Device = "auto"
    frames: Annotated[int, Field(ge=0), BY_SCALE] = 0

    @model_validator(mode="after")
    def _one_way_of_looking(self) -> Self:
        if self.tile is not None and self.scales != (1.0,):
            raise ValueError("tile and scales cannot go together")
        return self

    def words(self) -> list[str]:
        return [f"{self.reveal}{self.steps}", f"g{self.guidance:g}"]

    def draws(self) -> bool:
        """Only the random order draws, and the authors' PyTorch code wherever more pixels qualify than it takes."""
        return self.reveal == "random" or self.compat == "official"

    def idle(self) -> set[str]:
        """Locmax follows no schedule, and the others no threshold."""
        return {"schedule"} if self.reveal == "locmax" else {"confidence_threshold"}


SETTINGS: dict[tuple[str, str], type[Settings]] = {
    ("train", "memo"): MemoTrain,
    ("train", "memo_released"): MemoReleased,
    ("predict", "memo"): MemoPredict,
}
