"""Evaluating masks: from pairs of prediction and ground truth to scores and their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgebench.data.masks import kept_skeleton, pair_masks, read_mask, resize_mask
from edgebench.errors import ConfigError, DataError
from edgebench.files import atomic_path, write_json
from edgebench.metrics.masks import (
    METRICS,
    PROTOCOLS,
    MaskProtocol,
    MaskScores,
    mask_skeleton,
    opencv,
    score_mask,
    set_scores,
)
from edgebench.plan.runs import EVALUATE_VERSION
from edgebench.progress import track
from edgebench.stages.processes import in_processes


class MaskItem(NamedTuple):
    """One image to evaluate. The two readers must be picklable when more than one process is used.

    Attributes:
        id: The image.
        read_prediction: Gives the prediction, float64 (H, W) in [0, 1].
        read_truth: Gives the ground truth, float64 (H, W) in [0, 1].
        prediction_name: What errors call the prediction; usually its file.
        truth_name: What errors call the ground truth.
    """

    id: str
    read_prediction: Callable[[], NDArray[np.float64]]
    read_truth: Callable[[], NDArray[np.float64]]
    prediction_name: str = "the prediction"
    truth_name: str = "the ground truth"


@dataclass(frozen=True)
class MaskEvaluation:
    """Scores of n images. Of each image its scores and 2 KiB of counts are held, nothing else.

    Attributes:
        protocol: How they were scored.
        ids: n image ids.
        per_image: n times each of `METRICS`; None where a metric is not defined for the image.
        histograms: int32 (n, 2, 256), pixels of background and foreground by level; `f_curve` and `e_curve`
            make the curves of them.
        without_prediction: Ids of masks that were passed over for want of a prediction.
        without_truth: Ids of predictions that were passed over for want of a mask.
    """

    protocol: MaskProtocol
    ids: list[str]
    per_image: list[dict[str, float | None]]
    histograms: NDArray[np.int32]
    without_prediction: list[str] = field(default_factory=list)
    without_truth: list[str] = field(default_factory=list)

    def scores(self) -> dict[str, float | None]:
        """Each of `METRICS` over the set, see `set_scores`."""
        return set_scores(self.per_image, self.histograms, self.protocol)


def evaluate_folders(
    predictions: Path,
    ground_truth: Path,
    protocol: Literal["standard", "diffdis"] = "standard",
    jobs: int = 1,
    skip_missing: bool = False,
    skeletons: Path | None = None,
) -> MaskEvaluation:
    """Evaluate a folder of predicted masks against a folder of masks.

    Args:
        predictions: Folder of `<id>.png` and its like, see `read_mask`.
        ground_truth: Folder of masks likewise.
        protocol: `standard` or `diffdis`.
        jobs: Processes; the result does not depend on it.
        skip_missing: Go on without images that only one folder has; the result names them.
        skeletons: Folder that keeps the skeletons of the ground truth; None draws them each time.

    Raises:
        DataError: a folder or a file is missing or damaged, or sizes differ that must not.
        ConfigError: an option is out of range.
        EdgebenchError: OpenCV is missing or of another version, or a process died.
    """
    found = pair_masks(predictions, ground_truth, skip_missing)
    items = [
        MaskItem(
            pair.id,
            partial(read_mask, pair.prediction),
            partial(read_mask, pair.truth),
            str(pair.prediction),
            str(pair.truth),
        )
        for pair in found.pairs
    ]
    evaluation = evaluate_items(items, mask_protocol(protocol), jobs, skeletons)
    return replace(evaluation, without_prediction=found.without_prediction, without_truth=found.without_truth)


def mask_protocol(name: str) -> MaskProtocol:
    """The protocol of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"protocol: {name!r} is not one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def evaluate_items(
    items: Iterable[MaskItem], protocol: MaskProtocol, jobs: int = 1, skeletons: Path | None = None
) -> MaskEvaluation:
    """Evaluate images that are read one at a time, in the order given.

    Args:
        items: What to evaluate.
        protocol: How.
        jobs: Processes; with 1 everything happens in this one. At most `2 * jobs` images are under way.
        skeletons: Folder that keeps the skeletons of the ground truth; None draws them each time.

    Raises:
        DataError: there is no item, sizes differ and the protocol does not resize, or a reader raised it.
        ConfigError: `jobs` is below 1.
        EdgebenchError: OpenCV is missing or of another version, or a process died.
    """
    if jobs < 1:
        raise ConfigError(f"jobs: at least 1 is needed, not {jobs}.")
    opencv()  # before the first image is read, not after
    total = len(items) if isinstance(items, Sized) else None
    evaluate = partial(_evaluate, protocol=protocol, skeletons=skeletons)
    if jobs > 1:
        # Compile once here: the processes then load the compiled code instead of all compiling it together.
        score_mask(np.eye(4), np.eye(4), protocol)
    results = in_processes(evaluate, items, jobs) if jobs > 1 else map(evaluate, items)
    ids, per_image, histograms = [], [], []
    for key, scores in track(results, f"Evaluating ({protocol.name})", total=total):
        ids.append(key)
        per_image.append(scores.values)
        histograms.append(scores.histogram)
    if not ids:
        raise DataError("There is no image to evaluate.")
    return MaskEvaluation(protocol, ids, per_image, np.stack(histograms))


def write_scores(path: str | Path, evaluation: MaskEvaluation) -> None:
    """Write the scores and how they were made as JSON (`dataset per_image n_images protocol opencv ...`)."""
    write_json(
        path,
        {
            "dataset": evaluation.scores(),
            "n_images": len(evaluation.ids),
            "without_prediction": evaluation.without_prediction,
            "without_truth": evaluation.without_truth,
            "protocol": asdict(evaluation.protocol),
            "opencv": opencv().__version__,
            "version": EVALUATE_VERSION["masks"],
            "per_image": dict(zip(evaluation.ids, evaluation.per_image, strict=True)),
        },
    )


def write_counts(path: str | Path, evaluation: MaskEvaluation) -> None:
    """Write scores and counts per image as a compressed .npz, from which curves and spreads can be computed.

    Keys: ids (n,), each of `METRICS` (n,) with NaN where it is not defined, histograms (n, 2, 256).
    """
    columns: dict[str, Any] = {
        name: np.array([each[name] for each in evaluation.per_image], np.float64) for name in METRICS
    }
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        # A file object, because savez appends .npz to a name that lacks it.
        np.savez_compressed(file, ids=np.array(evaluation.ids), histograms=evaluation.histograms, **columns)


def _evaluate(item: MaskItem, protocol: MaskProtocol, skeletons: Path | None) -> tuple[str, MaskScores]:
    prediction, truth = item.read_prediction(), item.read_truth()
    if prediction.shape != truth.shape:
        if not protocol.resize:
            raise DataError(
                f"{item.prediction_name}: {prediction.shape[0]} x {prediction.shape[1]} pixels (height x width), "
                f"but {item.truth_name} has {truth.shape[0]} x {truth.shape[1]}. Save the prediction of image "
                f"{item.id} at the size of its mask."
            )
        prediction = resize_mask(prediction, truth.shape)
    if not protocol.binarise and 0 < truth.max() <= 1 / 255:
        raise DataError(
            f"{item.truth_name}: its brightest value is 1 of 255, so no pixel would count. Write foreground as 255."
        )
    draw = partial(kept_skeleton, folder=skeletons, draw=mask_skeleton) if skeletons else mask_skeleton
    return item.id, score_mask(prediction, truth, protocol, draw)
