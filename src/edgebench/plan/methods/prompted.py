"""Settings of SAM prompted by masks: TRACE's instances in place of a detector's boxes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from edgebench.plan.settings import (
    BY_SCALE,
    CheckpointName,
    Device,
    Fraction,
    PositiveInt,
    Predict,
    Role,
    Settings,
    Written,
)


class _Prompts(Predict):
    """Fields of both methods.

    Attributes:
        generator: Which of the two models is prompted.
        generator_weights: Its checkpoint.
        points: Most interior points of a prompt, besides the box; the paper does not tell its prompts.
        least_iou: Least IoU of SAM's mask with the one that asked for it; else that one stays.
        prompts_at_once: Prompts decoded at a time.
        precision: fp32, or fp16 or bf16 by autocast.
    """

    generator: Annotated[Literal["sam", "sam2"], BY_SCALE] = "sam"
    generator_weights: Annotated[CheckpointName, BY_SCALE] = "sam_vit_huge"
    points: Annotated[int, Field(ge=1, le=10)] = 3
    least_iou: Fraction = 0.5
    prompts_at_once: Annotated[PositiveInt, BY_SCALE] = 64
    precision: Annotated[Literal["fp32", "fp16", "bf16"], BY_SCALE] = "fp32"
    device: Device = "auto"

    def words(self) -> list[str]:
        return [self.generator_weights]


class SamPrompted(_Prompts):
    """Instances whose outlines SAM draws anew, each prompted by its box and points inside it.

    Attributes:
        instances: Run that writes the instances.
        score: The instances' scores are `kept`, or become the IoU that SAM predicts, where its mask is taken.
    """

    WRITES: ClassVar[Written] = "instances"
    NEEDS: ClassVar[dict[str, Written]] = {"instances": "instances"}
    OF_SAME_IMAGES: ClassVar[frozenset[str]] = frozenset({"instances"})

    method: Literal["sam_prompted"]
    instances: Role
    score: Literal["kept", "predicted_iou"] = "kept"


class SamPromptedPanoptic(_Prompts):
    """A panoptic segmentation whose things' outlines SAM draws anew.

    Things are laid over stuff, smaller ones over larger ones. What a thing leaves becomes a part of no segment.

    Attributes:
        segments: Run that writes the panoptic segmentation.
    """

    WRITES: ClassVar[Written] = "panoptic"
    NEEDS: ClassVar[dict[str, Written]] = {"segments": "panoptic"}
    OF_SAME_IMAGES: ClassVar[frozenset[str]] = frozenset({"segments"})

    method: Literal["sam_prompted_panoptic"]
    segments: Role


SETTINGS: dict[tuple[str, str], type[Settings]] = {
    ("predict", "sam_prompted"): SamPrompted,
    ("predict", "sam_prompted_panoptic"): SamPromptedPanoptic,
}
