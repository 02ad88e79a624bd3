"""NYU Depth v2 for edges, as distributed with RCF (NYUD.tar.gz of github.com/yun-liu/RCF, after HED).

    train/Images/img_5003.png    train/GT/img_5003.png     795 images: the benchmark's train and val
    test/Images/img_5001.png     groundTruth/img_5001.mat  654 images

Images are 560 x 425, ids `img_5001` to `img_6449`. The archive has no annotations of the test images: those are the
BSDS-style files of Gupta et al. (CVPR 2013), which its authors pass on separately, put beside it as `groundTruth`.
"""

from __future__ import annotations

from pathlib import Path

from edgebench.data.adapters.base import AnnotatedImages, check_pairs, files_by_id
from edgebench.data.adapters.listing import require_folder
from edgebench.errors import DataError, nearest

_SPLITS = ("train", "test")


class NyudDataset(AnnotatedImages):
    """Colour images of NYUDv2 with one annotator; the HHA images of the archive are left out.

    Args:
        folder: Holds `train`, `test` and `groundTruth`, whose files go before those in `GT`.
        split: `train` or `test`.

    Raises:
        DataError: a folder or split is missing, or an image has no annotation.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        if split not in _SPLITS:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, _SPLITS)}")
        images = folder / split / "Images"
        require_folder(images)
        found = files_by_id(images)
        drawn = files_by_id(folder / split / "GT", [".png"]) | files_by_id(folder / "groundTruth", [".mat"])
        # `groundTruth` may hold both splits, so only what the images lack is an error.
        annotations = {image_id: [drawn[image_id]] for image_id in found if image_id in drawn}
        check_pairs(found, annotations, images, folder / "groundTruth")
        super().__init__(images, found.items(), annotations)
