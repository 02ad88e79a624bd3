"""Stage `predict` of method `mask_edges`: labels for training, many to a tar file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from itertools import product
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from edgebench.data.shards import FAILURES, Failure, gather_failures, in_order, make_shards, shard_file, split
from edgebench.errors import DataError, EdgebenchError
from edgebench.stages.inputs import LABEL_LONG_SIDE, LABEL_SUFFIX, MAPS, open_input
from edgebench.stages.parts import incomplete
from edgebench.stages.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np

    from edgebench.data.adapters import Dataset
    from edgebench.methods.sam.masks import PackedMask

    Proposals = list[list[PackedMask]]
    Propose = Callable[[np.ndarray], Proposals]

Label = tuple[str, bytes] | Failure

IMAGES_PER_SHARD = 500
"""What an interruption costs at most."""


def synthesise(spec: RunSpec) -> dict[str, Any]:
    """Carry out a run, from its images to what its record should say. See `fill` and `gather`."""
    dataset = open_input(spec)
    return gather(spec, dataset, fill(spec, dataset))


def fill(spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    """Write an edge map for every image of the split, as `maps/00000.tar` and so on with members `<id>.png`.

    Shards that are there already are kept; of jobs that share a run, each makes shards of its own. An image that cannot
    be read or worked off is left out, to be named by `gather`; the run goes on. A model proposes masks in this process,
    which holds the GPU; all else is shared among as many processes as the run has cores.

    Raises:
        EdgebenchError: every image failed, the generator's weights are missing or damaged, or the memory was not
            enough for the processes.
    """
    propose = _generator(spec)
    parts = split(dataset.ids, IMAGES_PER_SHARD)
    try:
        with _workers(spec.threads) as pool:

            def make(part: Sequence[str]) -> Iterator[Label]:
                return in_order(_submitted(pool, dataset, part, propose), ahead=2 * spec.threads)

            make_shards(spec.folder / MAPS, parts, spec.share(range(len(parts))), make, spec.title)
    except BrokenProcessPool as error:
        raise EdgebenchError(
            f"{spec.folder}: a process was killed, most likely for lack of memory. Type the same command again with "
            f"fewer cores; finished shards are kept."
        ) from error
    return {}


def gather(spec: RunSpec, dataset: Dataset, note: dict[str, Any]) -> dict[str, Any]:
    """Name all images that failed in `maps/failures.jsonl`, and count them for the record.

    Raises:
        EdgebenchError: a shard is missing.
    """
    numbers = range(len(split(dataset.ids, IMAGES_PER_SHARD)))
    files = [shard_file(spec.folder / MAPS, number) for number in numbers]
    if missing := [path.name for path in files if not path.exists()]:
        raise incomplete(spec.folder, missing, len(files))
    failures = gather_failures(spec.folder / MAPS, numbers)
    counts = {"n_images": len(dataset.ids) - len(failures), "n_failed": len(failures)}
    return counts | note | ({"failures": f"{MAPS}/{FAILURES}"} if failures else {})


def _submitted(
    pool: Executor, dataset: Dataset, part: Iterable[str], propose: Propose | None
) -> Iterator[Future[Label]]:
    from edgebench.data.images import shrink

    for image_id in part:
        try:
            image = shrink(dataset.image(image_id), LABEL_LONG_SIDE)
            proposals = None if propose is None else propose(image)
        except (DataError, MemoryError) as error:
            failed: Future[Label] = Future()
            failed.set_result(_failure(image_id, error))
            yield failed
            continue
        if proposals is None:
            yield pool.submit(_classical_label, image_id, image)
        else:
            yield pool.submit(_label, image_id, proposals, image.shape[:2])


def _classical_label(image_id: str, image: np.ndarray) -> Label:
    from edgebench.methods.sam.proposals import classical_masks

    try:
        return _label(image_id, [classical_masks(image)], image.shape[:2])
    except MemoryError as error:
        return _failure(image_id, error)


def _label(image_id: str, proposals: Proposals, shape: tuple[int, int]) -> Label:
    from edgebench.data.edge_maps import encode_levels
    from edgebench.methods.sam.edges import edges_from_masks

    try:
        return image_id + LABEL_SUFFIX, encode_levels(edges_from_masks(proposals, shape))
    except MemoryError as error:
        return _failure(image_id, error)


def _failure(image_id: str, error: Exception) -> Failure:
    return Failure(image_id, "not enough memory" if isinstance(error, MemoryError) else str(error))


class _Inline(Executor):
    """Does the work when it is handed over, for runs with one core."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **named))
        return future


def _workers(count: int) -> AbstractContextManager[Executor]:
    # Not forked: the model's threads and its hold on the GPU do not survive that.
    return ProcessPoolExecutor(count, mp_context=get_context("spawn")) if count > 1 else _Inline()


def _generator(spec: RunSpec) -> Propose | None:
    """What proposes masks in this process; None for the classical segmenter, which needs no such thing."""
    settings = spec.settings
    if settings["generator"] == "felzenszwalb":
        return None
    import torch

    from edgebench.methods.sam.generator import GeneratorSettings, propose_masks
    from edgebench.methods.sam.scorer import load_scorer
    from edgebench.stages.devices import choose_device

    torch.set_num_threads(spec.threads)
    device = choose_device(settings["device"])
    scorer = load_scorer(settings["generator"], spec.input("generator_weights"), device, settings["precision"])
    grid = [
        GeneratorSettings(
            points_per_side=points,
            points_per_batch=settings["points_per_batch"],
            iou_threshold=iou,
            stability_threshold=stability,
            crop_layers=settings["crop_layers"],
            crop_downscale=settings["crop_downscale"],
        )
        for points, iou, stability in product(
            settings["points_per_side"], settings["iou_threshold"], settings["stability_threshold"]
        )
    ]

    def propose(image: np.ndarray) -> Proposals:
        try:
            return [propose_masks(image, scorer, each) for each in grid]
        except torch.OutOfMemoryError as error:
            height, width = image.shape[:2]
            raise DataError(f"not enough GPU memory for {width} x {height} pixels") from error

    return propose
