"""Settings of what the methods are compared with: classical rules, and maps that somebody else computed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from edgebench.plan.settings import Limit, Predict, Settings


class SobelPredict(Predict):
    """Magnitude of the Sobel gradient."""

    method: Literal["sobel"]


class CannyPredict(Predict):
    """Canny's detector.

    Attributes:
        sigma: Standard deviation of the smoothing, pixels.
        low: Lower hysteresis threshold.
        high: Upper hysteresis threshold.
        tune_on: Split on which sigma and both thresholds are fitted; null uses the values given.
        tune_limit: Number of images to fit on.
    """

    method: Literal["canny"]
    sigma: Annotated[float, Field(gt=0)] = 1.0
    low: Annotated[float, Field(ge=0)] = 0.1
    high: Annotated[float, Field(ge=0)] = 0.2
    tune_on: str | None = None
    tune_limit: Limit = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self

    def words(self) -> list[str]:
        return ["tuned"] if self.tune_on else [f"sigma{self.sigma:g}"]


class OtsuPredict(Predict):
    """Masks by a threshold on the grey values; the side of it that is rarer along the border is the foreground."""

    method: Literal["otsu"]


class ForegroundPredict(Predict):
    """Masks that call every pixel foreground: what any useful mask must beat."""

    method: Literal["foreground"]


class BroughtPredict(Predict):
    """Edge maps or masks of another method, brought as a folder with one file per image, of the image's own size.

    Attributes:
        folder: Where they lie, those of several splits together if their names differ. Names and digests of the files
            are part of the run's identity.
        name: What the method is called.
    """

    BRINGS: ClassVar[tuple[str, ...]] = ("folder",)

    method: Literal["brought"]
    folder: str
    name: str = "brought"

    def words(self) -> list[str]:
        return [self.name]


SETTINGS: dict[tuple[str, str], type[Settings]] = {
    ("predict", "sobel"): SobelPredict,
    ("predict", "canny"): CannyPredict,
    ("predict", "otsu"): OtsuPredict,
    ("predict", "foreground"): ForegroundPredict,
    ("predict", "brought"): BroughtPredict,
}
