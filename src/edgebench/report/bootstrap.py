"""Bootstrap over images: how far a number could move with other images of the same kind.

Efron & Tibshirani, An Introduction to the Bootstrap (1993), percentile intervals. Every column is computed
again from the per-image counts or values of resampled images, not from resampled averages, because ODS, AP, the
greatest F and E of masks and panoptic quality are not means over images.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebench.data.npz import DAMAGED
from edgebench.errors import DataError
from edgebench.files import digest
from edgebench.metrics.edges.scores import average_precision, f_measure, ods_f, recall_precision
from edgebench.metrics.masks import PROTOCOLS, MaskProtocol, image_curves
from edgebench.metrics.panoptic import resampled_quality
from edgebench.report.collect import Evaluation, Row

RESAMPLES = 1000
LEVEL = 0.95
EDGE_COLUMNS = ("ods", "ois", "ap")

Floats = NDArray[np.float64]
Counts = tuple[Floats, Floats, Floats, Floats]
"""cntR, sumR, cntP, sumP, each (n, T)."""
Resampled = tuple[list[str], dict[str, Floats]]
"""Image ids, and values over the resamples, (B,), by their names."""


def draw_weights(ids: list[str], resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """How often each image is drawn in each resample, (resamples, n).

    The draw depends on the ids alone, so that rows scored on the same images share it: that makes differences
    between them paired.
    """
    generator = np.random.default_rng([seed, int(digest(ids)[:12], 16)])
    n = len(ids)
    return generator.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def interval(values: Floats) -> tuple[float, float]:
    """The central 95 % of `values`; NaN, which resamples without a score have, is passed over."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(values[~np.isnan(values)], [tail, 100 - tail])
    return float(low), float(high)


def resample_edges(thresholds: Floats, counts: Counts, weights: Floats) -> dict[str, Floats]:
    """ODS, OIS and AP of resampled images.

    Args:
        thresholds: (T,), ascending.
        counts: Counts per image and threshold, each (n, T).
        weights: How often each image is drawn, (B, n).

    Returns:
        `ods`, `ois`, `ap`, each (B,).
    """
    n, T = counts[0].shape
    pooled = np.moveaxis((weights @ np.concatenate(counts, axis=1)).reshape(-1, 4, T), 1, 0)
    best = f_measure(*recall_precision(*counts)).argmax(axis=1)
    picked = weights @ np.stack([each[np.arange(n), best] for each in counts], axis=1)
    curves = zip(*recall_precision(*pooled), strict=True)
    return {
        "ods": ods_f(thresholds, *pooled),
        "ois": f_measure(*recall_precision(*picked.T)),
        "ap": np.array([average_precision(recall, precision) for recall, precision in curves]),
    }


def resample_masks(
    values: dict[str, Floats], histograms: NDArray[np.integer], protocol: MaskProtocol, weights: Floats
) -> dict[str, Floats]:
    """The set's scores of resampled images.

    Args:
        values: Each metric of n images, (n,); NaN where it is not defined.
        histograms: (n, 2, 256), see `image_curves`.
        protocol: With which conventions the images were scored.
        weights: How often each image is drawn, (B, n).

    Returns:
        Each metric, (B,), as `set_scores` gives it for the images drawn; NaN where none of them defines it.
    """
    resampled = {name: weighted_mean(column, weights) for name, column in values.items()}
    for letter, curves in image_curves(histograms, protocol).items():
        mean = weighted_mean(curves, weights)
        resampled[f"max_{letter}"], resampled[f"mean_{letter}"] = mean.max(axis=1), mean.mean(axis=1)
    return resampled


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Means (B, ...) over images (n, ...) drawn as `weights` (B, n) say; images of NaN are passed over."""
    known = ~np.isnan(values.reshape(len(values), -1)[:, 0])
    counted = weights[:, known].sum(axis=1)
    counted[counted == 0] = np.nan
    return ((weights[:, known] @ values[known]).T / counted).T


def read_counts(folder: Path) -> tuple[list[str], Floats, Counts]:
    """Ids, thresholds (T,) and counts (n, T) of an evaluate run.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with np.load(folder / "counts.npz", allow_pickle=False) as file:
            cntR, sumR, cntP, sumP = (file[name].astype(np.float64) for name in ("cntR", "sumR", "cntP", "sumP"))
            return [str(each) for each in file["ids"]], file["thresholds"], (cntR, sumR, cntP, sumP)
    except DAMAGED as error:
        raise DataError(
            f"{folder / 'counts.npz'}: not the counts of edges ({error}). Delete the folder and run snakemake again."
        ) from None


