"""One predict run shared by several jobs.

The run's folder is kept once (`begin`: what is left of a finished run goes, what is left of an interrupted one stays),
then N jobs work side by side, each on its part of the images, and one more gathers what they made, computes nothing,
and writes the record. None of the N ever removes anything but its own marker, so none can take another's work away.

All that the jobs tell one another lies in the folder `work` of the run: the file `begun`; of part 3 of 8 what it notes
on the way, in the folder `3of8`, which outlives a kill; and at its end the marker `3of8.json`, with what it cost. The
workflow declares `begun` and the markers as its outputs. It deletes declared outputs when their job fails, which is why
nothing else is one, and the marker is written last. The last job deletes `work` after the record is written: a forced
or changed run finds no marker, so that it begins again, parts and all. A marker names the number of parts, too: with
another number of shards, images that have their file are passed over, and no marker stands for the wrong share.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgebench.errors import ConfigError, EdgebenchError
from edgebench.files import read_json

Item = TypeVar("Item")
Map = dict[str, Any]

WORK = "work"
BEGUN = "begun"


@dataclass(frozen=True, order=True)
class Part:
    """Which part of a run a job works on.

    Attributes:
        number: From 1 on.
        of: How many parts there are.
    """

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> Part:
        """The part of a name such as `3of8`.

        Raises:
            ConfigError: it is no such name.
        """
        found = re.fullmatch(r"([1-9]\d*)of([1-9]\d*)", text)
        if found is None or int(found[1]) > int(found[2]):
            raise ConfigError(f"--part {text}: a part is called 3of8, for the third of eight; or type begin or gather.")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}of{self.of}"

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Every `of`-th item: large and small, easy and hard ones are spread."""
        return list(items[self.number - 1 :: self.of])


def marker(folder: Path, part: Part) -> Path:
    """The file that says that a part is done, and what it cost."""
    return folder / WORK / f"{part}.json"


def told_by_parts(folder: Path) -> list[Map]:
    """What the parts that are done told, in their order.

    Raises:
        EdgebenchError: a marker is damaged.
    """
    markers = {Part.read(path.stem): path for path in (folder / WORK).glob("[0-9]*of[0-9]*.json")}
    return [read_json(markers[part]) for part in sorted(markers)]


def incomplete(folder: Path, missing: Sequence[str], of: int) -> EdgebenchError:
    """The error that parts are done, but files of a run are missing; the markers go, so that the parts are done again.

    Args:
        folder: The run's.
        missing: What has no file.
        of: How many there should be.
    """
    for path in (folder / WORK).glob("[0-9]*of[0-9]*.json"):
        path.unlink(missing_ok=True)
    return EdgebenchError(
        f"{folder}: {len(missing)} of {of} files are missing, the first is that of '{missing[0]}', although every part "
        f"of the run was done: they were removed since, or never reached this machine. Type the same snakemake command "
        f"again: the parts make what is missing."
    )
