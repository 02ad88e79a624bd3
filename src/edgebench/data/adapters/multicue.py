"""Multicue (Mély et al., Vision Research 2016) as its authors distribute it: a picture per annotator.

    images/4580_left_0165.png
    ground-truth/images/edges/4580_left_0165.1.png ... .6.png          six annotators
    ground-truth/images/boundaries/4580_left_0165.1.png ... .5.png     five annotators

100 scenes of 1280 x 720: the last frame of the left camera. Papers draw three random splits into 80 training and 20
test images and average the scores, without saying which images; here it is one split, fixed for everybody: the 20 ids
whose SHA-256 is smallest are the test images.
"""

from __future__ import annotations

from pathlib import Path

from edgebench.data.adapters.base import AnnotatedImages, check_pairs, files_by_id
from edgebench.data.adapters.listing import require_folder, smallest_digests
from edgebench.errors import DataError, nearest

TEST_SHARE = 0.2
_SPLITS = tuple(f"{kind}_{part}" for kind in ("edges", "boundaries") for part in ("train", "test"))


class MulticueDataset(AnnotatedImages):
    """Multicue with the annotations of one kind.

    Args:
        folder: Holds `images` and `ground-truth`.
        split: `edges_train`, `edges_test`, `boundaries_train` or `boundaries_test`.

    Raises:
        DataError: a folder or split is missing, or images and annotations do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        if split not in _SPLITS:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, _SPLITS)}")
        kind, part = split.split("_")
        images, drawings = folder / "images", folder / "ground-truth" / "images" / kind
        require_folder(images)
        require_folder(drawings)
        found = files_by_id(images)
        annotations: dict[str, list[Path]] = {}
        for name, path in files_by_id(drawings, [".png"]).items():
            annotations.setdefault(name.rpartition(".")[0], []).append(path)
        check_pairs(found, annotations, images, drawings)
        tested = smallest_digests(found, round(TEST_SHARE * len(found)))
        chosen = [(image_id, path) for image_id, path in found.items() if (image_id in tested) == (part == "test")]
        super().__init__(images, chosen, annotations)
