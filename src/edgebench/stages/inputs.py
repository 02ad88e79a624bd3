"""Opening what a run works on: its data set, and the maps of another run as labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgebench.stages.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np

    from edgebench.data.adapters import Dataset

MAPS = "maps"
FRAMES = "frames"


def open_input(spec: RunSpec) -> Dataset:
    """The run's data set and split, cut to its `limit` (the first ids in ASCII order)."""
    from edgebench.data.adapters import open_dataset

    assert spec.content["dataset"] is not None
    dataset = open_dataset(spec.content["dataset"]["layout"], spec.input("dataset"), spec.settings["split"])
    if spec.settings.get("limit"):
        dataset.ids = dataset.ids[: spec.settings["limit"]]
    return dataset


def map_file(folder: Path, image_id: str) -> Path:
    """Where a predict run keeps the map of an image."""
    return folder / MAPS / f"{image_id}.png"


@dataclass
class LabelledBy:
    """A data set whose annotations are the edge maps of a predict run."""

    dataset: Dataset
    maps: Path

    @property
    def ids(self) -> list[str]:
        """Ids of the images."""
        return self.dataset.ids

    def image(self, image_id: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return self.dataset.image(image_id)

    def boundaries(self, image_id: str) -> list[np.ndarray]:
        """One bool (H, W): where the map is at least one half."""
        from edgebench.data.edge_maps import read_edge_map

        return [read_edge_map(map_file(self.maps, image_id)) >= 0.5]
