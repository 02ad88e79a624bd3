"""Settings of edge maps synthesised from mask proposals."""

from __future__ import annotations

from typing import Annotated, Literal

from edgebench.plan.settings import BY_SCALE, Predict, Settings


class MaskEdges(Predict):
    """Edge maps from mask proposals: polish, outline, thin, prune (MEMO's pre-training data).

    Attributes:
        generator: What proposes the masks. `felzenszwalb` is a classical segmenter that needs no weights.
    """

    method: Literal["mask_edges"]
    split: str = "train"
    generator: Annotated[Literal["felzenszwalb"], BY_SCALE] = "felzenszwalb"

    def words(self) -> list[str]:
        return [self.generator]


SETTINGS: dict[tuple[str, str], type[Settings]] = {("predict", "mask_edges"): MaskEdges}
