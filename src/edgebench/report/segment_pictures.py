"""Instances and panoptic segments beside one another: what was found, coloured over the photograph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgebench.data.instances import Instances, read_instances
from edgebench.data.panoptic import read_ids
from edgebench.errors import DataError
from edgebench.report.collect import Collected, Row
from edgebench.report.overlay import coloured
from edgebench.report.pictures import choose_ids, draw_grid, rows_on_images
from edgebench.report.style import sections

if TYPE_CHECKING:
    from edgebench.data.adapters import Dataset

MOST = 20
"""So many instances are coloured, those with the highest scores; more would hide one another."""


def segment_grid(collected: Collected) -> Figure:
    """Input, ground truth and each row's instances or panoptic segments (first seed) on a few images.

    Of a table in sections the first is shown. The images are evenly spaced in the split. A colour tells neighbours
    apart and means nothing else; the larger instances lie below the smaller ones.

    Raises:
        DataError: no row names its data set, the rows have no image in common, or a file is damaged.
    """
    parts = sections(collected, [row for row in collected.rows if row.runs])
    title, members = parts[0] if parts else ("", [])
    rows, dataset, common = rows_on_images(collected, members)
    ids = choose_ids(common)
    photographs = {each: dataset.image(each) for each in ids}
    truth = [coloured(photographs[each], _truth(dataset, each, panoptic=_is_panoptic(rows[0]))) for each in ids]
    panels: list[tuple[str, Sequence[NDArray[Any]]]] = [
        ("Input", list(photographs.values())),
        ("Ground truth", truth),
        *((row.label, [coloured(photographs[each], _found(row, each)) for each in ids]) for row in rows),
    ]
    return draw_grid(panels, ids, collected.spec, title)


def _is_panoptic(row: Row) -> bool:
    return (row.runs[0].predict / "panoptic").is_dir()


def _found(row: Row, image: str) -> list[NDArray[np.bool_]]:
    predict = row.runs[0].predict
    if _is_panoptic(row):
        return _segments(predict / "panoptic" / f"{image}.png")
    return _best(read_instances(predict / "instances" / f"{image}.json"))


def _truth(dataset: Dataset, image: str, *, panoptic: bool) -> list[NDArray[np.bool_]]:
    if panoptic:
        ids, _ = dataset.panoptic(image)
        return _split(ids)
    return _best(dataset.instances(image))


def _best(instances: Instances) -> list[NDArray[np.bool_]]:
    kept = sorted((each for each in instances.items if not each.crowd), key=lambda each: -each.score)[:MOST]
    return list(instances._replace(items=kept).masks())


def _segments(path: Path) -> list[NDArray[np.bool_]]:
    if not path.is_file():
        raise DataError(f"{path}: the segments of an image are missing. Delete the run's folder and run snakemake.")
    return _split(read_ids(path))


def _split(ids: NDArray[np.uint32]) -> list[NDArray[np.bool_]]:
    return [ids == each for each in np.unique(ids) if each]
