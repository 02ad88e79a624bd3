"""How much masks and their scores move when the same weights start from other noise."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from edgebench.data.adapters import Dataset, open_dataset
from edgebench.data.npz import DAMAGED
from edgebench.errors import DataError
from edgebench.files import digest
from edgebench.report.bootstrap import Floats
from edgebench.report.collect import Collected, Evaluation, SeedRun
from edgebench.report.columns import column_title
from edgebench.report.mask_pictures import Picture, read_sized, shrunk
from edgebench.report.pictures import choose_ids, same_images
from edgebench.report.style import colour, set_title

MOST_IMAGES = 64
"""Of so many images, evenly spaced in the split, the maps are read; scores count for all."""


@dataclass(frozen=True)
class Draws:
    """Predict runs of one set of weights that differ in their noise alone.

    Attributes:
        label: How people read the rows.
        runs: One per draw, two or more.
    """

    label: str
    runs: list[SeedRun]


def determinism(collected: Collected) -> Figure:
    """Spread over draws of the noise: of each image's scores, of its pixels, and one image's mean and spread.

    Rows that share weights and all settings but `noise` belong together; weights trained from several seeds are pooled
    under one label. Scores are the table's columns of its first protocol of masks but HCE, which is a count. A
    pixel's spread is the standard deviation (divided by draws - 1) of its grey level in [0, 1]; an image's is the mean
    over its pixels, of `MOST_IMAGES` images evenly spaced in the split. The image shown is the one of median spread.

    Raises:
        DataError: no rows differ in their noise alone, or a map or the scores of a run are damaged.
    """
    found = find_draws(collected)
    if not found:
        raise DataError(
            f"table '{collected.spec.table}': no two rows share weights and differ in `predict.noise`: there is no "
            f"spread to draw."
        )
    labels = {each.label: [other for other in found if other.label == each.label] for each in found}
    scores = {label: _score_spreads(draws, collected.spec.columns) for label, draws in labels.items()}
    dataset, ids = _images(found)
    chosen = choose_ids(ids, MOST_IMAGES)
    pixels = {
        label: np.array([_pixel_spreads(dataset, draws, chosen) for draws in same]) for label, same in labels.items()
    }
    overall = np.mean([each.mean(axis=0) for each in pixels.values()], axis=0)
    shown = chosen[int(np.argsort(overall)[len(overall) // 2])]

    figure = Figure(figsize=(7.2, 5.0), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.2, 1])
    _boxes(parts[0], scores, pixels)
    _example(parts[1], dataset, shown, {label: same[0] for label, same in labels.items()})
    draws = " or ".join(map(str, sorted({len(each.runs) for each in found})))
    of = f"{len(ids)} images" + (f", pixels of {len(chosen)} of them" if len(chosen) < len(ids) else "")
    set_title(figure, collected.spec, f"{draws} draws of the noise, {of}")
    return figure


def find_draws(collected: Collected) -> list[Draws]:
    """Runs that share weights, images and all settings but `noise`, in the table's order.

    Of several data sets or splits only the first that has such runs is taken.
    """
    found: dict[str, dict[int, tuple[str, SeedRun]]] = {}
    for row in collected.rows:
        for run in row.runs:
            settings = dict(run.record.get("settings", {}))
            noise = settings.pop("noise", None)
            if noise is not None and run.training is not None and run.dataset is not None:
                where = [str(run.dataset[key]) for key in ("folder", "layout", "split")]
                key = digest([run.training["id"], settings, where])
                found.setdefault(key, {}).setdefault(int(noise), (row.label, run))
    several = [list(draws.values()) for draws in found.values() if len(draws) > 1]
    same = [draws for draws in several if same_images(draws[0][1], several[0][0][1])]
    return [Draws(_common([label for label, _ in draws]), [run for _, run in draws]) for draws in same]


def _common(labels: Sequence[str]) -> str:
    """What labels such as `mutual, noise 0` and `mutual, noise 1` have in common between commas."""
    parts = [label.split(", ") for label in labels]
    return ", ".join(part for part in parts[0] if all(part in other for other in parts)) or labels[0]


# Numbers ---------------------------------------------------------------------------------------------


def _images(draws: Sequence[Draws]) -> tuple[Dataset, list[str]]:
    """The data set of the first runs, and its images that every run has a map of."""
    where = draws[0].runs[0].dataset or {}
    dataset = open_dataset(where["layout"], where["folder"], where["split"])
    runs = [run for each in draws for run in each.runs]
    common = set(dataset.ids).intersection(
        *({path.stem for path in (run.predict / "maps").glob("*.png")} for run in runs)
    )
    if not common:
        raise DataError(
            f"{runs[0].predict / 'maps'}: no image of {where['folder']} has a map in every draw of the noise."
        )
    return dataset, sorted(common)


def _score_spreads(same: Sequence[Draws], columns: Sequence[str]) -> dict[str, Floats]:
    """Standard deviation over draws of each image's scores, by column; images of all weights one after another."""
    spreads: dict[str, list[Floats]] = {}
    for draws in same:
        evaluations = [_of_masks(run) for run in draws.runs]
        tables = [_per_image(each) for each in evaluations]
        if any(ids != tables[0][0] for ids, _ in tables):
            raise DataError(f"{evaluations[0].folder}: the draws of the noise were not scored on the same images.")
        for column in columns:
            if all(column in values for _, values in tables) and not column.endswith("hce"):
                spread = np.std([values[column] for _, values in tables], axis=0, ddof=1)
                spreads.setdefault(column, []).append(spread[~np.isnan(spread)])
    return {column: np.concatenate(each) for column, each in spreads.items()}


