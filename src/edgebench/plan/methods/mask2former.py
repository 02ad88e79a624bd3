"""Settings of Mask2Former (CVPR 2022): the panoptic network that is trained on TRACE's segments."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from edgebench.plan.settings import (
    BY_SCALE,
    CheckpointName,
    Device,
    Fraction,
    PositiveInt,
    Precision,
    Predict,
    Role,
    Settings,
    Train,
    Written,
)

Positive = Annotated[float, Field(gt=0)]


class Mask2formerTrain(Train):
    """Training on panoptic segmentations, annotated or made by another run.

    The weights begin with those of a classifier of ImageNet or at random. A checkpoint that was trained on masks is
    refused: it would bring the annotations that a weakly supervised method does without. The learning rate does not
    fall after nine tenths of the training, as the authors' does.

    Attributes:
        preset: Size of the network; `resnet50` and `swin_large` are published, `small` is for drawn scenes.
        backbone: Classifier of ImageNet whose weights the backbone begins with; null starts from random weights.
        labels: Run that writes the segmentations to learn; null takes the data set's own, which is the bound above.
        size: Side of the square that is cut from the scaled picture, pixels; a multiple of 32.
        smallest_scale: Least scale of the jitter, of the longer side relative to `size`.
        largest_scale: Largest scale of the jitter.
        flip: Exchange left and right of half of the samples.
        queries: Segments that the network can find at most; null takes the preset's.
        points: Points at which masks are compared; null takes the preset's, which is 12,544 as published.
        class_weight: Weight of the classes' cross-entropy, in the matching and in the loss.
        mask_weight: Weight of the masks' cross-entropy.
        dice_weight: Weight of the masks' Dice.
        no_object_weight: Weight of the class "no segment" in the cross-entropy.
        backbone_rate: Learning rate of the backbone, relative to all else.
    """

    VERSION: ClassVar[int] = 1
    NEEDS: ClassVar[dict[str, Written]] = {"labels": "panoptic"}
    MADE_BY: ClassVar[dict[str, tuple[str, ...]]] = {}

    method: Literal["mask2former"]
    preset: Annotated[Literal["resnet50", "swin_large", "small"], BY_SCALE] = "resnet50"
    backbone: CheckpointName | None = None
    size: Annotated[PositiveInt, BY_SCALE] = 1024
    smallest_scale: Annotated[Positive, BY_SCALE] = 0.1
    largest_scale: Annotated[Positive, BY_SCALE] = 2.0
    flip: bool = True
    queries: Annotated[PositiveInt | None, BY_SCALE] = None
    points: Annotated[PositiveInt | None, BY_SCALE] = None
    class_weight: Positive = 2.0
    mask_weight: Positive = 5.0
    dice_weight: Positive = 5.0
    no_object_weight: Positive = 0.1
    backbone_rate: Annotated[Positive, BY_SCALE] = 0.1
    batch: Annotated[PositiveInt, BY_SCALE] = 2
    accumulate: Annotated[PositiveInt, BY_SCALE] = 8
    learning_rate: Annotated[Positive, BY_SCALE] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    gradient_clip: Annotated[Positive | None, BY_SCALE] = 0.01

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.start is not None:
            raise ValueError("Mask2Former takes no start: it has backbone instead")
        if self.size % 32:
            raise ValueError(f"size {self.size} is not a multiple of 32")
        if self.smallest_scale > self.largest_scale:
            raise ValueError(f"smallest_scale {self.smallest_scale} is above largest_scale {self.largest_scale}")
        return self

    def words(self) -> list[str]:
        """Annotated labels are named in every result: nothing is weakly supervised then."""
        begin = [self.preset, *(["imagenet"] if self.backbone else [])]
        return [*begin, *([] if self.labels else ["true-labels"]), f"{self.steps}steps"]


class Mask2formerPredict(Predict):
    """Panoptic segmentations by a trained network.

    Attributes:
        weights: Training run whose weights are used.
        size: Length that the shorter side of a picture is resized to, pixels.
        longest: Largest length of the longer side, pixels.
        class_threshold: Probability of its class above which a query counts.
        overlap_threshold: Share of its mask that a query must win against the others.
        mask_threshold: Probability from which a pixel belongs to a mask.
    """

    VERSION: ClassVar[int] = 1
    WRITES: ClassVar[Written] = "panoptic"

    method: Literal["mask2former"]
    weights: Role
    size: Annotated[PositiveInt, BY_SCALE] = 800
    longest: Annotated[PositiveInt, BY_SCALE] = 1333
    class_threshold: Fraction = 0.8
    overlap_threshold: Fraction = 0.8
    mask_threshold: Fraction = 0.5
    batch: Annotated[PositiveInt, BY_SCALE] = 1
    precision: Precision = "fp32"
    device: Device = "auto"

    @model_validator(mode="after")
    def _sides(self) -> Self:
        if self.size > self.longest:
            raise ValueError(f"size {self.size} is above longest {self.longest}")
        return self


SETTINGS: dict[tuple[str, str], type[Settings]] = {
    ("train", "mask2former"): Mask2formerTrain,
    ("predict", "mask2former"): Mask2formerPredict,
}
