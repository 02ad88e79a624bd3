"""Refining one's own files: COCO results and a folder of edge maps to COCO results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from edgebench.data.adapters.listing import some_names
from edgebench.data.brought_instances import Wanted, open_brought
from edgebench.data.coco import check_image, read_json_file
from edgebench.data.coco_results import result_entries
from edgebench.data.edge_maps import maps_by_id, read_edge_map
from edgebench.data.instances import Instances, from_masks
from edgebench.errors import DataError
from edgebench.files import canonical_json, images_beside, write_text
from edgebench.methods.trace.refine import RefineSettings, refine_masks
from edgebench.progress import track
from edgebench.stages.processes import in_processes


class Work(NamedTuple):
    """One image: the number that results call it by, its masks, and the file of its edges."""

    number: int
    found: Instances
    edges: Path


@dataclass(frozen=True)
class RefinedFiles:
    """What was done.

    Attributes:
        n_images: Images with masks.
        n_before: Masks that were given.
        n_after: Masks that were written.
    """

    n_images: int
    n_before: int
    n_after: int


def refine_instances(found: Instances, edges: Path, settings: RefineSettings) -> Instances:
    """The instances of an image refined by its edge map.

    Args:
        found: What is refined.
        edges: The edge map's file.
        settings: How.

    Raises:
        DataError: the map is missing, damaged or of another size than the masks.
    """
    barriers = read_edge_map(edges)
    if barriers.shape != found.size:
        raise DataError(
            f"{edges}: {barriers.shape[0]} x {barriers.shape[1]} pixels (height x width), but the masks of its image "
            f"have {found.size[0]} x {found.size[1]}. Bring both at the image's own size."
        )
    scores, categories = [each.score for each in found.items], [each.category for each in found.items]
    refined = refine_masks(found.masks(), barriers, settings, scores, categories)
    return from_masks(refined.masks, found.size, refined.scores, refined.categories)


def refine_files(
    masks: Path, edges: Path, output: Path, settings: RefineSettings, images: Path | None = None, jobs: int = 1
) -> RefinedFiles:
    """Refine the masks of a file by the edge maps of a folder.

    Args:
        masks: JSON in COCO's format: results, or an object with `annotations`.
        edges: Folder of edge maps, named like the images.
        output: Where to write results.
        settings: How to refine.
        images: JSON with COCO's list `images`, such as ground truth; null looks in `masks`, then beside it.
        jobs: Processes.

    Raises:
        DataError: a file is missing, damaged or of another form, or an image with masks has no edge map.
    """
    wanted = _wanted(masks, images)
    brought = open_brought(wanted, masks)
    found = {each: brought.read(each) for each in wanted.ids}
    found = {each: instances for each, instances in found.items() if instances.items}
    maps = maps_by_id(edges)
    if missing := [each for each in found if each not in maps]:
        raise DataError(
            f"{edges}: {len(missing)} of the {len(found)} images with masks have no edge map here "
            f"({some_names(missing)}). Name the maps like the images, for example {missing[0]}.png."
        )
    work = [Work(wanted.numbers[each], instances, maps[each]) for each, instances in found.items()]
    refine: Callable[[Work], list[dict[str, Any]]] = partial(_refined, settings)
    parts = in_processes(refine, work, jobs) if jobs > 1 else map(refine, work)
    entries = [entry for part in track(parts, "Refining", total=len(work)) for entry in part]
    write_text(output, canonical_json(entries) + "\n")
    return RefinedFiles(len(found), sum(len(each.items) for each in found.values()), len(entries))


def _refined(settings: RefineSettings, work: Work) -> list[dict[str, Any]]:
    return result_entries(work.number, refine_instances(work.found, work.edges, settings))


def _wanted(masks: Path, images: Path | None) -> Wanted:
    """The images, by the names of their files without suffix."""
    beside = images_beside(masks)
    listing = images or (beside if beside.is_file() else masks)
    content = read_json_file(listing)
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise DataError(
            f"{listing}: has no list `images`, which says what the numbers of images stand for. Name a file that has "
            f"it, such as the ground truth instances_val2017.json, with --images."
        )
    numbers: dict[str, int] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for index, entry in enumerate(entries):
        where = f"{listing}: images[{index}]"
        number, size = check_image(entry, where)
        name = Path(str(entry.get("file_name", ""))).stem
        if not name:
            raise DataError(f"{where}: has no file_name, by which its edge map is found.")
        if name in numbers:
            raise DataError(f"{where}: two images are called '{name}', so their edge maps cannot be told apart.")
        numbers[name], sizes[name] = number, size
    return Wanted(numbers, sizes.__getitem__, numbered=True)
