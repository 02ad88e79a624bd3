"""UDED (Soria et al., ICCVW 2023): imgs/ID.png, gt/ID.png and the same drawing as gt_mat/ID.mat in BSDS style.

Its images come from other data sets, four of the known ones from BSDS500: 03-35028, 10-196062 and 22-335094 from its
test part, 30-167062 from its validation part, on which edge networks are usually trained.
"""

from __future__ import annotations

from pathlib import Path

from edgebench.data.adapters.base import AnnotatedImages, check_pairs, files_by_id
from edgebench.data.adapters.listing import require_folder
from edgebench.errors import DataError, nearest

IN_BSDS_TRAINVAL = frozenset({"30-167062"})
_SPLITS = ("test", "bsds_trainval")


class UdedDataset(AnnotatedImages):
    """UDED; one annotator.

    Args:
        folder: Holds `imgs` and `gt_mat`.
        split: `test`: the images that no network trained on BSDS500's train and val parts has seen;
            `bsds_trainval`: the others.

    Raises:
        DataError: a folder or split is missing, or images and annotations do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        if split not in _SPLITS:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, _SPLITS)}")
        images, annotations = folder / "imgs", folder / "gt_mat"
        require_folder(images)
        require_folder(annotations)
        found, drawn = files_by_id(images), files_by_id(annotations, [".mat"])
        check_pairs(found, drawn, images, annotations)
        seen = split == "bsds_trainval"
        super().__init__(
            images,
            [(image_id, path) for image_id, path in found.items() if (image_id in IN_BSDS_TRAINVAL) == seen],
            {image_id: [path] for image_id, path in drawn.items()},
        )
