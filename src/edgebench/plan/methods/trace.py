"""Settings of TRACE (ICLR 2026): its small backbone, one-step distillation, and edges in one pass."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import model_validator

from edgebench.plan.settings import (
    BY_SCALE,
    PositiveInt,
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


SETTINGS: dict[tuple[str, str], type[Settings]] = {("train", "trace_backbone"): TraceBackboneTrain}
