"""Bootstrap over images: how far a number could move with other images of the same kind.

Efron & Tibshirani, An Introduction to the Bootstrap (1993), percentile intervals. Every column is computed
again from the per-image counts or values of resampled images, not from resampled averages, because ODS and AP
are not means over images.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebench.errors import DataError
from edgebench.files import digest
from edgebench.report.collect import Evaluation, Row

RESAMPLES = 1000
LEVEL = 0.95
EDGE_COLUMNS = ("ods", "ois", "ap")

Floats = NDArray[np.float64]
Counts = tuple[Floats, Floats, Floats, Floats]
"""cntR, sumR, cntP, sumP, each (..., T)."""


def draw_weights(ids: list[str], resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """How often each image is drawn in each resample, (resamples, n).

    The draw depends on the ids alone, so that rows scored on the same images share it: that makes differences
    between them paired.
    """
    generator = np.random.default_rng([seed, int(digest(ids)[:12], 16)])
    n = len(ids)
    return generator.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def interval(values: Floats) -> tuple[float, float]:
    """The central 95 % of `values`."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def _precision_recall(counts: Counts) -> tuple[Floats, Floats]:
    cntR, sumR, cntP, sumP = counts
    return cntP / (sumP + (sumP == 0)), cntR / (sumR + (sumR == 0))


def _f(P: Floats, R: Floats) -> Floats:
    return 2 * P * R / (P + R + ((P + R) == 0))


def ods_f(counts: Counts) -> Floats:
    """Best F over the thresholds, each count (B, T) summed over images; returns (B,).

    As in the BSDS benchmark, precision and recall are interpolated at 100 points between neighbouring
    thresholds. F grows with both, so a stretch whose larger precision and recall together cannot beat the
    best threshold is left out; the result is the same.
    """
    P, R = _precision_recall(counts)
    best = _f(P, R).max(axis=-1)
    bound = _f(np.maximum(P[:, :-1], P[:, 1:]), np.maximum(R[:, :-1], R[:, 1:]))
    b, k = np.nonzero(bound > best[:, None])
    step = np.linspace(0, 1, 100)
    between = _f(
        P[b, k, None] + (P[b, k + 1] - P[b, k])[:, None] * step,
        R[b, k, None] + (R[b, k + 1] - R[b, k])[:, None] * step,
    )
    np.maximum.at(best, b, between.max(axis=-1, initial=0))
    return best


def _average_precision(P: Floats, R: Floats) -> float:
    recall, first = np.unique(R, return_index=True)
    if len(recall) < 2:
        return 0.0
    return float(np.interp(np.linspace(0, 1, 101), recall, P[first], left=0, right=0).sum() * 0.01)


def resample_edges(counts: Counts, weights: Floats) -> dict[str, Floats]:
    """ODS, OIS and AP of resampled images.

    Args:
        counts: Counts per image and threshold, each (n, T).
        weights: How often each image is drawn, (B, n).

    Returns:
        `ods`, `ois`, `ap`, each (B,).
    """
    n, T = counts[0].shape
    summed = (weights @ np.concatenate(counts, axis=1)).reshape(len(weights), 4, T)
    pooled: Counts = (summed[:, 0], summed[:, 1], summed[:, 2], summed[:, 3])
    P, R = _precision_recall(pooled)
    own = _f(*_precision_recall(counts)).argmax(axis=1)
    picked = weights @ np.stack([each[np.arange(n), own] for each in counts], axis=1)
    ois = _f(*_precision_recall((picked[:, 0], picked[:, 1], picked[:, 2], picked[:, 3])))
    ap = np.array([_average_precision(p, r) for p, r in zip(P, R, strict=True)])
    return {"ods": ods_f(pooled), "ois": ois, "ap": ap}


def read_counts(folder: Path) -> tuple[list[str], Floats, Counts]:
    """Ids, thresholds (T,) and counts (n, T) of an evaluate run."""
    with np.load(folder / "counts.npz", allow_pickle=False) as file:
        counts = tuple(file[name].astype(np.float64) for name in ("cntR", "sumR", "cntP", "sumP"))
        cntR, sumR, cntP, sumP = (np.broadcast_to(_two_axes(each), counts[0].shape) for each in counts)
        return [str(each) for each in file["ids"]], file["thresholds"], (cntR, sumR, cntP, sumP)


def _two_axes(array: Floats) -> Floats:
    # The number of annotated pixels does not depend on the threshold; it may be stored once per image.
    return array if array.ndim == 2 else array[:, None]


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
        try:
            if (folder / "counts.npz").is_file():
                ids, _, counts = read_counts(folder)
                resampled = resample_edges(counts, draw_weights(ids, self.resamples, self.seed))
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
                    columns = {name: weights @ file[name] / len(ids) for name in file.files if name != "ids"}
        except (OSError, ValueError, KeyError) as error:
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

    def row(self, row: Row, column: str) -> tuple[list[str], Floats] | None:
        """Image ids and `column` of a row over the resamples, (B,), averaged over seeds.

        None when the column has no per-image numbers (time), or the seeds were scored on different images.
        """
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
