"""Objects of photographs, each with a mask of its own: TokenCut, MaskCut and ProMerge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgebench.stages.photos.answers import INSTANCES, OVERLAY, Detector, Photo

INSTANCE_KINDS = {OVERLAY: "objects in colour", INSTANCES: "their masks (COCO run lengths)"}


@dataclass(frozen=True)
class InstanceAnswer:
    """Objects of one photograph.

    Attributes:
        masks: bool (n, H, W); they may overlap.
        size: (H, W).
    """

    masks: NDArray[np.bool_]
    size: tuple[int, int]

    @property
    def maps(self) -> list[NDArray[np.floating]]:
        """As in `Answer`: where any object is."""
        anywhere: NDArray[np.floating] = np.max(self.masks, axis=0, initial=False).astype(np.float32)
        return [anywhere]

    @property
    def facts(self) -> dict[str, Any]:
        """As in `Answer`."""
        return {"objects": len(self.masks)}

    def write(self, files: Mapping[str, Path], photo: Path) -> None:
        """As in `Answer`."""
        from PIL import Image

        from edgebench.data.images import read_image
        from edgebench.data.instances import from_masks, write_instances
        from edgebench.files import atomic_path
        from edgebench.report.overlay import coloured

        shown = coloured(read_image(photo), list(self.masks))
        with atomic_path(files[OVERLAY]) as temporary:
            Image.fromarray(shown).save(temporary, format="PNG", compress_level=3)
        write_instances(files[INSTANCES], from_masks(self.masks, self.size))


def unsupervised(
    method: Literal["tokencut", "maskcut", "promerge"],
    dino: Path | None,
    *,
    size: int = 480,
    patch: int = 8,
    crf: bool = True,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    **settings: Any,
) -> Detector:
    """A method without training, on the features of a network of DINO or on statistics of patches.

    Args:
        method: Its name.
        dino: Folder of the network; None takes statistics of colour and texture.
        size: Side of the square in which patches are cut, pixels.
        patch: Side of the patches of the statistics, pixels.
        crf: Draw the outlines along the photograph's edges.
        device: auto, cpu or cuda.
        precision: Of the network.
        settings: Further arguments of the method, such as `tau` or `rounds`.

    Raises:
        ConfigError: a size is no multiple of the patches'.
        DataError: the folder holds no such network.
    """
    from edgebench.methods.unsupervised.crf import CrfSettings
    from edgebench.methods.unsupervised.finish import finish
    from edgebench.stages.predictors.unsupervised import finder, patch_features

    describe = patch_features(dino, size, patch, device, precision)
    find = finder(method, settings)
    weights = CrfSettings() if crf else None

    def answer(images: list[Photo], names: list[str]) -> list[InstanceAnswer]:
        found = [find(features).masks for features in describe(images)]
        return [
            InstanceAnswer(finish(masks, image, size, weights), image.shape[:2])
            for masks, image in zip(found, images, strict=True)
        ]

    chosen = {"size": size, "patch": None if dino else patch, "crf": asdict(weights) if weights else None, **settings}
    return Detector(
        method,
        chosen | ({"device": device, "precision": precision} if dino else {}),
        answer,
        kinds=INSTANCE_KINDS,
        makes="overlay",
        weights=_weight_file(dino),
        advice="A smaller --size cuts it into fewer patches.",
    )


def _weight_file(dino: Path | None) -> Path | None:
    if dino is None:
        return None
    return next(file for file in (dino / "model.safetensors", dino / "pytorch_model.bin") if file.is_file())
