"""Annotation files of BSDS500: reading, writing, and boundaries from segmentations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgebench.data.images import describe_content
from edgebench.errors import DataError
from edgebench.files import write_bytes

_HEADER = b"MATLAB 5.0 MAT-file, written by edgebench".ljust(116)


def read_bsds_annotations(path: str | Path) -> list[np.ndarray]:
    """Boundaries that each annotator of an image drew.

    Args:
        path: MATLAB v5 file with the cell `groundTruth` (1, n) of structs, as in BSDS500.

    Returns:
        One bool (H, W) per annotator, in the file's order; all of one shape.

    Raises:
        DataError: the file is missing, damaged or not laid out this way.
    """
    return [array > 0 for array in _read_field(Path(path), "Boundaries")]


def read_bsds_segmentations(path: str | Path) -> list[np.ndarray]:
    """Regions that each annotator of an image drew, as labels from 1.

    Args:
        path: MATLAB v5 file with the cell `groundTruth` (1, n) of structs, as in BSDS500.

    Returns:
        One int32 (H, W) per annotator, in the file's order; all of one shape.

    Raises:
        DataError: the file is missing, damaged or not laid out this way.
    """
    return [array.astype(np.int32) for array in _read_field(Path(path), "Segmentation")]


def write_bsds_annotation(
    path: str | Path, segmentations: Sequence[np.ndarray], boundaries: Sequence[np.ndarray]
) -> None:
    """Write annotators' regions and boundaries as BSDS500 does; equal content gives equal bytes.

    Args:
        path: File to write, `.mat`.
        segmentations: Per annotator an integer (H, W) of labels in [0, 65535].
        boundaries: Per annotator a bool (H, W).

    Raises:
        DataError: no annotator, or arrays that do not fit together.
    """
    from scipy.io import savemat

    shapes = {np.shape(array) for array in (*segmentations, *boundaries)}
    if not segmentations or len(segmentations) != len(boundaries) or len(shapes) != 1:
        raise DataError(
            f"{path}: needs as many segmentations as boundaries, all of one shape; "
            f"got {len(segmentations)} and {len(boundaries)} of shapes {sorted(shapes)}."
        )
    cell = np.empty((1, len(segmentations)), dtype=object)
    for annotator, (segmentation, boundary) in enumerate(zip(segmentations, boundaries, strict=True)):
        cell[0, annotator] = {
            "Segmentation": np.asarray(segmentation, dtype=np.uint16),
            "Boundaries": np.asarray(boundary, dtype=np.uint8),
        }
    buffer = io.BytesIO()
    savemat(buffer, {"groundTruth": cell}, do_compression=True)
    content = buffer.getvalue()
    # SciPy puts the time of day into the descriptive header, which no reader uses.
    write_bytes(path, _HEADER + content[len(_HEADER) :])


def segmentation_boundaries(segmentations: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Boundaries of label maps as BSDS500 defines them: `seg2bdry(seg, 'imageSize')`, then thinned.

    A pixel is a boundary when its right, lower or lower-right neighbour carries another label; thinning
    leaves lines one pixel wide. On the data set's own segmentations this gives its own boundaries.

    Args:
        segmentations: Integer label maps, all (H, W).

    Returns:
        One bool (H, W) per label map.
    """
    from skimage.morphology import thin  # slow to import, and only needed to draw annotations

    labels = np.stack(segmentations)
    differs = np.zeros(labels.shape, dtype=bool)
    differs[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    differs[:, :, :-1] |= labels[:, :, :-1] != labels[:, :, 1:]
    differs[:, :-1, :-1] |= labels[:, :-1, :-1] != labels[:, 1:, 1:]
    # One call for all: an empty row keeps the maps apart, and outside the image counts as empty anyway.
    count, height, width = labels.shape
    spaced = np.zeros((count, height + 1, width), dtype=bool)
    spaced[:, :height] = differs
    thinned = thin(spaced.reshape(count * (height + 1), width)).reshape(spaced.shape)
    return list(thinned[:, :height])


def _read_field(path: Path, field: str) -> list[np.ndarray]:
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"{path}: no such annotation file. Fetch the data set again.")
    try:
        content = loadmat(path, variable_names=["groundTruth"])
    except Exception as error:  # SciPy raises whatever its parser stumbles over
        what = describe_content(path) or f"not a readable MATLAB v5 file ({error})"
        raise DataError(f"{path}: {what}. Delete it and fetch the data set again.") from error
    try:
        arrays = [np.asarray(annotator[field][0, 0]) for annotator in content["groundTruth"].ravel()]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(
            f"{path}: holds no BSDS annotation: a cell `groundTruth` of structs with a field `{field}`."
        ) from error
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise DataError(f"{path}: {len(arrays)} annotators, of shapes {sorted(shapes)}; expected one shape (H, W).")
    return arrays
