"""Evaluating edge maps: from pairs of map and annotations to counts, scores and their files."""

# ruff: noqa: N815 - cntR and its like are the benchmark's own names
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from edgebench.data.edge_maps import pair_folders, read_boundaries, read_edge_map
from edgebench.errors import ConfigError, DataError
from edgebench.files import atomic_path, write_json
from edgebench.metrics.edges import ImageCounts, average_crispness, count_image, dollar_nms, edge_scores
from edgebench.plan.runs import EVALUATE_VERSION
from edgebench.progress import track
from edgebench.stages.processes import in_processes

LARGEST_DISTANCE = 0.1  # beyond it nearly everything could be matched with everything

Protocol = Literal["seval", "ceval"]
Nms = Literal["none", "dollar"]


@dataclass(frozen=True)
class DollarNms:
    """Parameters of the non-maximum suppression; see `edgebench.metrics.edges.dollar_nms`."""

    radius: int = 1
    border: int = 5
    multiplier: float = 1.01
    smoothing: int = 1


@dataclass(frozen=True)
class EdgeProtocol:
    """What is done to a map before it is matched, and how far apart a pair may be.

    SEval suppresses non-maxima, unless told otherwise, and thins after thresholding. CEval does neither, so
    that thick lines cost precision.

    Attributes:
        name: `seval` or `ceval`.
        nms: Parameters of the suppression, or None for none.
        max_distance: Largest distance of a pair, as a fraction of the image diagonal.
        thresholds: Number of thresholds.
    """

    name: Protocol
    nms: DollarNms | None
    max_distance: float = 0.0075
    thresholds: int = 99

    @classmethod
    def of_plan(cls, protocol: Mapping[str, Any]) -> EdgeProtocol:
        """That of a plan file; the two protocols of the benchmark differ in suppression and thinning alone."""
        return cls(
            name="seval" if protocol["thin"] else "ceval",
            nms=DollarNms(**protocol["nms"]) if protocol["nms"] else None,
            max_distance=protocol["max_distance"],
            thresholds=protocol["thresholds"],
        )

    @property
    def thin(self) -> bool:
        """Whether lines are thinned after thresholding."""
        return self.name == "seval"

    def record(self) -> dict[str, Any]:
        """What is written beside every score."""
        return {
            "protocol": self.name,
            "nms": {"name": "dollar", **asdict(self.nms)} if self.nms else {"name": "none"},
            "thin": self.thin,
            "max_distance": self.max_distance,
            "thresholds": self.thresholds,
        }


def edge_protocol(
    name: Protocol,
    nms: Nms | None = None,
    max_distance: float = 0.0075,
    thresholds: int = 99,
) -> EdgeProtocol:
    """The protocol of that name, with its usual suppression unless `nms` says otherwise.

    Args:
        name: `seval` (non-maximum suppression, thinning) or `ceval` (the map as it is).
        nms: `dollar`, `none`, or None for the protocol's own: `dollar` for seval, `none` for ceval.
        max_distance: Fraction of the diagonal; 0.0075 for BSDS500, 0.011 for NYUD.
        thresholds: Number of thresholds, 99 in the benchmark.

    Raises:
        ConfigError: a value is not one of those above.
    """
    if name not in get_args(Protocol):
        raise ConfigError(f"protocol: {name!r} is not one of {', '.join(get_args(Protocol))}.")
    if nms is not None and nms not in get_args(Nms):
        raise ConfigError(f"nms: {nms!r} is not one of {', '.join(get_args(Nms))}.")
    if not 0 <= max_distance <= LARGEST_DISTANCE:
        raise ConfigError(
            f"max-distance: {max_distance:g} is a fraction of the image diagonal, 0 to {LARGEST_DISTANCE:g}; "
            f"0.0075 on BSDS500."
        )
    if thresholds < 1:
        raise ConfigError(f"thresholds: at least 1 is needed, not {thresholds}.")
    suppressed = nms == "dollar" or (nms is None and name == "seval")
    return EdgeProtocol(name, DollarNms() if suppressed else None, max_distance, thresholds)


