"""Evaluating edges between instances: maps against the borders of segments, by matching and by centre lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgebench.data.adapters.listing import some_names
from edgebench.data.edge_maps import maps_by_id, read_edge_map
from edgebench.data.instances import Instances, decode
from edgebench.data.panoptic import SegmentedImage, read_panoptic, read_segments
from edgebench.errors import ConfigError, DataError
from edgebench.files import atomic_path, read_json, write_json
from edgebench.metrics.cldice import cldice
from edgebench.metrics.edges import dollar_nms
from edgebench.metrics.instance_edges import segment_edges
from edgebench.plan.runs import EVALUATE_VERSION
from edgebench.progress import track
from edgebench.stages.evaluate_edges import (
    EdgeEvaluation,
    EdgeItem,
    EdgeProtocol,
    Nms,
    counts_of,
    edge_protocol,
    evaluate_items,
)
from edgebench.stages.processes import in_processes

BACKGROUND = 1
"""Id of the pixels that no instance covers, where instances stand for segments."""


class Overlap(NamedTuple):
    """clDice of one image; NaN where neither side has a line.

    Attributes:
        near: Where a line counts as covered within the tolerance of the matching.
        plain: Where it must be covered to the pixel, as clDice is defined.
    """

    near: float
    plain: float


@dataclass(frozen=True)
class InstanceEdgeEvaluation:
    """Counts and clDice of n images.

    Attributes:
        edges: Counts of the matching.
        cldice: float64 (n,), within the tolerance; NaN where neither side has a line.
        cldice_plain: float64 (n,), to the pixel; NaN likewise.
        void: Whether the border of unlabelled pixels counted as edge.
        truth: Whose borders were the edges.
        without_truth: Names of predictions that were passed over for want of ground truth.
    """

    edges: EdgeEvaluation
    cldice: NDArray[np.float64]
    cldice_plain: NDArray[np.float64]
    void: bool = False
    truth: Literal["panoptic", "instances"] = "panoptic"
    without_truth: tuple[str, ...] = ()

    def scores(self) -> dict[str, dict[str, float | None]]:
        """`ods`, `ois`, `ap` as of `EdgeEvaluation`, `cldice` and `cldice_plain`: value, the mean over images."""
        scores: dict[str, dict[str, float | None]] = {
            name: dict(values) for name, values in self.edges.scores().items() if name in ("ods", "ois", "ap")
        }
        for name, values in (("cldice", self.cldice), ("cldice_plain", self.cldice_plain)):
            scores[name] = {"value": None if np.isnan(values).all() else float(np.nanmean(values))}
        return scores

    def record(self) -> dict[str, Any]:
        """What is written beside every score."""
        record = self.edges.protocol.record()
        del record["protocol"]  # those of annotators' boundaries
        return {**record, "void": self.void, "truth": self.truth}


def segments_of(instances: Instances) -> NDArray[np.uint32]:
    """A map of segments from instances, which may overlap: smaller ones lie above larger ones, crowds below all.

    Returns:
        uint32 (H, W), from 2 on in the order of the instances; `BACKGROUND` where there is none, which is a segment,
        so that the outline of an object is an edge whatever lies beside it.
    """
    ids = np.full(instances.size, BACKGROUND, np.uint32)
    masks = [decode(each.mask) for each in instances.items]
    below = [(not each.crowd, -int(mask.sum())) for each, mask in zip(instances.items, masks, strict=True)]
    for index in sorted(range(len(masks)), key=below.__getitem__):
        ids[masks[index]] = BACKGROUND + 1 + index
    return ids


def evaluate_edges_of_segments(
    items: Sequence[EdgeItem], protocol: EdgeProtocol, jobs: int = 1, **remarks: Any
) -> InstanceEdgeEvaluation:
    """Evaluate images that are read one at a time, twice each: matching finds the threshold that clDice is cut at.

    That is the threshold of ODS, one for all images, of the map as it was matched: suppressed if the protocol says
    so. Neither the paper nor clDice says how a soft map becomes a mask; this is our reading.

    Args:
        items: What to evaluate; `read_annotators` gives the edges of the segments.
        protocol: How.
        jobs: Processes; the result does not depend on it.
        remarks: `void`, `truth` and `without_truth` of the result.

    Raises:
        DataError: there is no item, a map and its ground truth differ in size, or a reader raised it.
        ConfigError: `jobs` is below 1.
        EdgebenchError: a process died.
    """
    edges = evaluate_items(items, protocol, jobs)
    compare = partial(_overlap, protocol=protocol, threshold=edges.scores()["ods"]["threshold"])
    results = in_processes(compare, items, jobs) if jobs > 1 else map(compare, items)
    overlaps = list(track(results, "Comparing centre lines", total=len(items)))
    return InstanceEdgeEvaluation(
        edges, np.array([each.near for each in overlaps]), np.array([each.plain for each in overlaps]), **remarks
    )


def evaluate_folder(
    predictions: Path,
    ground_truth: Path,
    truth_folder: Path,
    nms: Nms = "dollar",
    max_distance: float = 0.0075,
    thresholds: int = 99,
    void: bool = False,
    jobs: int = 1,
) -> InstanceEdgeEvaluation:
    """Evaluate a folder of edge maps against a panoptic ground truth in COCO's format.

    Every image of the ground truth needs a map, called by the stem of its PNG or of the image that the JSON file
    names; other maps are passed over and named.

    Args:
        predictions: Folder of `<id>.png`, `.npy` or ucm2 `.mat`.
        ground_truth: JSON file of the ground truth.
        truth_folder: Where its PNG files lie.
        nms: `dollar` or `none`; maps are thinned after thresholding in any case.
        max_distance: Largest distance of a pair, as a fraction of the diagonal.
        thresholds: Number of thresholds.
        void: Whether the border of unlabelled pixels counts as edge.
        jobs: Processes; the result does not depend on it.

    Raises:
        DataError: a folder or a file is missing or damaged, an image has no map, or sizes differ.
        ConfigError: an option is out of range.
        EdgebenchError: a process died.
    """
    if jobs < 1:
        raise ConfigError(f"jobs: at least 1 is needed, not {jobs}.")
    protocol = edge_protocol("seval", nms, max_distance, thresholds)
    images = read_panoptic(ground_truth, truth_folder).images
    maps = maps_by_id(predictions)
    names = {key: _name(image, maps) for key, image in images.items()}
    if set(names.values()) - maps.keys():
        stems = _image_stems(ground_truth)
        names = {key: name if name in maps else stems.get(key, name) for key, name in names.items()}
    missing = [name for name in names.values() if name not in maps]
    if missing:
        raise DataError(
            f"{predictions}: no edge map for {len(missing)} of {len(images)} images ({some_names(missing)}) of "
            f"{ground_truth}. A map is called like its image or like the PNG of its segments."
        )
    items = [
        EdgeItem(
            names[key],
            partial(read_edge_map, maps[names[key]]),
            partial(_read_edges, image, void),
            str(maps[names[key]]),
            str(image.png),
        )
        for key, image in images.items()
    ]
    left = tuple(sorted(maps.keys() - set(names.values())))
    return evaluate_edges_of_segments(items, protocol, jobs, void=void, without_truth=left)


def write_scores(path: str | Path, evaluation: InstanceEdgeEvaluation) -> None:
    """Write the scores and how they were made as JSON (`ods ois ap cldice cldice_plain n_images nms thin ...`)."""
    write_json(
        path,
        {
            **evaluation.scores(),
            "n_images": len(evaluation.edges.ids),
            "without_truth": list(evaluation.without_truth),
            **evaluation.record(),
            "version": EVALUATE_VERSION["instance_edges"],
        },
    )


def write_counts(path: str | Path, evaluation: InstanceEdgeEvaluation) -> None:
    """Write counts and clDice per image as a compressed .npz.

    Keys: those of `edgebench.stages.evaluate_edges.write_counts`, and cldice, cldice_plain (n,).
    """
    arrays = counts_of(evaluation.edges)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays, cldice=evaluation.cldice, cldice_plain=evaluation.cldice_plain)


def _overlap(item: EdgeItem, protocol: EdgeProtocol, threshold: float) -> Overlap:
    raw, (truth,) = item.read_map(), item.read_annotators()
    suppressed = dollar_nms(raw, **asdict(protocol.nms)) if protocol.nms else raw
    edges = suppressed >= threshold
    tolerance = protocol.max_distance * float(np.hypot(*raw.shape))
    near, plain = cldice(edges, truth, tolerance).value, cldice(edges, truth).value
    return Overlap(*(np.nan if each is None else each for each in (near, plain)))


def _read_edges(image: SegmentedImage, void: bool) -> list[NDArray[np.bool_]]:
    return [segment_edges(read_segments(image), void)]


def _name(image: SegmentedImage, maps: dict[str, Path]) -> str:
    """What the map of an image is called: like the PNG of its segments, or by the image's number."""
    return image.id if image.png.stem not in maps and image.id in maps else image.png.stem


def _image_stems(path: Path) -> dict[str, str]:
    """Names of the images of a panoptic JSON file without suffix, by id; none where it lists no images."""
    images = read_json(path).get("images", [])
    listed = [each for each in images if isinstance(each, dict) and {"id", "file_name"} <= each.keys()]
    return {str(each["id"]): Path(str(each["file_name"])).stem for each in listed}
