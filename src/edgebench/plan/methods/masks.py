"""Settings of what is drawn from masks once and used by many runs."""

from __future__ import annotations

from typing import ClassVar, Literal

from edgebench.plan.settings import Predict, Settings, Written


class MaskContours(Predict):
    """Outlines of masks, by DiffDIS' released rule: the edges that a network is to predict beside the mask."""

    VERSION: ClassVar[int] = 1
    COPIES = "the data set's annotations"

    method: Literal["mask_contours"]
    split: str = "train"


class MaskSkeletons(Predict):
    """Centre lines of masks, which the human correction effort needs and which take most of its time."""

    VERSION: ClassVar[int] = 1
    WRITES: ClassVar[Written] = "skeletons"
    COPIES = "the data set's annotations"

    method: Literal["mask_skeletons"]


SETTINGS: dict[tuple[str, str], type[Settings]] = {
    ("predict", "mask_contours"): MaskContours,
    ("predict", "mask_skeletons"): MaskSkeletons,
}
