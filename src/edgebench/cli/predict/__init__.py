"""`edgebench predict METHOD`: edge maps and masks of one's own photographs."""

from __future__ import annotations

import typer

from edgebench.cli.predict.edges import canny, mask_edges, memo, sobel
from edgebench.cli.predict.instances import maskcut, promerge, tokencut
from edgebench.cli.predict.masks import diffdis, otsu
from edgebench.cli.predict.trace import trace

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _predict() -> None:
    """Edges and masks of your own photographs.

    Methods for edges write `prediction/NAME.png` with the probability of an edge (bright = edge) and
    `binarized/NAME.png` with 0 and 255; methods for masks write `mask/NAME.png` (bright = object) and
    `cutout/NAME.png`, the object with its own colours on nothing; methods for several objects write `overlay/NAME.png`
    and `instances/NAME.json`. All write `predict.json` with settings, weights,
    versions and seconds. Photographs are turned as their EXIF says. A damaged one is named at the end and does not
    stop the others.

    Exit status: 0 all is well, 1 some photographs failed, 2 nothing was begun.
    """


app.command(rich_help_panel="Edges")(memo)
app.command(rich_help_panel="Edges")(trace)
app.command(rich_help_panel="Edges")(canny)
app.command(rich_help_panel="Edges")(sobel)
app.command("mask-edges", rich_help_panel="Edges")(mask_edges)
app.command(rich_help_panel="Masks and cut-outs")(diffdis)
app.command(rich_help_panel="Masks and cut-outs")(otsu)
app.command(rich_help_panel="Objects, each with its mask")(tokencut)
app.command(rich_help_panel="Objects, each with its mask")(maskcut)
app.command(rich_help_panel="Objects, each with its mask")(promerge)
