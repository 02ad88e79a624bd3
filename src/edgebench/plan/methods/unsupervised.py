"""Settings of masks without training: TokenCut, MaskCut and ProMerge, the base masks that TRACE refines."""

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
    Settings,
)

Cosine = Annotated[float, Field(gt=-1, lt=1)]


class UnsupervisedPredict(Predict):
    """Fields of all three.

    Attributes:
        dino: Published DINO whose keys describe the patches; null takes statistics of colour and texture, which need
            no checkpoint and are no part of any paper.
        size: Side of the square in which patches are cut, pixels; a multiple of their side.
        patch: Side of the patches of the statistics, pixels; DINO has its own.
        tau: Cosine above which two patches are alike.
        crf: Draw the outlines along the image's edges by a dense CRF, at `size` pixels.
        least_kept: IoU with a mask before, below which what the CRF made of it is dropped.
        batch: Images that share a pass of DINO.
        precision: Of DINO.
    """

    VERSION: ClassVar[int] = 1
    WRITES = "instances"

    dino: Annotated[CheckpointName | None, BY_SCALE] = "dino_vitb8"
    size: Annotated[PositiveInt, BY_SCALE] = 480
    patch: Annotated[PositiveInt, BY_SCALE] = 8
    tau: Cosine = 0.2
    crf: Annotated[bool, BY_SCALE] = True
    least_kept: Fraction = 0.5
    batch: Annotated[PositiveInt, BY_SCALE] = 1
    precision: Precision = "fp32"
    device: Device = "auto"

    @model_validator(mode="after")
    def _whole_patches(self) -> Self:
        if self.dino is None and self.size % self.patch:
            raise ValueError(f"size {self.size} is not a multiple of patch {self.patch}")
        return self

    def words(self) -> list[str]:
        return [self.dino.removeprefix("dino_") if self.dino else f"patches{self.patch}"]

    def idle(self) -> set[str]:
        """DINO has patches of its own; the statistics are no network; without the CRF masks stay as they were."""
        idle = {"patch"} if self.dino else {"precision", "device", "batch"}
        return idle if self.crf else idle | {"least_kept"}


class TokencutPredict(UnsupervisedPredict):
    """TokenCut (CVPR 2022): one object per image.

    Attributes:
        solver: Of the eigenproblem: Lanczos, with the dense solver where it does not converge, or always dense.
    """

    method: Literal["tokencut"]
    dino: Annotated[CheckpointName | None, BY_SCALE] = "dino_vits16"
    crf: Annotated[bool, BY_SCALE] = False
    solver: Literal["lanczos", "dense"] = "lanczos"


class MaskcutPredict(UnsupervisedPredict):
    """MaskCut (CutLER, CVPR 2023): one object per round.

    Attributes:
        tau: As above; the authors' pseudo masks of ImageNet have 0.15.
        rounds: Largest number of objects.
        largest_overlap: IoU with the mask of the round before, above which a mask is rejected.
        smallest: Share of the image at which a mask is rejected, or below.
        solver: As of TokenCut.
    """

    method: Literal["maskcut"]
    rounds: PositiveInt = 3
    largest_overlap: Fraction = 0.5
    smallest: Fraction = 0.01
    solver: Literal["lanczos", "dense"] = "lanczos"


class PromergePredict(UnsupervisedPredict):
    """ProMerge (ECCV 2024): candidates of a grid of seeds, without what is background, merged.

    Attributes:
        stride: Patches between seeds.
        sides: Sides of the image that an object may touch; what touches more votes for the background.
        component_share: Smallest part of a candidate, as a share of the seed's own part.
        vote: Mean of the votes above which a patch is background.
        smallest_background: An image with a smaller share of background has no masks.
        new_on_background: A candidate is dropped when at least so much of what it adds lies on the background.
        background_similarity: Or when its mean feature is at least so like the background's.
        overlap: A candidate joins a cluster that holds more than this share of it.
        weak_overlap: Or more than this, if their mean features are alike.
        similarity: Likeness above which they are.
    """

    method: Literal["promerge"]
    stride: Annotated[PositiveInt, BY_SCALE] = 4
    sides: Annotated[int, Field(ge=0, le=4)] = 1
    component_share: Fraction = 0.5
    vote: Fraction = 0.5
    smallest_background: Fraction = 0.1
    new_on_background: Fraction = 0.8
    background_similarity: Cosine = 0.1
    overlap: Fraction = 0.5
    weak_overlap: Fraction = 0.1
    similarity: Cosine = 0.1


SETTINGS: dict[tuple[str, str], type[Settings]] = {
    ("predict", "tokencut"): TokencutPredict,
    ("predict", "maskcut"): MaskcutPredict,
    ("predict", "promerge"): PromergePredict,
}
