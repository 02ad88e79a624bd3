"""A number per image that outlives an interruption."""

from __future__ import annotations

import os

from edgebench.stages.parts import WORK
from edgebench.stages.spec import RunSpec


class PerImage:
    """A number per image, appended as batches finish, so that an interrupted run keeps them.

    Jobs that share a run append to files of their own and read those of all.

    Args:
        spec: The run, and which part of it this job works on.
        name: Of the number.
    """

    def __init__(self, spec: RunSpec, name: str) -> None:
        self.name, self.top = f"{name}.tsv", spec.folder / WORK
        self.path = spec.work / self.name
        # A line cut off by a kill or a full disk goes, so that the next one does not continue it.
        content = self.path.read_bytes() if self.path.exists() else b""
        if content and not content.endswith(b"\n"):
            os.truncate(self.path, content.rfind(b"\n") + 1)

    def add(self, ids: list[str], values: list[float]) -> None:
        """Append the values of a batch, in the order of `ids`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.writelines(f"{image_id}\t{value:.6f}\n" for image_id, value in zip(ids, values, strict=True))

    def read(self, ids: list[str]) -> dict[str, float]:
        """The last value of each of `ids` that has one."""
        # Behind the last end of a line is what a kill cut off.
        contents = [path.read_text().rpartition("\n")[0] for path in sorted(self.top.rglob(self.name))]
        lines = [line.split("\t") for content in contents for line in content.splitlines()]
        known = {parts[0]: float(parts[1]) for parts in lines if len(parts) == 2}
        return {image_id: known[image_id] for image_id in ids if image_id in known}
