"""Drawn scenes: overlapping textured objects, annotated by three people, as masks or as segments.

The textures' inner edges are as strong as the objects' outlines, so that a gradient alone finds the wrong
edges, and the three people do not quite agree. Every scene depends on (seed, split, index) only, never on how
many are drawn or by how many processes.
"""

from __future__ import annotations

import colorsys
import io
import json
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from edgebench.data import instances as instance_files
from edgebench.data.adapters import dis5k
from edgebench.data.adapters.bsds_mat import segmentation_boundaries, write_bsds_annotation
from edgebench.errors import ConfigError, DataError, nearest
from edgebench.files import canonical_json, read_json, write_bytes, write_json
from edgebench.progress import track

SHAPES = ("ellipse", "rectangle", "blob", "polygon")
TEXTURES = ("plain", "stripes", "checks", "dots")
MIN_VISIBLE = 0.012
"""Smallest visible part of an object, as a share of the image; less is left to what it touches."""
N_ANNOTATORS = 3
P_SHIFT = 0.6
P_MERGE = 0.12
DRAWN = ".drawn.json"
LAYOUTS = ("bsds", "coco", "dis5k", "folder")
BY_COMPLEXITY = ("te1", "te2", "te3", "te4")
"""Splits of layout `dis5k` that share their scenes: of every four, each split has the one of its rank."""

NUMBERED_FROM = {"train": 1, "val": 100_001, "test": 200_001}
"""Splits of layout `coco` and the number of their first image: no two images share one, in any split."""
CATEGORIES = [
    *({"id": k, "name": shape, "supercategory": "shape", "isthing": 1} for k, shape in enumerate(SHAPES, 1)),
    *(
        {"id": k, "name": f"ground, {texture}", "supercategory": "ground", "isthing": 0}
        for k, texture in enumerate(TEXTURES, 1 + len(SHAPES))
    ),
]
"""Classes of layout `coco`: shapes are things, the ground is stuff by its texture."""


@dataclass(frozen=True)
class Style:
    """What the scenes of a data set have in common.

    Attributes:
        size: Side of the square image in pixels.
        period: Shortest and longest period of a texture in pixels.
        hue_spread: Half-width of the range of hues within one scene, of a full turn; small = misleading.
        brightness: Half-width of the range of the objects' mean brightness, of full scale.
        contrast: Lowest and highest difference between the two tones of a texture, of full scale.
        plain: Share of objects without texture.
    """

    size: int
    period: tuple[float, float]
    hue_spread: float
    brightness: float
    contrast: tuple[float, float]
    plain: float


STYLES = {
    "M": Style(64, period=(6, 13), hue_spread=0.06, brightness=0.17, contrast=(0.22, 0.45), plain=0.2),
    "T": Style(96, period=(3.5, 8), hue_spread=0.07, brightness=0.12, contrast=(0.25, 0.5), plain=0.1),
    # Colours tell objects and background apart, but not which is which: for telling figure from ground in minutes.
    "D": Style(64, period=(6, 13), hue_spread=0.4, brightness=0.17, contrast=(0.22, 0.45), plain=0.4),
}


@dataclass(frozen=True)
class Scene:
    """One drawn image with its truth.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        instances: (size, size) int32, 0 = background, 1..n = connected visible parts of objects.
        classes: (n + 1,) int32, 0 for the background, else 1 + index in `SHAPES`.
        ground: Texture of the background, index in `TEXTURES`.
    """

    image: np.ndarray
    instances: np.ndarray
    classes: np.ndarray
    ground: int


