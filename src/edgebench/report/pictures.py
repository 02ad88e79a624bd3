"""Figures made of images: the maps of all rows, one image under several strengths of guidance, a reveal in steps."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgebench.data.npz import DAMAGED
from edgebench.errors import DataError
from edgebench.metrics.instance_edges import segment_edges
from edgebench.report.bootstrap import Floats
from edgebench.report.collect import Collected, Row, SeedRun, TableSpec
from edgebench.report.style import set_title

if TYPE_CHECKING:
    from edgebench.data.adapters import Dataset

GRID_IMAGES = 4
MOST_FRAMES = 6
MASKED = (0.72, 0.82, 0.90)
"""Pixels not revealed yet: a light blue, which no grey of an edge map is taken for."""


def settings_of(row: Row) -> dict[str, Any]:
    """Settings of the row's predict run; empty where its record has none."""
    settings: dict[str, Any] = row.runs[0].record.get("settings", {})
    return settings


def choose_ids(ids: Sequence[str], count: int = GRID_IMAGES) -> list[str]:
    """`count` of `ids`, evenly spaced, so that nobody picks the flattering ones."""
    ordered = sorted(ids)
    at = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[k] for k in at]


def image_grid(collected: Collected) -> Figure:
    """Input, mean of the annotators, and each row's map (first seed) for a few images; dark is edge.

    Raises:
        DataError: no row names its data set, or the rows have no image in common.
    """
    rows, dataset, common = rows_on_images(collected, collected.rows)
    ids = choose_ids(common)
    panels = [*_references(dataset, ids), *((row.label, [1 - _read_map(row, each) for each in ids]) for row in rows)]
    return draw_grid(panels, ids, collected.spec)


def guidance_strip(collected: Collected) -> Figure:
    """One image: input, mean of the annotators, and its map for each strength of guidance, from weak to strong.

    Raises:
        DataError: no row has a strength of guidance and a data set, or the rows have no image in common.
    """
    guided = [row for row in collected.rows if row.runs and "guidance" in settings_of(row)]
    rows, dataset, common = rows_on_images(
        collected, sorted(guided, key=lambda row: float(settings_of(row)["guidance"]))
    )
    ids = sorted(common)[:1]
    panels = _references(dataset, ids)
    panels += [(f"guidance {settings_of(row)['guidance']:g}", [1 - _read_map(row, ids[0])]) for row in rows]
    return draw_grid(panels, ids, collected.spec)


def reveal_frames(collected: Collected) -> Figure:
    """A reveal in steps: rows are images, columns what was known after a step; of the first row that kept it.

    Raises:
        DataError: no predict run kept its reveal (setting `frames`), or what it kept is damaged.
    """
    kept = [(row, sorted((row.runs[0].predict / "frames").glob("*.npz"))) for row in collected.rows if row.runs]
    row, files = next(((row, files) for row, files in kept if files), (None, []))
    if row is None:
        raise DataError(
            f"table '{collected.spec.table}': no predict run kept how it revealed its maps. Give one of its rows "
            f"`predict.frames: {GRID_IMAGES}`, which keeps the first {GRID_IMAGES} images."
        )
    files = files[:GRID_IMAGES]
    reveals = [_read_reveal(path) for path in files]
    rounds = max(int(order.max()) for order, _ in reveals) + 1
    # Close together at first, when most is revealed.
    steps = np.unique(np.geomspace(1, rounds, min(MOST_FRAMES, rounds)).round().astype(int))
    ids = [path.stem for path in files]
    _, dataset, _ = rows_on_images(collected, [row])
    panels: list[tuple[str, list[NDArray[Any]]]] = [("Input", [dataset.image(each) for each in ids])]
    for step in steps.tolist():
        share = np.mean([(order < step).mean() for order, _ in reveals])
        panels.append(
            (
                f"step {step}: {100 * share:.0f} %",
                [_revealed(order, probability, step) for order, probability in reveals],
            )
        )
    return draw_grid(panels, ids, collected.spec, f"{row.label}; in percent, the pixels revealed by then")


def _revealed(order: NDArray[Any], probability: Floats, steps: int) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of what the first `steps` steps revealed."""
    known = np.repeat(1 - probability[..., None], 3, axis=2)
    shown = np.where((order < steps)[..., None], known, MASKED)
    return (255 * shown).round().astype(np.uint8)


def _read_reveal(path: Path) -> tuple[NDArray[Any], Floats]:
    """Step at which each pixel was revealed, from 0, and its probability then, both (H, W)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["order"], file["probability"].astype(np.float64) / 255
    except DAMAGED as error:
        raise DataError(f"{path}: not a kept reveal ({error}). Delete the run's folder and run snakemake.") from None


