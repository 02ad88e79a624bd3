"""Human correction effort (Qin et al., ECCV 2022): clicks that would turn a prediction into the truth."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numba import njit
from numpy.typing import NDArray

from edgebench.errors import EdgebenchError

RELAX = 5  # pixels by which a border may be off before it has to be corrected
TOLERANCE = 2.0  # pixels by which a polygon may leave the border
_TOO_NEW = (4, 13)  # from here on approxPolyDP places other points, up to 13 of 270 in an image


def correction_effort(prediction: NDArray[np.bool_], truth: NDArray[np.bool_], skeleton: NDArray[np.bool_]) -> int:
    """Polygon points and whole regions that a person would have to correct.

    False regions thinner than 2 `RELAX` along the borders of the truth are forgiven, but not where they cut
    the skeleton of the truth. Borders of what remains that touch correct pixels cost the points of their
    polygons (Douglas and Peucker, tolerance 2 pixels); regions without such a border cost one click each.

    Args:
        prediction: bool (H, W).
        truth: bool (H, W).
        skeleton: `mask_skeleton(truth)`.

    Returns:
        At least 0. The points depend on OpenCV's version, see `opencv`.

    Raises:
        EdgebenchError: OpenCV is missing or of another version.
    """
    cv2 = opencv()
    hits, false, missed = prediction & truth, prediction & ~truth, truth & ~prediction
    core = _grow(cv2.erode, prediction | truth, RELAX)
    # What is thick is kept, and grown back to where it came from.
    false = false & _grow_within(cv2.dilate, false & core, ~truth)
    missed = missed & _grow_within(cv2.dilate, missed & core, ~prediction)
    missed |= skeleton & ~hits
    return _clicks(cv2, false, hits | missed) + _clicks(cv2, missed, ~(hits | false | missed))


def mask_skeleton(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Centre lines of a mask, bool (H, W), as scikit-image draws them (Zhang and Suen, 1984)."""
    from skimage.morphology import skeletonize

    return skeletonize(mask).astype(bool)


def opencv() -> ModuleType:
    """OpenCV in a version that gives the published numbers of points.

    Raises:
        EdgebenchError: it is missing, or 4.13 or newer.
    """
    install = "Type `pip install 'opencv-python-headless>=4.10,<4.12'`."
    try:
        import cv2
    except ImportError as error:
        raise EdgebenchError(f"The human correction effort (hce) needs OpenCV. {install}") from error
    if tuple(int(part) for part in cv2.__version__.split(".")[:2]) >= _TOO_NEW:
        raise EdgebenchError(
            f"OpenCV {cv2.__version__} simplifies polygons otherwise than 4.12 and older, with which the human "
            f"correction effort (hce) is reported. {install}"
        )
    return cv2


def _cross() -> NDArray[np.uint8]:
    return np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def _grow(operation, mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    return operation(mask.astype(np.uint8), _cross(), iterations=steps).view(bool)


def _grow_within(dilate, mask: NDArray[np.bool_], within: NDArray[np.bool_]) -> NDArray[np.bool_]:
    for _ in range(RELAX):
        mask = _grow(dilate, mask, 1) & within
    return mask


def _clicks(cv2, mask: NDArray[np.bool_], beside: NDArray[np.bool_]) -> int:
    """Points on the borders of `mask` that touch `beside`, and regions of `mask` that do not touch it."""
    pixels = mask.astype(np.uint8)
    contours, _ = cv2.findContours(pixels, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return 0
    regions, labels = cv2.connectedComponents(pixels, connectivity=8)
    points = np.concatenate(contours)[:, 0]
    ends = np.cumsum([len(contour) for contour in contours])
    touched = np.zeros(regions, np.bool_)
    borders, first, last = _open_borders(points, ends, _grow(cv2.dilate, beside, 1), labels, touched)
    alone = regions - 1 - int(np.count_nonzero(touched))
    return alone + sum(
        len(cv2.approxPolyDP(borders[a:b, None], TOLERANCE, False)) for a, b in zip(first, last, strict=True)
    )


@njit(cache=True)
def _open_borders(points, ends, beside, labels, touched):  # pragma: no cover - compiled
    """Stretches of contours on `beside`; each pixel counts for the contour that comes first.

    Returns:
        The points of all stretches, and where each begins and ends. `touched` says which regions have one.
    """
    # A stretch through the contour's first point is joined from two parts, hence twice the room.
    out = np.empty((2 * len(points), 2), np.int32)
    first = np.empty(len(points), np.int64)
    last = np.empty(len(points), np.int64)
    seen = np.zeros(beside.shape, np.bool_)
    filled = stretches = begin = 0
    for end in ends:
        before, inside = stretches, False
        for k in range(begin, end):
            x, y = points[k]
            if not beside[y, x] or seen[y, x]:
                inside = False
                continue
            seen[y, x] = True
            touched[labels[y, x]] = True
            if not inside:
                first[stretches] = filled
                stretches += 1
                inside = True
            out[filled] = points[k]
            filled += 1
            last[stretches - 1] = filled
        begin = end
        if stretches - before > 1:
            head, tail = out[first[before]], out[filled - 1]
            if max(abs(head[0] - tail[0]), abs(head[1] - tail[1])) == 1:
                # As in the authors' code the first part is appended back to front.
                for k in range(last[before] - 1, first[before] - 1, -1):
                    out[filled] = out[k]
                    filled += 1
                last[stretches - 1] = filled
                stretches -= 1
                for k in range(before, stretches):
                    first[k], last[k] = first[k + 1], last[k + 1]
    return out, first[:stretches], last[:stretches]
