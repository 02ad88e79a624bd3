"""Reading predicted edge maps and annotated boundaries from the files people have."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgebench.data.adapters.bsds_mat import read_bsds_annotations
from edgebench.data.adapters.listing import some_names
from edgebench.data.grey import counts_as, files_by_id, in_unit_range, read_grey, read_grey_array
from edgebench.errors import DataError

MAP_SUFFIXES = (".png", ".npy", ".mat")
TRUTH_SUFFIXES = (".mat", ".png")


class Pair(NamedTuple):
    """One image: its id, the file of its predicted map, and the file or folder of its annotations."""

    id: str
    prediction: Path
    truth: Path


def read_edge_map(path: str | Path) -> NDArray[np.float64]:
    """Read a predicted edge map, bright = edge.

    PNG: 8 bits are divided by 255, 16 bits by 65535. A palette or RGB file is accepted when all its pixels
    are grey, an alpha channel when it is opaque everywhere; a colour picture is refused, because it is an
    overlay or a colour map far more often than an edge map. NPY: floats in [0, 1], integers divided by the
    largest value of their type, or booleans. MAT: a BSDS `ucm2` of size (2H+1, 2W+1), of which every second
    value is the map.

    Args:
        path: A .png, .npy or .mat file.

    Returns:
        float64 (H, W) in [0, 1].

    Raises:
        DataError: the file is missing, damaged, of another kind, or its values are not in [0, 1].
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".png":
        return read_grey(path, "edge map")
    if suffix == ".npy":
        return read_grey_array(path, "edge map")
    if suffix == ".mat":
        doubled = _variable(path, "ucm2")
        if doubled.ndim != 2 or min(doubled.shape) < 3 or not all(side % 2 for side in doubled.shape):
            raise DataError(f"{path}: ucm2 has the shape {doubled.shape}; (2H+1, 2W+1) is expected.")
        return in_unit_range(path, doubled[2::2, 2::2], "edge map")
    raise DataError(f"{path}: an edge map is a file of the kind {', '.join(MAP_SUFFIXES)}.")


def read_boundaries(path: str | Path) -> list[NDArray[np.bool_]]:
    """Read the boundaries of one image, one mask per annotator, as they are.

    Args:
        path: A BSDS .mat file (cell `groundTruth` with a field `Boundaries` per annotator), a PNG (one
            annotator; 128 or more is edge), or a folder with one PNG per annotator, read in order of name.

    Returns:
        Masks, bool (H, W), all of one size; at least one.

    Raises:
        DataError: something is missing, damaged or of another kind, or the annotators differ in size.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if counts_as(file, (".png",)))
        if not files:
            raise DataError(f"{path}: no PNG of an annotator in this folder.")
        masks = [_read_mask(file) for file in files]
    elif path.suffix.lower() == ".png":
        masks = [_read_mask(path)]
    elif path.suffix.lower() == ".mat":
        masks = read_bsds_annotations(path)
    else:
        raise DataError(f"{path}: boundaries are a .mat file, a .png file or a folder of .png files.")
    shapes = {mask.shape for mask in masks}
    if len(shapes) > 1:
        raise DataError(f"{path}: its annotators have different sizes, {_sizes(shapes)}.")
    return masks


def encode_levels(levels: NDArray[np.uint8]) -> bytes:
    """Levels uint8 (H, W) as a PNG: 1-bit where there is only edge (1) and no edge (0), else 8-bit."""
    from PIL import Image

    buffer = io.BytesIO()
    binary = levels.max(initial=0) <= 1
    Image.fromarray(levels > 0 if binary else levels).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def decode_levels(content: bytes, path: Path) -> NDArray[np.uint8]:
    """Levels uint8 (H, W) as `encode_levels` wrote them; `path` is what messages call them.

    Raises:
        DataError: the content is damaged or no such PNG.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.mode not in ("1", "L"):
                raise DataError(f"{path}: a PNG of mode {image.mode}, where labels are expected. Make them again.")
            return np.asarray(image).astype(np.uint8)
    except DataError:
        raise
    except Exception as error:  # Pillow raises half a dozen kinds for a damaged file
        raise DataError(
            f"{path}: not a readable PNG ({error}). Delete the run that made it, then run it again."
        ) from error


def pair_folders(predictions: str | Path, ground_truth: str | Path) -> list[Pair]:
    """Find each image's prediction and annotations by name.

    Predictions are `<id>.png`, `.npy` or `.mat`; annotations `<id>.mat`, `<id>.png` (one annotator) or
    `<id>/<annotator>.png` (several). Other files are passed over.

    Args:
        predictions: Folder of edge maps.
        ground_truth: Folder of annotations.

    Returns:
        The pairs, in ASCII order of id; at least one.

    Raises:
        DataError: a folder is missing or empty, an id occurs twice, or the two sets of ids differ.
    """
    predictions, ground_truth = Path(predictions), Path(ground_truth)
    maps = maps_by_id(predictions)
    truths = files_by_id(ground_truth, TRUTH_SUFFIXES, "annotations", subfolders=True)
    problems = []
    if only_truth := sorted(truths.keys() - maps.keys()):
        problems.append(f"{predictions} has no edge map for {_some(only_truth)}")
    if only_map := sorted(maps.keys() - truths.keys()):
        problems.append(f"{ground_truth} has no annotations for {_some(only_map)}")
    if problems:
        raise DataError(
            f"{'; '.join(problems)}. A file is matched by its name without the suffix. Put the missing files "
            f"there, or evaluate against a folder that holds just the images you predicted."
        )
    return [Pair(key, maps[key], truths[key]) for key in sorted(maps)]


def maps_by_id(folder: str | Path) -> dict[str, Path]:
    """Edge maps of a folder by image id, the file's name without suffix.

    Raises:
        DataError: the folder is missing or holds no edge map, or an id occurs twice.
    """
    return files_by_id(Path(folder), MAP_SUFFIXES, "edge maps")


def _some(ids: list[str]) -> str:
    return f"{len(ids)} image{'s' if len(ids) > 1 else ''} ({some_names(ids)})"


def _sizes(shapes: set[tuple[int, ...]]) -> str:
    return ", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))


def _read_mask(path: Path) -> NDArray[np.bool_]:
    values = read_grey(path, "edge map")
    if 0 < values.max(initial=0) <= 1 / 255:
        raise DataError(f"{path}: its brightest value is 1 of 255, so no pixel would count. Write edges as 255.")
    return values >= 0.5


def _variable(path: Path, name: str) -> NDArray[Any]:
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    try:
        content = loadmat(path)
    except NotImplementedError as error:
        raise DataError(f"{path}: a MATLAB 7.3 file. Save it with `save(..., '-v7')`.") from error
    except Exception as error:  # SciPy raises many kinds for a damaged file
        raise DataError(
            f"{path}: not a readable .mat file ({error}). It may be truncated; copy or fetch it again."
        ) from error
    if name not in content:
        others = ", ".join(sorted(key for key in content if not key.startswith("__"))) or "none"
        raise DataError(f"{path}: has no variable `{name}` (it has: {others}).")
    return np.asarray(content[name])
