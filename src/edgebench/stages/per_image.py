"""A number per image that outlives an interruption."""

from __future__ import annotations

import os
from pathlib import Path


class PerImage:
    """A number per image, appended as batches finish, so that an interrupted run keeps them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # A line cut off by a kill or a full disk goes, so that the next one does not continue it.
        content = path.read_bytes() if path.exists() else b""
        if content and not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)

    def add(self, ids: list[str], values: list[float]) -> None:
        """Append the values of a batch, in the order of `ids`."""
        with self.path.open("a") as file:
            file.writelines(f"{image_id}\t{value:.6f}\n" for image_id, value in zip(ids, values, strict=True))

    def read(self, ids: list[str]) -> dict[str, float]:
        """The last value of each of `ids` that has one."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        known = {parts[0]: float(parts[1]) for line in lines if len(parts := line.split("\t")) == 2}
        return {image_id: known[image_id] for image_id in ids if image_id in known}