@dataclass
class Bootstrap:
    """Resampled columns of evaluate runs; each run is read and resampled once."""

    resamples: int = RESAMPLES
    seed: int = 0
    _columns: dict[Path, tuple[list[str], dict[str, Floats]]] = field(default_factory=dict)

    def evaluation(self, evaluation: Evaluation) -> tuple[list[str], dict[str, Floats]]:
        """Image ids, and each column of the run over the resamples, (B,).

        Raises:
            DataError: the run left no per-image numbers, or they are not those of its scores.
        """
        folder = evaluation.folder
        if folder not in self._columns:
            self._columns[folder] = self._read(evaluation)
        return self._columns[folder]

    def _read(self, evaluation: Evaluation) -> tuple[list[str], dict[str, Floats]]:
        folder = evaluation.folder
        readers = {
            "masks": self._read_masks,
            "instances": self._read_instances,
            "panoptic": self._read_panoptic,
            "instance_edges": self._read_instance_edges,
        }
        try:
            if reader := readers.get(evaluation.protocol.get("method", "")):
                ids, resampled = reader(folder, evaluation.protocol)
                prefix = evaluation.protocol["columns"]
                columns = {f"{prefix}_{name}".strip("_"): each for name, each in resampled.items()}
            elif (folder / "counts.npz").is_file():
                ids, thresholds, counts = read_counts(folder)
                resampled = resample_edges(thresholds, counts, draw_weights(ids, self.resamples, self.seed))
                columns = {
                    column: resampled[kind]
                    for column in evaluation.columns
                    for kind in EDGE_COLUMNS
                    if column.endswith(f"_{kind}")
                }
            else:
                with np.load(folder / "per_image.npz", allow_pickle=False) as file:
                    ids = [str(each) for each in file["ids"]]
                    weights = draw_weights(ids, self.resamples, self.seed)
                    columns = {name: weighted_mean(file[name], weights) for name in file.files if name != "ids"}
        except DAMAGED as error:
            raise DataError(
                f"{folder}: the per-image numbers of this run cannot be read ({error}). "
                f"Delete the folder and run snakemake again."
            ) from None
        if len(ids) != evaluation.n_images:
            raise DataError(
                f"{folder}: scores.json speaks of {evaluation.n_images} images, the per-image numbers of "
                f"{len(ids)}. Delete the folder and run snakemake again."
            )
        return ids, columns

    def _read_masks(self, folder: Path, protocol: dict[str, Any]) -> Resampled:
        with np.load(folder / "counts.npz", allow_pickle=False) as file:
            ids = [str(each) for each in file["ids"]]
            values = {name: file[name] for name in file.files if name not in ("ids", "histograms")}
            weights = draw_weights(ids, self.resamples, self.seed)
            return ids, resample_masks(values, file["histograms"], PROTOCOLS[protocol["rule"]], weights)

    def _read_instances(self, folder: Path, protocol: dict[str, Any]) -> Resampled:
        from edgebench.metrics.instance_matches import Matches, resampled_scores

        with np.load(folder / "counts.npz", allow_pickle=False) as file:
            ids = [str(each) for each in file["ids"]]
            matches = Matches(len(ids), **{name: file[name] for name in file.files if name != "ids"})
        return ids, resampled_scores(matches, draw_weights(ids, self.resamples, self.seed))

    def _read_panoptic(self, folder: Path, protocol: dict[str, Any]) -> Resampled:
        with np.load(folder / "counts.npz", allow_pickle=False) as file:
            ids = [str(each) for each in file["ids"]]
            counts = {name: file[name] for name in ("iou", "tp", "fp", "fn")}
            return ids, resampled_quality(counts, file["things"], draw_weights(ids, self.resamples, self.seed))

    def _read_instance_edges(self, folder: Path, protocol: dict[str, Any]) -> Resampled:
        """The threshold at which clDice cuts the maps stays that of all images."""
        ids, thresholds, counts = read_counts(folder)
        weights = draw_weights(ids, self.resamples, self.seed)
        with np.load(folder / "counts.npz", allow_pickle=False) as file:
            covered = {name: weighted_mean(file[name], weights) for name in ("cldice", "cldice_plain")}
        return ids, resample_edges(thresholds, counts, weights) | covered

    def row(self, row: Row, column: str) -> tuple[list[str], Floats] | None:
        """Image ids and `column` of a row over the resamples, (B,), averaged over seeds.

        None when the column has no per-image numbers (time), or the seeds were scored on different images. Members
        that were scored on different images are resampled each by itself, those on the same ones together.
        """
        if row.members:
            return self._members(row, column)
        found = []
        for run in row.distinct_runs:
            evaluation = run.evaluation_of(column)
            if evaluation is None:
                return None
            ids, columns = self.evaluation(evaluation)
            if column not in columns:
                return None
            found.append((ids, columns[column]))
        if not found or any(ids != found[0][0] for ids, _ in found):
            return None
        return found[0][0], np.mean([values for _, values in found], axis=0)

    def _members(self, row: Row, column: str) -> tuple[list[str], Floats] | None:
        found = [self.row(member, column) for member in row.members]
        resampled = [each for each in found if each is not None]
        if len(resampled) < len(found):
            return None
        values = [each for _, each in resampled]
        if row.combines == "spread":
            if any(len(member.distinct_runs) > 1 for member in row.members):  # the mean of spreads, not this
                return None
            return resampled[0][0], np.std(values, axis=0, ddof=1)
        # Different images of the same names would be drawn alike; moved against one another, the draws are independent.
        sets = [member.images for member in row.members]
        moved = [np.roll(each, sets.index(own)) for own, each in zip(sets, values, strict=True)]
        of_sets = dict(zip(sets, (ids for ids, _ in resampled), strict=True))
        ids = [f"{sets.index(own)}/{each}" for own, images in of_sets.items() for each in images]
        return ids, np.mean(moved, axis=0)
