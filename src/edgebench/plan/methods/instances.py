"""Settings of instance masks without training: base masks, masks of others, and TRACE's refinement by edges."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from edgebench.plan.settings import BY_SCALE, Fraction, PositiveInt, Predict, Role, Settings, Written


class FelzenszwalbMasks(Predict):
    """Base masks that need no weights: segments of Felzenszwalb's segmenter at several scales, each a mask.

    What looks like background is left out: a segment that is too small or too large, or that lies along much of the
    image's border.

    Attributes:
        scales: How readily segments grow; each value gives its own segments.
        smallest: Least share of the image that a mask covers; smaller segments join a neighbour.
        largest: Largest share of the image that a mask covers.
        border: Largest share of the image's border pixels that a mask may cover.
    """

    WRITES: ClassVar[Written] = "instances"

    method: Literal["felzenszwalb_masks"]
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (200.0, 600.0)
    smallest: Fraction = 0.005
    largest: Fraction = 0.5
    border: Fraction = 0.25

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError(f"smallest {self.smallest} is above largest {self.largest}")
        return self


class TrueMasks(Predict):
    """The data set's own masks, crowds left out: what refinement could reach at most, or begin with at best.

    Attributes:
        by: One mask per `instance`, or all instances of a `class` in an image joined to one: what a perfect
            segmenter of classes sees, which does not tell neighbours of a class apart.
    """

    WRITES: ClassVar[Written] = "instances"
    COPIES = "the data set's annotations"

    method: Literal["true_masks"]
    by: Literal["instance", "class"] = "instance"

    def words(self) -> list[str]:
        return [f"by-{self.by}"]


class BroughtInstances(Predict):
    """Masks of another method, brought as files; see `edgebench.data.brought_instances` for the forms.

    A `file` alone is a COCO JSON of instances, results or ground truth. A `file` with a `folder` is a COCO panoptic
    JSON with its PNG files, of which things are taken. A `folder` alone has one PNG per image, each value an
    instance, or one folder per image with a binary PNG per instance. Names and digests of the files are part of the
    run's identity.

    Attributes:
        name: What the method is called.
    """

    WRITES: ClassVar[Written] = "instances"
    BRINGS: ClassVar[tuple[str, ...]] = ("file", "folder")

    method: Literal["brought_instances"]
    file: str | None = None
    folder: str | None = None
    name: str = "brought"

    @model_validator(mode="after")
    def _brings(self) -> Self:
        if self.file is None and self.folder is None:
            raise ValueError("brought_instances needs a file, a folder, or both")
        return self

    def words(self) -> list[str]:
        return [self.name]


class TraceRefine(Predict):
    """TRACE's use of edges: masks are cut along them, grown inside them, and joined where they agree.

    The paper publishes the merging threshold alone; the walk's defaults are IRNet's, which it builds on, and the
    others are ours.

    Attributes:
        masks: Run that writes the instances to refine.
        edges: Run that writes edge maps.
        order: `components_first` cuts, then grows; `propagate_first` grows, then cuts; the others do one of them.
        edge_threshold: Edges from here on separate components.
        connectivity: Neighbours of a pixel within a component.
        smallest: Share of the image below which a component is dropped.
        stride: Image pixels per cell of the walk's grid, along each side.
        grid: Side of a square grid for all images instead; null follows `stride`.
        edge_pooling: How edges come to the grid: by the strongest (`max`), so that thin lines stay closed, or the
            `mean` of a cell.
        radius: Neighbours of a cell are closer than this, cells.
        beta: Exponent of the affinities.
        steps: Steps of the walk.
        divide_by: What a grown mask is divided by: its `own_max`, or the `image_max` over all masks, as in IRNet.
        background: Score of the background: a grown mask is what reaches it. IRNet's constant background channel
            comes to the same where masks may overlap, as they may here.
        swallowed: What becomes of pixels of a mask that none of its pieces kept, most of them under lines. The walk
            is to bring them back, but does not cross lines: so each goes to the `nearest` piece, or they are dropped
            (`drop`: algorithm 4 names no other step), which takes more from masks than it gives, see
            `benchmarks/refine_real.py`.
        merge_above: Masks with a larger intersection over union are joined; 1 joins none.
        score: `interior_border` multiplies the mean of 1 - edge inside with that of the edge on the mask's border;
            `one` for all, or the score `kept` from the input.
    """

    WRITES: ClassVar[Written] = "instances"
    NEEDS: ClassVar[dict[str, Written]] = {"masks": "instances", "edges": "maps"}
    OF_SAME_IMAGES: ClassVar[frozenset[str]] = frozenset({"masks", "edges"})

    method: Literal["trace_refine"]
    masks: Role
    edges: Role
    order: Literal["components_first", "propagate_first", "components_only", "propagate_only"] = "components_first"
    edge_threshold: Fraction = 0.5
    connectivity: Literal[4, 8] = 4
    smallest: Fraction = 0.001
    stride: Annotated[PositiveInt, BY_SCALE] = 4
    grid: Annotated[PositiveInt | None, BY_SCALE] = None
    edge_pooling: Literal["max", "mean"] = "max"
    radius: Annotated[int, Field(ge=2, le=16)] = 5
    beta: Annotated[float, Field(gt=0)] = 10.0
    steps: Annotated[int, Field(ge=0)] = 256
    divide_by: Literal["own_max", "image_max"] = "own_max"
    background: Annotated[float, Field(gt=0, le=1)] = 0.25
    swallowed: Literal["drop", "nearest"] = "nearest"
    merge_above: Fraction = 0.5
    score: Literal["interior_border", "one", "kept"] = "interior_border"

    def words(self) -> list[str]:
        return [] if self.order == "components_first" else [self.order]

    def idle(self) -> set[str]:
        """What does not cut needs no threshold, what does not grow no walk, and a fixed grid no stride."""
        unused = {"stride"} if self.grid else set()
        if self.order == "components_only":
            unused |= {"stride", "grid", "edge_pooling", "radius", "beta", "steps", "divide_by", "background"}
        if self.order == "propagate_only":
            unused |= {"edge_threshold", "connectivity", "smallest"}
        return unused


SETTINGS: dict[tuple[str, str], type[Settings]] = {
    ("predict", "felzenszwalb_masks"): FelzenszwalbMasks,
    ("predict", "true_masks"): TrueMasks,
    ("predict", "brought_instances"): BroughtInstances,
    ("predict", "trace_refine"): TraceRefine,
}
