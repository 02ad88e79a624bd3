"""`edgebench refine`: masks of any method, refined by edges as TRACE does it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edgebench.errors import ConfigError
from edgebench.files import require_writable


class Order(StrEnum):
    """What is done in which order."""

    components_first = "components_first"
    propagate_first = "propagate_first"
    components_only = "components_only"
    propagate_only = "propagate_only"


class Swallowed(StrEnum):
    """What becomes of pixels that lines take from a mask."""

    drop = "drop"
    nearest = "nearest"


class Score(StrEnum):
    """Where scores come from."""

    interior_border = "interior_border"
    one = "one"
    kept = "kept"


def refine(
    masks: Annotated[
        Path,
        typer.Option(help="Masks of any method, JSON in COCO's format: results, or `images` and `annotations`."),
    ],
    edges: Annotated[
        Path,
        typer.Option(help="Folder of edge maps, bright = edge, at the images' size: NAME.png (8 or 16 bit) or .npy."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the refined results (JSON).")],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            "--ground-truth",
            help="JSON with COCO's list `images` (id, file_name, height, width), such as instances_val2017.json. "
            "Not needed where the masks' own file has it.",
        ),
    ] = None,
    order: Annotated[
        Order,
        typer.Option(
            help="Cut masks along edges, then let them grow (TRACE); or grow first; or do only one of the two."
        ),
    ] = Order.components_first,
    edge_threshold: Annotated[float, typer.Option(min=0, max=1, help="Edges at least this strong cut.")] = 0.5,
    smallest: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the image; smaller pieces are dropped.")
    ] = 0.001,
    stride: Annotated[int, typer.Option(min=1, help="Pixels per cell of the grid on which masks grow.")] = 4,
    steps: Annotated[int, typer.Option(min=0, help="Steps of the random walk by which they grow.")] = 256,
    beta: Annotated[
        float, typer.Option(min=0.01, help="How well weak edges hold growth back: higher, and fainter ones do.")
    ] = 10.0,
    background: Annotated[
        float, typer.Option(min=0.001, max=1, help="Share of its maximum from which a grown mask is kept.")
    ] = 0.25,
    swallowed: Annotated[
        Swallowed,
        typer.Option(help="Pixels of a mask that no piece of it kept: given to the nearest piece, or dropped."),
    ] = Swallowed.nearest,
    merge_above: Annotated[
        float, typer.Option(min=0, max=1, help="Masks of one class with a larger IoU are joined; 1 joins none.")
    ] = 0.5,
    score: Annotated[
        Score,
        typer.Option(
            help="Of the refined masks: few edges inside and strong ones on the border (interior_border), 1 for "
            "all (one), or the score that came in (kept)."
        ),
    ] = Score.interior_border,
    jobs: Annotated[int, typer.Option(min=1, help="Processes. The masks do not depend on it.")] = 1,
) -> None:
    """Refine instance masks by edges: cut along them, grow inside them, join what then overlaps (TRACE).

    Edges may come from any method, for instance from `edgebench predict canny PHOTOS -o OUT`, which writes them to
    OUT/prediction. Every mask keeps its category. Score the result with `edgebench evaluate instances`.

    Examples:
        edgebench refine --masks maskcut.json --edges out/prediction --images instances_val2017.json -o refined.json

        edgebench refine --masks my_masks.json --edges out/prediction --order components_only -o parts.json
    """
    require_writable(output)
    for path in filter(None, (masks, images)):
        if path.resolve() == output.resolve():
            raise ConfigError(f"{output}: is read by this command, so it cannot take the masks. Give another name.")

    from edgebench.methods.trace.refine import RefineSettings
    from edgebench.stages.refine_files import refine_files

    settings = RefineSettings(
        order=order.value,
        edge_threshold=edge_threshold,
        smallest=smallest,
        stride=stride,
        steps=steps,
        beta=beta,
        background=background,
        swallowed=swallowed.value,
        merge_above=merge_above,
        score=score.value,
    )
    done = refine_files(masks, edges, output, settings, images, jobs)
    print(f"Images with masks: {done.n_images}; masks before: {done.n_before}, after: {done.n_after}")
    print(f"Written: {output}")
