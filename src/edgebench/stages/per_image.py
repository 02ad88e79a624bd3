"""A number per image that outlives an interruption."""

from __future__ import annotations

from pathlib import Path


class PerImage:
    """A number per image, appended as batches finish, so that an interrupted run keeps them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, ids: list[str], values: list[float]) -> None:
        """Append the values of a batch, in the order of `ids`."""
        with self.path.open("a") as file:
            file.writelines(f"{image_id}\t{value:.6f}\n" for image_id, value in zip(ids, values, strict=True))

    def read(self, ids: list[str]) -> dict[str, float]:
        """The last value of each of `ids` that has one."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        # A line cut off by a kill lacks a part; its image counts without a number.
        known = {parts[0]: float(parts[1]) for line in lines if len(parts := line.split("\t")) == 2 and parts[1]}
        return {image_id: known[image_id] for image_id in ids if image_id in known}
