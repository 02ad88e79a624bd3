"""Pseudo labels of one picture in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebench.errors import DataError
from edgebench.files import atomic_path
from edgebench.methods.trace.extract import Extraction

_KEYS = ("labels", "scores", "taus", "curve", "kept", "mean", "deviation", "shares", "guarded")
_NO_TIME = -1


@dataclass(frozen=True)
class LabelFile:
    """What a file of pseudo labels holds.

    Attributes:
        labels: int8 (h, w) on the grid of tokens: 1 edge, 0 interior, -1 unknown.
        scores: ABDiv, float32 (h, w).
        taus: int64 (levels,), levels of noise that were looked at.
        curve: float64 (levels - 1,), divergences of neighbouring levels.
        kept: The level of `scores`; None for a network without time.
        mean: Of the scores.
        deviation: Of the scores.
        edge: Share of edge.
        interior: Share of interior.
        unknown: Share of neither.
        guarded: Whether the guard replaced an empty interior.
    """

    labels: NDArray[np.int8]
    scores: NDArray[np.float32]
    taus: NDArray[np.int64]
    curve: NDArray[np.float64]
    kept: int | None
    mean: float
    deviation: float
    edge: float
    interior: float
    unknown: float
    guarded: bool


def write_labels(path: str | Path, found: Extraction) -> None:
    """Write an extraction as a compressed .npz, whole or not at all.

    It holds `labels`, `scores`, `taus`, `curve` and `kept` (-1 for a network without time) as in `LabelFile`, `mean`,
    `deviation`, `shares` (edge, interior, unknown) and `guarded`.
    """
    told = found.labels
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            labels=told.labels.numpy(),
            scores=found.scores.numpy(),
            taus=np.array(found.taus, np.int64),
            curve=found.curve.numpy(),
            kept=np.int64(_NO_TIME if found.kept is None else found.kept),
            mean=np.float64(told.mean),
            deviation=np.float64(told.deviation),
            shares=np.array([told.edge, told.interior, told.unknown]),
            guarded=np.bool_(told.guarded),
        )


def read_labels(path: str | Path) -> LabelFile:
    """Read what `write_labels` wrote.

    Raises:
        DataError: the file is missing, damaged or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {key: file[key] for key in _KEYS}
        edge, interior, unknown = (float(each) for each in held["shares"])
        kept = int(held["kept"])
    except Exception as error:  # NumPy, zipfile and zlib raise half a dozen kinds for a damaged file
        raise DataError(
            f"{path}: no readable pseudo labels of TRACE ({error}). Delete the run's folder, then run it again."
        ) from error
    return LabelFile(
        held["labels"],
        held["scores"],
        held["taus"],
        held["curve"],
        None if kept == _NO_TIME else kept,
        float(held["mean"]),
        float(held["deviation"]),
        edge,
        interior,
        unknown,
        bool(held["guarded"]),
    )
