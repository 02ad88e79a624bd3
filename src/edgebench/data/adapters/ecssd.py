"""ECSSD (Shi et al., TPAMI 2016): images/NNNN.jpg, ground_truth_mask/NNNN.png.

It is a test set as a whole: networks are trained elsewhere. edgebench divides it, so that training and testing on real
photographs can be tried without other data: the 200 ids whose SHA-256 is smallest are the test images.
"""

from __future__ import annotations

from pathlib import Path

from edgebench.data.adapters.base import MaskedImages
from edgebench.data.adapters.listing import require_folder, smallest_digests
from edgebench.errors import DataError, nearest

N_TEST = 200
_SPLITS = ("train", "test")


class EcssdDataset(MaskedImages):
    """One part of ECSSD, by edgebench's own division.

    Args:
        folder: Holds `images` and `ground_truth_mask`.
        split: `train` or `test`.

    Raises:
        DataError: a folder or split is missing, or images and masks do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        if split not in _SPLITS:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, _SPLITS)}")
        super().__init__(folder / "images", folder / "ground_truth_mask")
        tested = smallest_digests(self.ids, N_TEST)
        self.ids = [image_id for image_id in self.ids if (image_id in tested) == (split == "test")]
