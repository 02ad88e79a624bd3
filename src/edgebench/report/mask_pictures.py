"""Masks beside one another, each with the same detail enlarged."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from edgebench.errors import DataError
from edgebench.report.collect import Collected, TableSpec
from edgebench.report.pictures import choose_ids, read_levels, rows_on_images
from edgebench.report.style import COLOURS, sections, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from edgebench.data.adapters import Dataset

Picture = NDArray[np.uint8]

ENLARGED = 5
"""So many times smaller than the picture is the detail, in height and in width."""

SMALLEST_DETAIL = 24
"""A detail's least side in pixels: of a scene of 64 pixels a fifth would show nothing."""

SHOWN = 400
"""Longest side of what is drawn, pixels: more than print shows, and little memory whatever the picture's size."""

FRAME = COLOURS[1]


class Window(NamedTuple):
    """A detail of a picture, pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, picture: Picture) -> Picture:
        """The detail of (H, W) or (H, W, 3)."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


class Zoomed(NamedTuple):
    """One image of the grid.

    Attributes:
        name: Its id.
        shape: Height and width of the image itself.
        window: Where the detail lies.
        panels: Title, picture and detail, both at most `SHOWN` pixels high and wide.
    """

    name: str
    shape: tuple[int, int]
    window: Window
    panels: list[tuple[str, Picture, Picture]]


def mask_grid(collected: Collected) -> Figure:
    """Input, ground truth and each row's mask (first seed) of a few images, with one detail of each enlarged.

    Of a table in sections the first is shown. The images are evenly spaced in the split; the detail is where the
    ground truth has most contour (`densest_window`).

    Raises:
        DataError: no row names its data set, the rows have no image in common, the data set has no masks, or a map is
            damaged or of another size than its image.
    """
    parts = sections(collected, [row for row in collected.rows if row.runs])
    title, members = parts[0] if parts else ("", [])
    rows, dataset, common = rows_on_images(collected, members)
    maps = [(row.label, row.runs[0].predict) for row in rows]
    images = [_zoomed(dataset, name, maps) for name in choose_ids(common)]
    return _draw(images, collected.spec, title)


def _zoomed(dataset: Dataset, name: str, maps: Sequence[tuple[str, Path]]) -> Zoomed:
    """One image with all its masks; of them one at a time is held in full."""
    truth = dataset.mask(name)
    window = densest_window(truth > 128)
    panels = [
        ("Input", *_both(dataset.image(name), window)),
        ("Ground truth", *_both(truth, window)),
        *((label, *_both(read_sized(predict, name, truth.shape), window)) for label, predict in maps),
    ]
    return Zoomed(name, (truth.shape[0], truth.shape[1]), window, panels)


def _both(picture: Picture, window: Window) -> tuple[Picture, Picture]:
    return shrunk(picture), shrunk(window.of(picture))


def shrunk(picture: Picture, side: int = SHOWN) -> Picture:
    """A picture (H, W) or (H, W, 3) of at most `side` pixels high and wide; a smaller one is left as it is."""
    from PIL import Image

    reduced = Image.fromarray(picture)
    reduced.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(reduced)


def read_sized(predict: Path, name: str, shape: tuple[int, ...]) -> Picture:
    """The map of an image as its predict run wrote it, uint8 (H, W).

    Args:
        predict: Folder of the run.
        name: The image.
        shape: Height and width that the map must have.

    Raises:
        DataError: the map is missing, damaged or of another size.
    """
    levels = read_levels(predict, name)
    if levels.shape != shape:
        ours, theirs = (f"{width} x {height}" for height, width in (levels.shape, shape))
        raise DataError(
            f"{predict / 'maps' / f'{name}.png'}: {ours} pixels (width x height), but its image has {theirs}. Delete "
            f"the run's folder and run snakemake."
        )
    return levels