class EdgeItem(NamedTuple):
    """One image to evaluate. The two readers must be picklable when more than one process is used.

    Attributes:
        id: The image.
        read_map: Gives the predicted map, float64 (H, W) in [0, 1].
        read_annotators: Gives the annotators' masks, bool (H, W) each.
        map_name: What errors call the map; usually its file.
        truth_name: What errors call the annotations.
    """

    id: str
    read_map: Callable[[], NDArray[np.float64]]
    read_annotators: Callable[[], list[NDArray[np.bool_]]]
    map_name: str = "the edge map"
    truth_name: str = "the ground truth"


@dataclass(frozen=True)
class EdgeEvaluation:
    """Counts and crispness of n images over T thresholds and at most A annotators.

    Attributes:
        protocol: How they were counted.
        ids: n image ids.
        thresholds: float64 (T,).
        cntR: int64 (n, T); likewise sumR, cntP, sumP (see `ImageCounts`).
        cntR_per_annotator: int64 (n, T, A), -1 where an image has fewer annotators.
        sumR_per_annotator: int64 (n, A), -1 likewise.
        ac: float64 (n,), crispness of the raw maps.
    """

    protocol: EdgeProtocol
    ids: list[str]
    thresholds: NDArray[np.float64]
    cntR: NDArray[np.int64]
    sumR: NDArray[np.int64]
    cntP: NDArray[np.int64]
    sumP: NDArray[np.int64]
    cntR_per_annotator: NDArray[np.int64]
    sumR_per_annotator: NDArray[np.int64]
    ac: NDArray[np.float64]

    def scores(self) -> dict[str, dict[str, float]]:
        """`ods`, `ois`, `ap`, `r50` as `edge_scores` gives them, and `ac`: value, the mean over images."""
        scores = edge_scores(self.thresholds, self.cntR, self.sumR, self.cntP, self.sumP)
        return {**scores, "ac": {"value": float(self.ac.mean())}}


def evaluate_folders(
    predictions: Path,
    ground_truth: Path,
    protocol: Protocol = "seval",
    nms: Nms | None = None,
    max_distance: float = 0.0075,
    thresholds: int = 99,
    jobs: int = 1,
) -> EdgeEvaluation:
    """Evaluate a folder of edge maps against a folder of annotations.

    Args:
        predictions: Folder of `<id>.png`, `.npy` or ucm2 `.mat`.
        ground_truth: Folder of `<id>.mat`, `<id>.png` or `<id>/<annotator>.png`.
        protocol: `seval` or `ceval`.
        nms: `dollar`, `none`, or None for the protocol's own.
        max_distance: Largest distance of a pair, as a fraction of the diagonal.
        thresholds: Number of thresholds.
        jobs: Processes; the result does not depend on it.

    Raises:
        DataError: a folder or a file is missing or damaged, the sets of images or their sizes differ.
        ConfigError: an option is out of range.
    """
    settings = edge_protocol(protocol, nms, max_distance, thresholds)
    items = [
        EdgeItem(
            pair.id,
            partial(read_edge_map, pair.prediction),
            partial(read_boundaries, pair.truth),
            str(pair.prediction),
            str(pair.truth),
        )
        for pair in pair_folders(predictions, ground_truth)
    ]
    return evaluate_items(items, settings, jobs)


