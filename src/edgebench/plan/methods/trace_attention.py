"""Settings of TRACE's first stage: instance edges read from the attention of a pre-trained network."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from edgebench.plan.settings import (
    BY_SCALE,
    SCALE_DEFAULT,
    CheckpointName,
    Device,
    Fraction,
    PositiveInt,
    Precision,
    Predict,
    Role,
    Settings,
)

Level = Annotated[int, Field(ge=0, le=999)]
Share = Annotated[float, Field(gt=0, le=1)]
TAUS = (0, 99, 199, 299, 399, 499, 599, 699, 799, 899, 999)


class TraceAttentionPredict(Predict):
    """The time step at which instances emerge, ABDiv of its attention as edges, and pseudo labels.

    A small network trained here shows its objects in other blocks and earlier than the published ones, so a scale
    may choose those too.

    Attributes:
        backbone: Checkpoint of a pre-trained network; null takes the one that `pretrained` trained.
        pretrained: Run of method `trace_backbone`.
        reads: Of an encoder without time (DINOv2 and the like), its `attention` or the similarity of its `features`.
        layers: Of a model of images and text, those of the `vision` or of the `language`.
        size: Side of the square that pictures are resized to, pixels; null takes what the network was trained at.
        blocks: Self-attention blocks by index (negative from the end) or by name, in which `*` stands for anything;
            null takes all.
        taus: Levels of noise of the search, from clean (0) to noisy (999).
        tau: A single level instead of the search.
        tau_max: The noisiest level that may be kept; null allows all.
        keep: Which end of the widest gap is kept: the `noisier` (ICLR 2026), or the `cleaner` (the first preprint).
        noise: One draw for all levels of a picture (`shared`), or another at each level (`independent`, the preprint).
        measure: Divergence: `kl` as published, or what it was compared with.
        interior: What is labelled interior: below mean - `deviation` (published), or the `lowest` share of scores.
        lowest: Share of the rule `lowest`.
        guard_below: Where the rule `deviation` finds less than this share of interior, which it may, the
            `guard_lowest` share of the lowest scores is interior instead; 0 turns this off.
        guard_lowest: See `guard_below`.
        watched: Of so many first images the attention over the levels of noise is kept for a figure; changes no map.
    """

    VERSION: ClassVar[int] = 1
    RANDOM: ClassVar[bool] = True
    MADE_BY: ClassVar[dict[str, tuple[str, ...]]] = {"pretrained": ("trace_backbone",)}

    method: Literal["trace_attention"]
    split: str = "train"
    backbone: Annotated[CheckpointName | None, BY_SCALE] = None
    pretrained: Role | None = None
    reads: Literal["attention", "features"] = "attention"
    layers: Literal["vision", "language"] = "vision"
    size: Annotated[PositiveInt | None, BY_SCALE] = None
    blocks: Annotated[tuple[int | str, ...] | None, SCALE_DEFAULT] = None
    taus: Annotated[tuple[Level, ...], BY_SCALE] = TAUS
    tau: Annotated[Level | None, SCALE_DEFAULT] = None
    tau_max: Level | None = 899
    keep: Annotated[Literal["noisier", "cleaner"], SCALE_DEFAULT] = "noisier"
    noise: Literal["shared", "independent"] = "shared"
    measure: Literal["kl", "jsd", "l2", "cosine"] = "kl"
    interior: Annotated[Literal["deviation", "lowest"], SCALE_DEFAULT] = "deviation"
    lowest: Annotated[Share, SCALE_DEFAULT] = 0.5
    guard_below: Fraction = 0.05
    guard_lowest: Share = 0.3
    watched: Annotated[int, Field(ge=0)] = 0
    precision: Precision = "fp32"
    device: Device = "auto"

    @model_validator(mode="after")
    def _has_network(self) -> Self:
        if self.backbone is None and self.pretrained is None:
            raise ValueError("name a 'backbone' (a checkpoint) or, to train a small one, 'pretrained' (a run)")
        return self

    @model_validator(mode="after")
    def _can_search(self) -> Self:
        if list(self.taus) != sorted(set(self.taus)):
            raise ValueError(f"taus {list(self.taus)} do not ascend")
        if self.blocks is not None and not self.blocks:
            raise ValueError("blocks names none; null takes all")
        kept = [tau for tau in self.taus if self.tau_max is None or tau <= self.tau_max]
        if self.tau is None and len(kept) < 2:
            raise ValueError(f"taus has {len(kept)} levels up to tau_max {self.tau_max}; a search needs two")
        return self

    def words(self) -> list[str]:
        parts = [self.backbone or "small", self.keep if self.tau is None else f"tau{self.tau}"]
        parts += [self.measure] if self.measure != "kl" else []
        return parts + (["lowest"] if self.interior == "lowest" else [])

    def idle(self) -> set[str]:
        """A small network is read as it was trained; without a search there is no gap; one rule of the interior counts.

        Whether a checkpoint is searched through time its files say, so that nothing else can be left out.
        """
        unused = {"pretrained"} if self.backbone else {"size", "precision", "reads", "layers"}
        if self.tau is not None:
            unused |= {"taus", "tau_max", "keep", "watched"}
        return unused | ({"guard_below", "guard_lowest"} if self.interior == "lowest" else {"lowest"})


SETTINGS: dict[tuple[str, str], type[Settings]] = {("predict", "trace_attention"): TraceAttentionPredict}