def densest_window(truth: NDArray[np.bool_]) -> Window:
    """The window in which a mask has most contour pixels; where several have, the one nearest to their middle.

    Contour are pixels of foreground and background that touch one another on a side. The window has the picture's
    proportions, a fifth of its sides and at least 24 pixels. Without contour it is the middle of the picture.

    Args:
        truth: bool (H, W).
    """
    (height, width) = truth.shape
    high, wide = (min(each, max(each // ENLARGED, SMALLEST_DETAIL)) for each in (height, width))
    contour = np.zeros(truth.shape, bool)
    across, down = truth[:, 1:] != truth[:, :-1], truth[1:] != truth[:-1]
    contour[:, 1:] |= across
    contour[:, :-1] |= across
    contour[1:] |= down
    contour[:-1] |= down
    if not contour.any():
        return Window((height - high) // 2, (width - wide) // 2, high, wide)
    counts = _sums(_sums(contour, high, 0), wide, 1)
    tops, lefts = np.nonzero(counts == counts.max())
    nearest = np.argmin((tops - tops.mean()) ** 2 + (lefts - lefts.mean()) ** 2)
    return Window(int(tops[nearest]), int(lefts[nearest]), high, wide)


def _sums(values: NDArray[Any], length: int, axis: int) -> NDArray[np.int32]:
    """Sums over every run of `length` neighbours along an axis."""
    values = np.moveaxis(values, axis, 0)
    total = np.zeros((len(values) + 1, values.shape[1]), np.int32)
    np.cumsum(values, axis=0, out=total[1:])
    return np.moveaxis(total[length:] - total[:-length], 0, axis)


# Drawing ---------------------------------------------------------------------------------------------

SIDE, GAP, BETWEEN = 1.15, 0.04, 0.16
"""Longest side of a picture, space between pictures, and more of it between images; inches."""

MOST_COLUMNS = 8


def _draw(images: Sequence[Zoomed], spec: TableSpec, subtitle: str) -> Figure:
    """Methods side by side with their details below; or below one another, details beside, when there are many."""
    titles = [title for title, _, _ in images[0].panels]
    across = len(titles) <= MOST_COLUMNS
    sizes = [tuple(SIDE * side / max(image.shape) for side in image.shape) for image in images]
    # Each image takes two pictures along the one axis, each method one along the other.
    along = [height if across else width for height, width in sizes]
    beside = max(width if across else height for height, width in sizes)
    lengths = (sum(2 * (each + GAP) + BETWEEN for each in along), len(titles) * (beside + GAP))
    width, height = lengths[::-1] if across else lengths
    figure = Figure(figsize=(width, height), dpi=300)

    def inches(left: float, top: float) -> tuple[float, float]:
        return left / width, 1 - top / height

    start = 0.0
    for image, (high, wide), side in zip(images, sizes, along, strict=True):
        for p, (_, *pictures) in enumerate(image.panels):
            for d, picture in enumerate(pictures):
                first, second = start + d * (side + GAP), p * (beside + GAP)
                second += (beside - (wide if across else high)) / 2
                left, top = (second, first) if across else (first, second)
                axes = figure.add_axes((*inches(left, top + high), wide / width, high / height))
                _show(axes, picture, image, detail=d == 1)
        centre = start + side + GAP / 2
        name = textwrap.fill(image.name, 26)
        if across:
            figure.text(*inches(-0.08, centre), name, rotation=90, fontsize=7, ha="right", va="center", ma="center")
        else:
            figure.text(*inches(centre, -0.08), name, fontsize=7, ha="center", va="bottom")
        start += 2 * (side + GAP) + BETWEEN
    for p, title in enumerate(titles):
        centre = p * (beside + GAP) + beside / 2
        if across:
            figure.text(*inches(centre, -0.08), textwrap.fill(title, 18), fontsize=8, ha="center", va="bottom")
        else:
            figure.text(*inches(-0.08, centre), textwrap.fill(title, 18), fontsize=8, ha="right", va="center")
    above = max(len(textwrap.wrap(each, 18)) for each in (titles if across else [image.name for image in images]))
    set_title(figure, spec, subtitle, y=1 + (0.2 + 0.14 * above) / height, va="bottom")
    return figure


def _show(axes: Axes, picture: Picture, image: Zoomed, *, detail: bool) -> None:
    """A picture with the frame of its detail, or the detail in such a frame."""
    height, width = image.window[2:] if detail else image.shape
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, linewidth=0.9 if detail else 0.4, color=FRAME if detail else "0.7")
    if not detail:
        top, left, high, wide = image.window
        axes.add_patch(Rectangle((left, top), wide, high, fill=False, edgecolor=FRAME, linewidth=0.9))
