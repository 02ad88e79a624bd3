"""Settings of edge maps synthesised from mask proposals."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from edgebench.plan.settings import (
    BY_SCALE,
    CheckpointName,
    Device,
    Fraction,
    PositiveInt,
    Predict,
    Settings,
    Written,
)


class MaskEdges(Predict):
    """Edge maps from mask proposals: polish, outline, thin, prune, trace (MEMO's pre-training data).

    Several values of `points_per_side`, `iou_threshold` and `stability_threshold` make one map per combination;
    their votes decide the level of a line. The defaults are the released ones.

    Attributes:
        generator: What proposes the masks: SAM 2, as released, SAM, or `felzenszwalb`, a classical segmenter that
            needs no weights and takes none of the settings below.
        generator_weights: Checkpoint of `sam2` or `sam`.
        points_per_side: Points per side of the grid over the whole image.
        points_per_batch: Points decoded at a time.
        iou_threshold: Least predicted IoU of a mask.
        stability_threshold: Least stability of a mask when its cut-off is shifted.
        crop_layers: Layers of overlapping crops besides the whole image, 4 of them in the first.
        crop_downscale: How many times fewer points per side each layer's crops have.
        precision: `fp16` as released, by autocast.
    """

    VERSION = 2
    WRITES: ClassVar[Written] = "labels"

    method: Literal["mask_edges"]
    split: str = "train"
    generator: Annotated[Literal["felzenszwalb", "sam2", "sam"], BY_SCALE] = "felzenszwalb"
    generator_weights: Annotated[CheckpointName | None, BY_SCALE] = None
    points_per_side: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64,)
    points_per_batch: Annotated[PositiveInt, BY_SCALE] = 128
    iou_threshold: Annotated[tuple[Fraction, ...], Field(min_length=1)] = (0.8,)
    stability_threshold: Annotated[tuple[Fraction, ...], Field(min_length=1)] = (0.85,)
    crop_layers: Annotated[int, Field(ge=0, le=3)] = 1
    crop_downscale: PositiveInt = 2
    precision: Annotated[Literal["fp32", "fp16", "bf16"], BY_SCALE] = "fp32"
    device: Device = "auto"

    @model_validator(mode="after")
    def _has_weights(self) -> Self:
        if (self.generator == "felzenszwalb") != (self.generator_weights is None):
            wanted = "takes no" if self.generator == "felzenszwalb" else "needs"
            raise ValueError(f"generator {self.generator} {wanted} generator_weights")
        return self

    def words(self) -> list[str]:
        return [self.generator]

    def idle(self) -> set[str]:
        """The classical segmenter takes none of a network's settings."""
        taken = {"points_per_side", "points_per_batch", "iou_threshold", "stability_threshold"}
        taken |= {"crop_layers", "crop_downscale", "precision", "device"}
        return taken if self.generator == "felzenszwalb" else set()


SETTINGS: dict[tuple[str, str], type[Settings]] = {("predict", "mask_edges"): MaskEdges}