def evaluate_items(items: Iterable[EdgeItem], protocol: EdgeProtocol, jobs: int = 1) -> EdgeEvaluation:
    """Evaluate images that are read one at a time, in the order given.

    Args:
        items: What to evaluate.
        protocol: How.
        jobs: Processes; with 1 everything happens in this one. At most `2 * jobs` images are under way.

    Raises:
        DataError: there is no item, a map and its annotations differ in size, or a reader raised it.
        ConfigError: `jobs` is below 1.
        EdgebenchError: a process died.
    """
    if jobs < 1:
        raise ConfigError(f"jobs: at least 1 is needed, not {jobs}.")
    total = len(items) if isinstance(items, Sized) else None
    evaluate = partial(_evaluate, protocol=protocol)
    if jobs > 1:
        # Compile once here: the processes then load the compiled code instead of all compiling it together.
        evaluate(EdgeItem("", lambda: np.ones((1, 1)), lambda: [np.ones((1, 1), bool)]))
    results = in_processes(evaluate, items, jobs) if jobs > 1 else map(evaluate, items)
    ids, counts, crispness = [], [], []
    for key, image_counts, ac in track(results, f"Evaluating ({protocol.name})", total=total):
        ids.append(key)
        counts.append(image_counts)
        crispness.append(ac)
    if not ids:
        raise DataError("There is no image to evaluate.")

    most = max(c.sumR_per_annotator.size for c in counts)
    shape = (len(ids), counts[0].thresholds.size, most)
    cntR_per_annotator = np.full(shape, -1, np.int64)
    sumR_per_annotator = np.full((len(ids), most), -1, np.int64)
    for index, c in enumerate(counts):
        cntR_per_annotator[index, :, : c.sumR_per_annotator.size] = c.cntR_per_annotator
        sumR_per_annotator[index, : c.sumR_per_annotator.size] = c.sumR_per_annotator
    return EdgeEvaluation(
        protocol=protocol,
        ids=ids,
        thresholds=counts[0].thresholds,
        cntR=np.stack([c.cntR for c in counts]),
        sumR=np.stack([c.sumR for c in counts]),
        cntP=np.stack([c.cntP for c in counts]),
        sumP=np.stack([c.sumP for c in counts]),
        cntR_per_annotator=cntR_per_annotator,
        sumR_per_annotator=sumR_per_annotator,
        ac=np.array(crispness),
    )


def write_scores(path: str | Path, evaluation: EdgeEvaluation) -> None:
    """Write the scores and how they were made as JSON (`ods ois ap r50 ac n_images protocol ...`)."""
    write_json(
        path,
        {
            **evaluation.scores(),
            "n_images": len(evaluation.ids),
            **evaluation.protocol.record(),
            "version": EVALUATE_VERSION["edges"],
        },
    )


def write_counts(path: str | Path, evaluation: EdgeEvaluation) -> None:
    """Write the counts as a compressed .npz, from which every score and its spread can be computed again.

    Keys: ids (n,), thresholds (T,), cntR sumR cntP sumP (n, T), cntR_per_annotator (n, T, A) and
    sumR_per_annotator (n, A) with -1 where an image has fewer annotators, ac (n,).
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        # A file object, because savez appends .npz to a name that lacks it.
        np.savez_compressed(file, **counts_of(evaluation))


def counts_of(evaluation: EdgeEvaluation) -> dict[str, Any]:
    """The arrays of an evaluation as `write_counts` writes them, by name."""
    names = ("thresholds", "cntR", "sumR", "cntP", "sumP", "cntR_per_annotator", "sumR_per_annotator", "ac")
    return {"ids": np.array(evaluation.ids), **{name: getattr(evaluation, name) for name in names}}


def _evaluate(item: EdgeItem, protocol: EdgeProtocol) -> tuple[str, ImageCounts, float]:
    raw = item.read_map()
    annotators = item.read_annotators()
    for annotator in annotators:
        if annotator.shape != raw.shape:
            raise DataError(
                f"{item.map_name}: {raw.shape[0]} x {raw.shape[1]} pixels (height x width), but "
                f"{item.truth_name} has {annotator.shape[0]} x {annotator.shape[1]}. Save the prediction of "
                f"image {item.id} at the size of its annotations."
            )
    prediction = dollar_nms(raw, **asdict(protocol.nms)) if protocol.nms else raw
    counts = count_image(prediction, annotators, protocol.thresholds, protocol.max_distance, protocol.thin)
    return item.id, counts, average_crispness(raw)