def draw_scene(rng: np.random.Generator, style: Style) -> Scene:
    """Draw three to six textured objects over a textured background, at twice the size, then average.

    Three in ten objects are cut into two touching instances of one class. An instance hidden in its middle
    by another one becomes two, so that every label is one connected region.

    Args:
        rng: Source of everything that varies.
        style: Size, textures and colours.
    """
    side = 2 * style.size
    y, x = np.mgrid[:side, :side].astype(np.float32) / 2
    hue = rng.uniform()
    ground = _texture(rng, style)
    canvas = _surface(rng, style, ground, hue, x, y)
    owners = np.zeros((side, side), dtype=np.int32)
    shapes = [0]
    for _ in range(rng.integers(3, 7)):
        shape = int(rng.integers(len(SHAPES)))
        u, v, mask = _outline(rng, SHAPES[shape], style.size, x, y)
        for part in _parts(rng, mask, u, v):
            shapes.append(shape + 1)
            owners[part] = len(shapes) - 1
            canvas[part] = _surface(rng, style, _texture(rng, style), hue, u[part], v[part])
    canvas = canvas.reshape(style.size, 2, style.size, 2, 3).mean(axis=(1, 3))
    canvas += rng.normal(0, 0.015, canvas.shape)
    # BSDS marks the pixel left of and above a step; sampling up there keeps the bias small.
    instances, kept = _connected(owners[::2, ::2], len(shapes), MIN_VISIBLE * style.size**2)
    classes = np.array([0, *(shapes[owner] for owner in kept)], dtype=np.int32)
    return Scene(np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8), instances, classes, TEXTURES.index(ground))


