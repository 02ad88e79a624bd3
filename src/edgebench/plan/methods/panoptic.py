"""Settings of class maps, and of panoptic segmentations without training: TRACE's edges under weak supervision."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from edgebench.plan.settings import BY_SCALE, Fraction, PositiveInt, Predict, Role, Settings, Written


class BroughtSemantic(Predict):
    """Class maps of another method, such as MARS or DHR: a folder with one PNG per image, of the image's own size.

    A PNG is indexed or grey, and each of its numbers stands for a class; 255 stands for none, and so does 0 where no
    class of the data set has that id.

    Attributes:
        folder: Where they lie, those of several splits together if their names differ. Names and digests of the files
            are part of the run's identity.
        name: What the method is called.
        values: From each number to the class of the data set that it stands for; null where they are its ids.
    """

    WRITES: ClassVar[Written] = "semantic"
    BRINGS: ClassVar[tuple[str, ...]] = ("folder",)

    method: Literal["brought_semantic"]
    folder: str
    name: str = "brought"
    values: dict[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] | None = None

    def words(self) -> list[str]:
        return [self.name]


class TrueSemantic(Predict):
    """The data set's own class maps: what a perfect segmenter of classes would bring, which sees no instances."""

    WRITES: ClassVar[Written] = "semantic"
    COPIES = "the data set's annotations"

    method: Literal["true_semantic"]


class BroughtPanoptic(Predict):
    """Panoptic segmentations of another method: a JSON file of COCO's kind and the folder of its PNG files.

    Attributes:
        file: The JSON file; its `category_id`s are those of the data set.
        folder: Where the PNG files lie. Names and digests of all files are part of the run's identity.
        name: What the method is called.
    """

    WRITES: ClassVar[Written] = "panoptic"
    BRINGS: ClassVar[tuple[str, ...]] = ("file", "folder")

    method: Literal["brought_panoptic"]
    file: str
    folder: str
    name: str = "brought"

    def words(self) -> list[str]:
        return [self.name]


class TracePanoptic(Predict):
    """From class maps and edges to instances: what TRACE trains a panoptic network on.

    The mask of each thing class is cut along the edges, its parts are grown by the walk and joined where they agree;
    a stuff class stays one segment. A pixel that several reach is the one's with the highest score of the walk. The
    paper gives the order alone: the walk's settings are those of `trace_refine`, and the rest is ours.

    Attributes:
        semantic: Run that writes class maps.
        edges: Run that writes edge maps; null cuts nothing, so that touching objects of a class stay one.
        confine: Whether a segment keeps to the pixels that the class map gives its `class`, whose border is a barrier
            as well, or takes what it wins anywhere in the `image`, then against stuff grown by the same walk.
        leftover: Pixels of a thing class that no segment reaches, among them its parts below `smallest`: they go to
            the `nearest` segment of the class, or become `void`. A class whose parts are all that small is one segment.
        edge_threshold: Edges from here on separate parts.
        connectivity: Neighbours of a pixel within a part.
        smallest: Share of the image below which a part is no segment of its own.
        stride: Image pixels per cell of the walk's grid, along each side.
        grid: Side of a square grid for all images instead; null follows `stride`.
        edge_pooling: How edges come to the grid: by the strongest (`max`), or the `mean` of a cell.
        radius: Neighbours of a cell are closer than this, cells.
        beta: Exponent of the affinities.
        steps: Steps of the walk.
        background: Score that a grown segment must reach, with its own largest as 1.
        merge_above: Segments of a class with a larger intersection over union are joined; 1 joins none.
    """

    WRITES: ClassVar[Written] = "panoptic"
    NEEDS: ClassVar[dict[str, Written]] = {"semantic": "semantic", "edges": "maps"}
    OF_SAME_IMAGES: ClassVar[frozenset[str]] = frozenset({"semantic", "edges"})

    method: Literal["trace_panoptic"]
    semantic: Role
    edges: Role | None = None
    confine: Literal["class", "image"] = "class"
    leftover: Literal["nearest", "void"] = "nearest"
    edge_threshold: Fraction = 0.5
    connectivity: Literal[4, 8] = 4
    smallest: Fraction = 0.001
    stride: Annotated[PositiveInt, BY_SCALE] = 4
    grid: Annotated[PositiveInt | None, BY_SCALE] = None
    edge_pooling: Literal["max", "mean"] = "max"
    radius: Annotated[int, Field(ge=2, le=16)] = 5
    beta: Annotated[float, Field(gt=0)] = 10.0
    steps: Annotated[int, Field(ge=0)] = 256
    background: Annotated[float, Field(gt=0, le=1)] = 0.25
    merge_above: Fraction = 0.5

    def words(self) -> list[str]:
        """Without edges it is another method, whatever the name of the row."""
        return [] if self.edges else ["no-edges"]

    def idle(self) -> set[str]:
        """Without edges nothing is cut or grown, and a fixed grid has no stride."""
        if self.edges is None:
            walk = {"stride", "grid", "edge_pooling", "radius", "beta", "steps", "background", "merge_above"}
            return walk | {"edge_threshold", "confine"}
        return {"stride"} if self.grid else set()


SETTINGS: dict[tuple[str, str], type[Settings]] = {
    ("predict", "brought_semantic"): BroughtSemantic,
    ("predict", "true_semantic"): TrueSemantic,
    ("predict", "brought_panoptic"): BroughtPanoptic,
    ("predict", "trace_panoptic"): TracePanoptic,
}
