"""Panoptic segmentations of class maps and edges, or of somebody else, for the predict stage."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from edgebench.data.adapters import Dataset
from edgebench.data.edge_maps import read_edge_map
from edgebench.data.panoptic import Segment, Segmentation, image_key, read_panoptic, read_segments
from edgebench.data.semantic import read_semantic
from edgebench.errors import DataError
from edgebench.stages.inputs import map_file, semantic_file
from edgebench.stages.predictors import Prepared
from edgebench.stages.spec import RunSpec


def trace_panoptic(spec: RunSpec, dataset: Dataset) -> Prepared:
    """Instances cut out of class maps by edges; without edges, the connected parts of the class maps.

    Raises:
        DataError: a map of an image is missing, or has another size than its class map.
    """
    from edgebench.methods.trace.panoptic import PanopticSettings, segment_classes

    known = {each.name for each in fields(PanopticSettings)}
    settings = PanopticSettings(**{key: value for key, value in spec.settings.items() if key in known})
    categories = dataset.categories
    things = {key for key, category in categories.items() if category.thing}
    stuff = categories.keys() - things
    classes_from = spec.input("semantic")
    edges_from = spec.input("edges") if "edges" in spec.content["inputs"] else None

    def one(image_id: str) -> Segmentation:
        semantic = read_semantic(semantic_file(classes_from, image_id))
        edges = None
        if edges_from is not None:
            path = map_file(edges_from, image_id)
            edges = read_edge_map(path)
            if edges.shape != semantic.shape:
                raise DataError(
                    f"{path}: {edges.shape[0]} x {edges.shape[1]} pixels (height x width), but the class map of "
                    f"{image_id} has {semantic.shape[0]} x {semantic.shape[1]}. Delete {edges_from} and run snakemake "
                    f"again."
                )
        found = segment_classes(semantic, edges, things, stuff, settings)
        return Segmentation(found.ids, {number: Segment(each) for number, each in enumerate(found.classes, start=1)})

    # It needs no image, but its time counts.
    return Prepared(lambda images, ids: [one(image_id) for image_id in ids])


def brought_panoptic(spec: RunSpec, dataset: Dataset) -> Prepared:
    """The segmentations of a JSON file and the PNG files that it names.

    Raises:
        DataError: a file is missing or damaged, or an image is not in it.
    """
    file, folder = (Path(spec.settings[key]).expanduser() for key in ("file", "folder"))
    found = read_panoptic(file, folder, dataset.categories)
    # The same image may be 139 in one file and 000000000139 in another.
    images = {_plain(name): image for name, image in found.images.items()}
    places = {image_id: _plain(str(image_key(dataset, image_id))) for image_id in dataset.ids}
    missing = [image_id for image_id in dataset.ids if places[image_id] not in images]
    if missing:
        raise DataError(
            f"{file}: {len(missing)} of {len(dataset.ids)} images have no annotation here, the first is "
            f"'{missing[0]}'. An image without any segment has an empty 'segments_info' and a black PNG."
        )

    def one(image_id: str) -> Segmentation:
        image = images[places[image_id]]
        ids = read_segments(image)
        height, width = dataset.size(image_id)
        if ids.shape != (height, width):
            raise DataError(
                f"{image.png}: is {ids.shape[1]}x{ids.shape[0]} pixels, its image {width}x{height}. Bring maps of the "
                f"images' own size."
            )
        return Segmentation(ids, image.segments)

    return Prepared(lambda images, ids: [one(image_id) for image_id in ids], {"brought_from": str(file)}, sees=False)


def _plain(name: str) -> str:
    """A number without leading zeros; any other name as it is."""
    return str(int(name)) if name.isascii() and name.isdecimal() else name