def rows_on_images(collected: Collected, rows: Sequence[Row]) -> tuple[list[Row], Dataset, list[str]]:
    """Those of `rows` that were made on the first one's images, their data set, and the images that all have.

    Raises:
        DataError: no row names its data set, or no image was predicted in every row.
    """
    from edgebench.data.adapters import open_dataset

    rows = [row for row in rows if row.runs and row.runs[0].dataset]
    if not rows:
        raise DataError(f"table '{collected.spec.table}': no row names its data set, so no image can be shown.")
    rows = [row for row in rows if same_images(row.runs[0], rows[0].runs[0])]
    where = rows[0].runs[0].dataset or {}
    dataset = open_dataset(where["layout"], where["folder"], where["split"])
    common = set(dataset.ids).intersection(*(_map_ids(row) for row in rows))
    if not common:
        raise DataError(
            f"table '{collected.spec.table}': no image of {where['folder']} ({where['split']}) was predicted in "
            f"every row, for example in {rows[0].runs[0].predict}."
        )
    return rows, dataset, list(common)


def same_images(one: SeedRun, other: SeedRun) -> bool:
    """Whether two runs took their images from one place; how many they took may differ."""
    ours, theirs = one.dataset or {}, other.dataset or {}
    return all(ours[key] == theirs[key] for key in ("folder", "layout", "split"))


def _references(dataset: Dataset, ids: Sequence[str]) -> list[tuple[str, list[NDArray[Any]]]]:
    """The panels before the methods': input and, where there is one, the truth: the annotators' mean, or borders."""
    panels: list[tuple[str, list[NDArray[Any]]]] = [("Input", [dataset.image(each) for each in ids])]
    try:
        annotators = [1 - np.mean(np.stack(dataset.boundaries(each)), axis=0) for each in ids]
        panels.append(("Annotators", annotators))
    except DataError:
        try:
            borders = [1.0 - segment_edges(dataset.panoptic(each)[0]) for each in ids]
            panels.append(("Borders of segments", borders))
        except DataError:
            pass  # a folder of one's own images has neither, and the maps are still worth seeing
    return panels


def _map_ids(row: Row) -> set[str]:
    """Images of which the row's predict run kept something, be it a map, instances or panoptic segments."""
    folder = row.runs[0].predict
    return {path.stem for kind in ("maps/*.png", "instances/*.json", "panoptic/*.png") for path in folder.glob(kind)}


def _read_map(row: Row, image: str) -> Floats:
    return read_levels(row.runs[0].predict, image) / 255


def read_levels(predict: Path, image: str) -> NDArray[np.uint8]:
    """The map of an image as its predict run wrote it, uint8 (H, W).

    Raises:
        DataError: it is missing or damaged.
    """
    from PIL import Image

    path = predict / "maps" / f"{image}.png"
    try:
        with Image.open(path) as file:
            return np.asarray(file.convert("L"))
    except OSError as error:
        raise DataError(f"{path}: not a readable PNG ({error}). Delete the run's folder and run snakemake.") from None


def draw_grid(
    panels: Sequence[tuple[str, Sequence[NDArray[Any]]]], ids: Sequence[str], spec: TableSpec, subtitle: str = ""
) -> Figure:
    """A grid of images: methods side by side, or below one another when there are many.

    Args:
        panels: Title and one image per id: uint8 (H, W, 3), or float (H, W) in [0, 1] shown as grey.
        ids: Names of the images.
        spec: The table's plan, for the title.
        subtitle: A line below the title.
    """
    across = len(panels) <= 8
    rows, columns = (len(ids), len(panels)) if across else (len(panels), len(ids))
    height, width = np.mean([image.shape[:2] for image in panels[0][1]], axis=0)
    side = 1.7 if len(ids) > 1 else 2.3
    figure = Figure(figsize=(side * columns + 0.9, side * height / width * rows + 0.9), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for p, (title, images) in enumerate(panels):
        for k, (name, image) in enumerate(zip(ids, images, strict=True)):
            axes = grid[k, p] if across else grid[p, k]
            axes.imshow(image, cmap="gray", vmin=0, vmax=1 if image.dtype != np.uint8 else 255)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, linewidth=0.4, color="0.7")
            top, left = (title, name) if across else (name, title)
            if (k if across else p) == 0:
                axes.set_title(textwrap.fill(top, 18), fontsize=8)
            if (p if across else k) == 0:
                axes.set_ylabel(textwrap.fill(left, 16), fontsize=8, rotation=0, ha="right", va="center")
    set_title(figure, spec, subtitle)
    return figure