def annotate(scene: Scene, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Let three annotators trace a scene.

    Each merges an object into a neighbour with probability 0.12, and with probability 0.6 is off by up to
    one pixel in each direction, everywhere alike. Boundaries follow from the regions as in BSDS500.

    Returns:
        Per annotator the regions, (H, W) int32 with labels from 1, and the boundaries, (H, W) bool.
    """
    segmentations = []
    for _ in range(N_ANNOTATORS):
        regions = _merged(scene.instances, rng)
        if rng.uniform() < P_SHIFT:
            regions = _shifted(regions, *rng.integers(-1, 2, size=2))
        labels = np.unique(regions, return_inverse=True)[1].reshape(regions.shape)
        segmentations.append(labels.astype(np.int32) + 1)
    return list(zip(segmentations, segmentation_boundaries(segmentations), strict=True))


def outline_length(mask: np.ndarray) -> int:
    """Sides of pixels between the inside and the outside of a bool mask (H, W); the image's border is no outline."""
    return int(np.count_nonzero(np.diff(mask, axis=0)) + np.count_nonzero(np.diff(mask, axis=1)))


def draw_dataset(
    destination: str | Path,
    splits: dict[str, int],
    size: int | None = None,
    seed: int = 0,
    layout: str = "bsds",
    style: str = "M",
    jobs: int = 1,
) -> int:
    """Draw scenes into a folder, in the layout of a real data set; scenes already there are kept.

    `bsds`: images/SPLIT/ID.png, groundTruth/SPLIT/ID.mat and, beside them, instances/SPLIT/ID.png with
    16-bit labels. `dis5k`: DIS-TR/im/ID.png and so on, and DIS-TR/gt/ID.png with the objects in white; as in
    DIS5K the four test splits rise in complexity, here by the length of the objects' outline. `coco`:
    SPLIT/NUMBER.png, annotations/instances_SPLIT.json with the objects, and the panoptic map of COCO's format with
    the ground besides. `folder`: the images alone. Ids are unique: the split's name and a number, or one number.

    Args:
        destination: Folder to fill.
        splits: Number of scenes per split.
        size: Side in pixels; by default the style's own.
        seed: Scenes of different seeds have nothing in common.
        layout: One of `LAYOUTS`.
        style: Name in `STYLES`.
        jobs: Processes; the result is the same for any number.

    Returns:
        Number of scenes drawn by this call.

    Raises:
        ConfigError: unknown style or layout, or a split that the layout does not have.
        DataError: the folder holds scenes drawn in another way.
    """
    destination = Path(destination)
    if style not in STYLES or layout not in LAYOUTS:
        raise ConfigError(
            f"draw: style {style!r} or layout {layout!r} is unknown. "
            f"Styles: {', '.join(STYLES)}; layouts: {', '.join(LAYOUTS)}."
        )
    if layout == "dis5k" and (unknown := sorted(set(splits) - set(dis5k.PARTS))):
        raise ConfigError(f"draw: layout dis5k has no split '{unknown[0]}'.{nearest(unknown[0], dis5k.PARTS)}")
    if layout == "coco" and (unknown := sorted(set(splits) - set(NUMBERED_FROM))):
        raise ConfigError(f"draw: layout coco has no split '{unknown[0]}'.{nearest(unknown[0], NUMBERED_FROM)}")
    chosen = STYLES[style] if size is None else replace(STYLES[style], size=size)
    recipe = {"version": 1, "style": asdict(chosen), "seed": seed, "layout": layout, "splits": splits}
    _claim(destination, recipe)
    wanted = [
        _Order(destination, split, index, seed, layout, chosen)
        for split, count in splits.items()
        for index in range(count)
    ]
    missing = [order for order in wanted if not all(path.is_file() for path in order.paths())]
    done = len(wanted) - len(missing)
    if jobs > 1 and len(missing) > 1:
        with ProcessPoolExecutor(jobs) as pool:
            drawn = pool.map(_draw, missing, chunksize=8)
            for _ in track(drawn, "drawing scenes", total=len(wanted), done=done):
                pass
    else:
        for order in track(missing, "drawing scenes", total=len(wanted), done=done):
            _draw(order)
    if layout == "coco":
        for split in splits:
            _list_segments(destination, split, [order for order in wanted if order.split == split])
    return len(missing)


def _outline(
    rng: np.random.Generator, shape: str, size: int, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates turned and centred on a new object, and the mask of its inside."""
    centre_x, centre_y = rng.uniform(0.12, 0.88, 2) * size
    radius = rng.uniform(0.15, 0.31) * size
    aspect = rng.uniform(0.55, 1)
    u, v = _turned(x - centre_x, y - centre_y, rng.uniform(0, 2 * np.pi))
    a, b = u / radius, v / (radius * aspect)
    if shape == "ellipse":
        return u, v, a * a + b * b < 1
    if shape == "rectangle":
        return u, v, (np.abs(a) < 0.9) & (np.abs(b) < 0.9)
    if shape == "blob":
        angle = np.arctan2(b, a)
        edge = np.full_like(angle, 0.9)
        for wave in range(2, 6):
            edge += rng.uniform(0, 0.5 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
        return u, v, a * a + b * b < edge * edge
    corners = int(rng.integers(3, 8))
    inside = np.ones(a.shape, dtype=bool)
    for corner in range(corners):
        normal = 2 * np.pi * (corner + rng.uniform(-0.25, 0.25)) / corners
        inside &= a * np.cos(normal) + b * np.sin(normal) < rng.uniform(0.6, 0.9)
    return u, v, inside


def _parts(rng: np.random.Generator, mask: np.ndarray, u: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
    """The object whole, or in three cases of ten as two halves that touch."""
    if rng.uniform() >= 0.3:
        return [mask]
    half = _turned(u, v, rng.uniform(0, np.pi))[0] > 0
    return [mask & half, mask & ~half]


def _texture(rng: np.random.Generator, style: Style) -> str:
    return "plain" if rng.uniform() < style.plain else str(rng.choice(TEXTURES[1:]))


def _surface(
    rng: np.random.Generator, style: Style, texture: str, hue: float, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    """Colour of the points (u, v), in pixels: two tones of one hue in a texture, under a slanting light."""
    period = rng.uniform(*style.period)
    s, t = _turned(u, v, rng.uniform(0, np.pi))
    s, t = s / period + rng.uniform(), t / (period * rng.uniform(0.8, 1.25)) + rng.uniform()
    if texture == "stripes":
        wave = np.sin(2 * np.pi * s)
    elif texture == "checks":
        wave = 1.6 * np.sin(np.pi * s) * np.sin(np.pi * t)
    elif texture == "dots":
        wave = 4 * (0.36 - np.hypot(s - np.rint(s), t - np.rint(t)))
    else:
        wave = np.zeros_like(s)
    tone = np.clip(2.5 * wave, -0.5, 0.5)

    colour_hue = hue + rng.uniform(-style.hue_spread, style.hue_spread)
    saturation = rng.uniform(0.2, 0.55)
    value = 0.56 + rng.uniform(-style.brightness, style.brightness)
    colour = np.array(colorsys.hsv_to_rgb(colour_hue % 1, saturation, 1), dtype=np.float32)
    brightness = value + rng.choice([-1, 1]) * rng.uniform(*style.contrast) * tone
    slope = _turned(u, v, rng.uniform(0, 2 * np.pi))[0]
    reach = max(float(np.abs(slope).max(initial=0)), 1)
    return (brightness * (1 + rng.uniform(0.05, 0.3) * slope / reach))[..., None] * colour


def _turned(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cosine * x + sine * y, cosine * y - sine * x


def _connected(owners: np.ndarray, count: int, smallest: float) -> tuple[np.ndarray, list[int]]:
    """Number the connected parts of each owner from 1; give parts below `smallest` to the nearest other."""
    instances = np.zeros(owners.shape, dtype=np.int32)
    unclaimed = np.zeros(owners.shape, dtype=bool)
    kept: list[int] = []
    for owner in range(1, count):
        parts, n_parts = ndimage.label(owners == owner)
        for part in range(1, n_parts + 1):
            mask = parts == part
            if mask.sum() < smallest:
                unclaimed |= mask
            else:
                kept.append(owner)
                instances[mask] = len(kept)
    if unclaimed.any():
        nearest = ndimage.distance_transform_edt(unclaimed, return_distances=False, return_indices=True)
        instances = instances[tuple(nearest)]
    return instances, kept


def _merged(instances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each instance loses, with probability P_MERGE, the boundary to one of its neighbours."""
    merged = instances.copy()
    for label in range(1, int(instances.max()) + 1):
        if rng.uniform() >= P_MERGE:
            continue
        mask = merged == label
        around = np.unique(merged[ndimage.binary_dilation(mask) & ~mask])
        if around.size:
            merged[mask] = rng.choice(around)
    return merged


def _shifted(labels: np.ndarray, down: int, right: int) -> np.ndarray:
    """Move a label map, repeating its border."""
    height, width = labels.shape
    padded = np.pad(labels, 1, mode="edge")
    return padded[1 - down : 1 - down + height, 1 - right : 1 - right + width]


@dataclass(frozen=True)
class _Order:
    """One scene to be drawn, and the files it fills."""

    destination: Path
    split: str
    index: int
    seed: int
    layout: str
    style: Style

    def paths(self) -> list[Path]:
        name = f"{self.split}{self.index:05d}"
        if self.layout == "folder":
            return [self.destination / f"{name}.png"]
        if self.layout == "coco":
            name = f"{self.number():012d}"
            return [
                self.destination / "annotations" / f"panoptic_{self.split}" / f"{name}.png",
                self.destination / self.split / f"{name}.png",
            ]
        if self.layout == "dis5k":
            part = self.destination / dis5k.PARTS[self.split]
            return [part / dis5k.MASKS / f"{name}.png", part / dis5k.IMAGES / f"{name}.png"]
        return [
            self.destination / "instances" / self.split / f"{name}.png",
            self.destination / "groundTruth" / self.split / f"{name}.mat",
            self.destination / "images" / self.split / f"{name}.png",
        ]

    def number(self) -> int:
        """Number of the image in layout `coco`."""
        return NUMBERED_FROM[self.split] + self.index


def _draw(order: _Order) -> None:
    ranked = order.layout == "dis5k" and order.split in BY_COMPLEXITY
    # hash() differs between processes; the CRC of the split's name does not.
    stream = zlib.crc32(b"te" if ranked else order.split.encode())
    rng = np.random.default_rng([order.seed, stream, order.index])
    if ranked:
        scenes = [draw_scene(rng, order.style) for _ in BY_COMPLEXITY]
        scenes.sort(key=lambda each: outline_length(each.instances > 0))
        scene = scenes[BY_COMPLEXITY.index(order.split)]
    else:
        scene = draw_scene(rng, order.style)
    paths = order.paths()
    if order.layout == "bsds":
        segmentations, boundaries = zip(*annotate(scene, rng), strict=True)
        write_bytes(paths[0], _png(scene.instances.astype(np.uint16)))
        write_bsds_annotation(paths[1], segmentations, boundaries)
    elif order.layout == "dis5k":
        write_bytes(paths[0], _png(np.where(scene.instances > 0, np.uint8(255), np.uint8(0))))
    elif order.layout == "coco":
        write_bytes(paths[0], _png(_segments(scene)))
    write_bytes(paths[-1], _png(scene.image))


def _segments(scene: Scene) -> np.ndarray:
    """The panoptic map of a scene as colours: the class in red, the number of the instance in green.

    So the lists of layout `coco` can be made from these files alone, also after a drawing that was killed.
    """
    classes = scene.classes.copy()
    classes[0] = 1 + len(SHAPES) + scene.ground
    colours = np.zeros((*scene.instances.shape, 3), np.uint8)
    colours[..., 0], colours[..., 1] = classes[scene.instances], scene.instances
    return colours


def _list_segments(destination: Path, split: str, orders: list[_Order]) -> None:
    """Write the two JSON files of a split of layout `coco`, if they are not there."""
    folder = destination / "annotations"
    instances, panoptic = folder / f"instances_{split}.json", folder / f"panoptic_{split}.json"
    if instances.is_file() and panoptic.is_file():
        return
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    maps: list[dict[str, Any]] = []
    for order in orders:
        segments, image = order.paths()
        with Image.open(segments) as file:
            colours = np.asarray(file)
        height, width = colours.shape[:2]
        ids = colours[..., 0] + 256 * colours[..., 1].astype(np.int64)
        images.append({"id": order.number(), "file_name": image.name, "height": height, "width": width})
        listed = []
        for key in np.unique(ids).tolist():
            mask = ids == key
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            x, y = int(columns[0]), int(rows[0])
            shown = {
                "id": key,
                "category_id": key % 256,
                "iscrowd": 0,
                "area": int(mask.sum()),
                "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
            }
            listed.append(shown)
            if key % 256 <= len(SHAPES):
                mask_runs = instance_files.encode(mask)
                objects.append({**shown, "id": len(objects) + 1, "image_id": order.number(), "segmentation": mask_runs})
        maps.append({"image_id": order.number(), "file_name": segments.name, "segments_info": listed})
    things = [category for category in CATEGORIES if category["isthing"]]
    write_json(instances, {"images": images, "annotations": objects, "categories": things})
    write_json(panoptic, {"images": images, "annotations": maps, "categories": CATEGORIES})


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _claim(destination: Path, recipe: dict[str, Any]) -> None:
    """Note in the folder how its scenes are drawn, and refuse to mix two ways."""
    note = destination / DRAWN
    recipe = json.loads(canonical_json(recipe))
    if not note.exists():
        write_json(note, recipe)
    elif (there := read_json(note)) != recipe:
        differing = sorted(key for key in recipe if there.get(key) != recipe[key])
        raise DataError(
            f"{destination}: holds scenes drawn with another {', '.join(differing)}. "
            f"Delete the folder or choose another one, then run the same command again."
        )