def _of_masks(run: SeedRun) -> Evaluation:
    found = [each for each in run.evaluations.values() if each.protocol.get("method") == "masks"]
    if not found:
        raise DataError(f"{run.predict}: was not scored by a protocol of masks, so that its scores have no spread.")
    return found[0]


def _per_image(evaluation: Evaluation) -> tuple[list[str], Mapping[str, Floats]]:
    """Ids, and each column of the evaluation per image, (n,)."""
    path, prefix = evaluation.folder / "counts.npz", evaluation.protocol["columns"]
    try:
        with np.load(path, allow_pickle=False) as file:
            names = [name for name in file.files if name not in ("ids", "histograms")]
            return [str(each) for each in file["ids"]], {f"{prefix}_{name}".strip("_"): file[name] for name in names}
    except DAMAGED as error:
        raise DataError(
            f"{path}: not the counts of masks ({error}). Delete the run's folder and run snakemake."
        ) from None


def _pixel_spreads(dataset: Dataset, draws: Draws, ids: Iterable[str]) -> list[float]:
    """Mean over the pixels of each image of their standard deviation over draws."""
    return [float(mean_and_spread(_maps(dataset, draws, each))[1].mean()) for each in ids]


def _maps(dataset: Dataset, draws: Draws, name: str) -> Iterable[Picture]:
    size = dataset.size(name)
    return (read_sized(run.predict, name, size) for run in draws.runs)


def mean_and_spread(maps: Iterable[Picture]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each pixel over several maps, which are read one at a time.

    Args:
        maps: Two to 181 maps, uint8 (H, W).

    Returns:
        Both float32 (H, W), of grey levels in [0, 1]; the deviation divides by the number of maps - 1.
    """
    count = 0
    total = squares = np.zeros((), np.uint32)
    for each in maps:
        levels = each.astype(np.uint32)
        count, total, squares = count + 1, total + levels, squares + levels * levels
    # Whole numbers, so that maps that agree have a spread of exactly 0; of more maps 32 bits would overflow.
    variance = (count * squares - total * total).astype(np.float32) / np.float32(count * (count - 1))
    return total.astype(np.float32) / np.float32(255 * count), np.sqrt(variance) / np.float32(255)


# Drawing ---------------------------------------------------------------------------------------------


def _boxes(figure: SubFigure, scores: Mapping[str, Mapping[str, Floats]], pixels: Mapping[str, Floats]) -> None:
    columns = list(dict.fromkeys(column for each in scores.values() for column in each))
    left, right = figure.subplots(1, 2, width_ratios=[max(len(columns), 2), 1.3])
    width = 0.8 / len(scores)
    for index, label in enumerate(scores):
        shift = (index - (len(scores) - 1) / 2) * width
        places = [columns.index(column) + shift for column in scores[label]]
        _box(left, list(scores[label].values()), places, width, index)
        _box(right, [pixels[label].ravel()], [shift], width, index)
        right.plot([], [], "s", color=colour(index), label=textwrap.fill(label, 40))
    left.set_xticks(range(len(columns)), [textwrap.fill(column_title(column), 10) for column in columns], fontsize=8)
    right.set_xticks([0], ["grey level"], fontsize=8)
    left.set_title("Scores of an image")
    right.set_title("Pixels of an image")
    left.set_ylabel("Standard deviation")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="0.92", linewidth=0.7)
        axes.set_axisbelow(True)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)


def _box(axes: Axes, values: Sequence[Floats], places: Sequence[float], width: float, index: int) -> None:
    line: Any = {"color": colour(index), "linewidth": 1}
    axes.boxplot(
        values, positions=places, widths=0.8 * width, whis=(5, 95), showfliers=False, manage_ticks=False,
        patch_artist=True, boxprops={"facecolor": colour(index), "alpha": 0.35, "edgecolor": colour(index)},
        medianprops={"color": colour(index), "linewidth": 2}, whiskerprops=line, capprops=line,
    )  # fmt: skip


def _example(figure: SubFigure, dataset: Dataset, name: str, draws: Mapping[str, Draws]) -> None:
    """Input and ground truth of an image, and the mean and the spread of its masks."""
    results = {label: mean_and_spread(_maps(dataset, each, name)) for label, each in draws.items()}
    highest = max(1 / 255, *(float(spread.max()) for _, spread in results.values()))
    grid = figure.subplots(1, 2 + 2 * len(results))
    _picture(grid[0], shrunk(dataset.image(name)), "Input")
    _picture(grid[1], shrunk(dataset.mask(name)), "Ground truth")
    for k, (label, (mean, spread)) in enumerate(results.items()):
        _picture(grid[2 + 2 * k], _levels(mean), f"{label}: mean")
        last = grid[3 + 2 * k]
        mapped = last.imshow(_levels(spread / highest) / 255 * highest, cmap="magma", vmin=0, vmax=highest)
        _frame(last, f"{label}: deviation")
    figure.colorbar(mapped, cax=last.inset_axes((1.06, 0, 0.08, 1)))
    grid[0].set_xlabel(textwrap.fill(name, 20), fontsize=8)


def _levels(values: NDArray[np.float32]) -> Picture:
    """Values in [0, 1] as a small picture."""
    return shrunk((255 * values).round().astype(np.uint8))


def _picture(axes: Axes, picture: Picture, title: str) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    _frame(axes, title)


def _frame(axes: Axes, title: str) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, linewidth=0.4, color="0.7")
    axes.set_title(textwrap.fill(title, 18), fontsize=8)
