"""The layout of the BIPEDv2 archive (Soria et al., WACV 2020): one annotation per image.

    BIPEDv2/BIPED/edges/imgs/train/rgbr/real/RGB_001.jpg     .../edge_maps/train/rgbr/real/RGB_001.png
    BIPEDv2/BIPED/edges/imgs/test/rgbr/RGB_008.jpg           .../edge_maps/test/rgbr/RGB_008.png

Images are 1280 x 720; annotations are grey, bright = edge, with levels between black and white along the lines.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgebench.data import edge_maps
from edgebench.data.adapters.base import AnnotatedImages, check_pairs, files_by_id
from edgebench.data.adapters.listing import require_folder
from edgebench.errors import DataError, nearest

_NESTING = ("BIPEDv2/BIPED/edges", "BIPED/edges", "edges", ".")
_PARTS = {"train": "train/rgbr/real", "test": "test/rgbr"}


class BipedDataset(AnnotatedImages):
    """BIPED or BIPEDv2; an annotated pixel has at least level 128.

    Args:
        folder: The unpacked archive, or any folder of its nesting down to the one that holds `imgs`.
        split: `train` (200 images) or `test` (50).

    Raises:
        DataError: a folder or split is missing, or images and annotations do not pair up.
    """

    def __init__(self, folder: Path, split: str) -> None:
        require_folder(folder)
        edges = next((folder / each for each in _NESTING if (folder / each / "imgs").is_dir()), None)
        if edges is None:
            raise DataError(
                f"{folder}: not the layout of BIPED. It holds {_NESTING[0]}/imgs and, beside it, edge_maps; name the "
                f"folder that was unpacked with `edgebench fetch NAME --mirror FOLDER`."
            )
        if split not in _PARTS:
            raise DataError(f"{folder}: no split '{split}'.{nearest(split, _PARTS)}")
        images, annotations = edges / "imgs" / _PARTS[split], edges / "edge_maps" / _PARTS[split]
        require_folder(images)
        require_folder(annotations)
        found, drawn = files_by_id(images), files_by_id(annotations, [".png"])
        check_pairs(found, drawn, images, annotations)
        super().__init__(images, found.items(), {image_id: [path] for image_id, path in drawn.items()})

    def annotation(self, image_id: str) -> np.ndarray:
        """The annotation as drawn, uint8 (H, W) with all its levels, 255 = edge."""
        return np.rint(edge_maps.read_edge_map(self._annotations[image_id][0]) * 255).astype(np.uint8)
