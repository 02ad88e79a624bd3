"""Stage `predict`: a file per image, a map (bright = edge, or foreground) or instances, by whichever method."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from statistics import median
from typing import TYPE_CHECKING, Any

from edgebench.files import write_json
from edgebench.progress import track
from edgebench.stages.inputs import open_input
from edgebench.stages.parts import incomplete
from edgebench.stages.per_image import PerImage
from edgebench.stages.predictors import Prepared, output_of, prepare, summary
from edgebench.stages.spec import RunSpec

if TYPE_CHECKING:
    from edgebench.data.adapters import Dataset

SECONDS = "seconds"


def predict(spec: RunSpec) -> dict[str, Any]:
    """Carry out a run, from its images to what its record should say. See `fill` and `gather`."""
    dataset = open_input(spec)
    return gather(spec, dataset, fill(spec, dataset))


def fill(spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    """Write what a method says of every image of the split; images whose file is there already are passed over.

    Batches hold images of which a method takes several at a time, and are always cut the same way, so that a run
    that was interrupted ends with the files of an undisturbed one. Jobs that share a run take whole batches.

    Returns:
        What the record should say about the method.

    Raises:
        EdgebenchError: an image, the weights or brought maps are missing or damaged.
    """
    method, output = prepare(spec, dataset), output_of(spec)
    timing = PerImage(spec, SECONDS)
    batches = spec.share(list(_batches(dataset, method, spec.settings.get("batch", 1))))
    todo = [batch for batch in batches if not all(output.file(spec.folder, each).exists() for each in batch)]
    for ids in track(todo, spec.title, total=len(batches), done=len(batches) - len(todo)):
        images = [dataset.image(each) for each in ids] if method.sees else []
        start = time.perf_counter()
        answers = method.answers(images, ids)
        if method.sees:
            timing.add(ids, [(time.perf_counter() - start) / len(ids)] * len(ids))
        for image_id, each in zip(ids, answers, strict=True):
            output.write(output.file(spec.folder, image_id), each)
    return method.note


def gather(spec: RunSpec, dataset: Dataset, note: dict[str, Any]) -> dict[str, Any]:
    """Write the files about all images together, and `timing.json`.

    Args:
        spec: The run.
        dataset: Its images.
        note: What `fill` returned.

    Returns:
        What the record should say.

    Raises:
        EdgebenchError: an image has no file.
    """
    output = output_of(spec)
    if missing := [each for each in dataset.ids if not output.file(spec.folder, each).exists()]:
        raise incomplete(spec.folder, missing, len(dataset.ids))
    if output.finish is not None:
        output.finish(spec.folder, dataset)
    seconds = PerImage(spec, SECONDS).read(dataset.ids)
    write_json(spec.folder / "timing.json", seconds)
    # The median: the first images also pay for loading and compiling.
    typical = median(seconds.values()) if seconds else None
    return {"n_images": len(dataset.ids), "seconds_per_image": typical, **summary(spec, dataset), **note}


def _batches(dataset: Dataset, method: Prepared, size: int) -> Iterator[list[str]]:
    """Ids of the images that share a batch, at most `size`."""
    groups: dict[Hashable, list[str]] = {}
    for image_id in dataset.ids:
        group = method.group(*dataset.size(image_id)) if method.group and size > 1 else None
        groups.setdefault(group, []).append(image_id)
    for ids in groups.values():
        for first in range(0, len(ids), size):
            yield ids[first : first + size]
