"""Stage `predict` of the methods `mask_contours` and `mask_skeletons`: what is drawn from masks once and used often."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.progress import track
from edgebench.stages.inputs import SKELETONS, map_file, open_input
from edgebench.stages.parts import incomplete
from edgebench.stages.processes import in_processes
from edgebench.stages.spec import RunSpec

if TYPE_CHECKING:
    from edgebench.data.adapters import Dataset


def draw_targets(spec: RunSpec) -> dict[str, Any]:
    """Carry out a run, from its masks to what its record should say. See `fill` and `gather`."""
    dataset = open_input(spec)
    return gather(spec, dataset, fill(spec, dataset))


def fill(spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    """Draw something from every mask of the split, in as many processes as the run has cores.

    `mask_contours` writes `maps/<id>.png`, 8 bits, 255 on the outline. `mask_skeletons` fills the folder
    `skeletons` as `edgebench.data.masks.kept_skeleton` expects it: one file per foreground, by its digest. What is
    there already is kept. A blank mask has a blank outline and skeleton.

    Raises:
        DataError: a mask is missing, damaged or of another size than its image.
        EdgebenchError: a process died.
    """
    draw = {"mask_contours": _contour, "mask_skeletons": _skeletons}[spec.settings["method"]]
    ids = todo = spec.share(dataset.ids)
    if spec.settings["method"] == "mask_contours":
        todo = _without_contour(spec, ids)
    task = partial(draw, dataset, spec.folder)
    drawn = in_processes(task, todo, spec.threads) if spec.threads > 1 else map(task, todo)
    for _ in track(drawn, spec.title, total=len(ids), done=len(ids) - len(todo)):
        pass
    return {}


def gather(spec: RunSpec, dataset: Dataset, note: dict[str, Any]) -> dict[str, Any]:
    """What the record should say.

    Raises:
        EdgebenchError: an image has no outline.
    """
    if spec.settings["method"] == "mask_contours" and (missing := _without_contour(spec, dataset.ids)):
        raise incomplete(spec.folder, missing, len(dataset.ids))
    return {"n_images": len(dataset.ids), **note}


def _without_contour(spec: RunSpec, ids: list[str]) -> list[str]:
    return [image_id for image_id in ids if not map_file(spec.folder, image_id).exists()]


def _contour(dataset: Dataset, folder: Path, image_id: str) -> None:
    from edgebench.data.images import write_map_png
    from edgebench.methods.diffdis.contours import contour

    write_map_png(map_file(folder, image_id), contour(dataset.mask(image_id)) / 255)


def _skeletons(dataset: Dataset, folder: Path, image_id: str) -> None:
    from edgebench.data.masks import kept_skeleton
    from edgebench.metrics.masks import DIFFDIS, STANDARD, foreground, mask_skeleton

    mask = dataset.mask(image_id)
    # Of a soft mask the two protocols may take different pixels for foreground; of a hard one it is one file.
    for protocol in (STANDARD, DIFFDIS):
        kept_skeleton(foreground(mask, protocol), folder / SKELETONS, mask_skeleton)
