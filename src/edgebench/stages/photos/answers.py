"""What a method is and what it answers for a photograph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgebench.data.images import read_layers, write_map_png
from edgebench.errors import EdgebenchError
from edgebench.stages.memory import short_of_memory

Photo = NDArray[np.uint8]

PROBABILITY, EDGES, REVEAL = "prediction", "binarized", "frames"
MASK, CUTOUT, OUTLINE = "mask", "cutout", "edges"
OVERLAY, INSTANCES = "overlay", "instances"
EMERGENCE = "emergence"
SUFFIXES = {PROBABILITY: ".png", EDGES: ".png", REVEAL: ".gif", MASK: ".png", CUTOUT: ".png", OUTLINE: ".png"}
SUFFIXES |= {OVERLAY: ".png", INSTANCES: ".json", EMERGENCE: ".png"}
"""What is written by any method: a folder for each kind, and its suffix."""


class Answer(Protocol):
    """What a method says about one photograph."""

    @property
    def maps(self) -> list[NDArray[np.floating]]:
        """What it says, in numbers: (H, W) in [0, 1] each."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What the record keeps of it."""
        ...

    def write(self, files: Mapping[str, Path], photo: Path) -> None:
        """Write a file for each kind of it; `photo` is what it is about."""
        ...


@dataclass(frozen=True)
class EdgeAnswer:
    """Edges of one photograph.

    Attributes:
        probability: Float (H, W) in [0, 1], of an edge.
        edges: Bool (H, W).
        rounds: Reveal steps, for methods that have them.
        order: uint16 (H, W), the step at which each pixel was revealed, when it was asked for.
    """

    probability: NDArray[np.floating]
    edges: NDArray[np.bool_]
    rounds: int | None = None
    order: NDArray[np.uint16] | None = None

    @property
    def maps(self) -> list[NDArray[np.floating]]:
        """As in `Answer`."""
        return [self.probability]

    @property
    def facts(self) -> dict[str, Any]:
        """As in `Answer`."""
        return {"rounds": self.rounds}

    def write(self, files: Mapping[str, Path], photo: Path) -> None:
        """As in `Answer`."""
        write_map_png(files[PROBABILITY], self.probability)
        write_map_png(files[EDGES], self.edges.astype(np.float32))
        if REVEAL in files:
            from edgebench.methods.memo.frames import write_reveal

            assert self.order is not None
            write_reveal(files[REVEAL], self.order, self.probability)


@dataclass(frozen=True)
class MaskAnswer:
    """What stands out in one photograph.

    Attributes:
        mask: Float (H, W) in [0, 1].
        outline: The same for the mask's outline, when it was asked for.
        soft: Cut out with the mask's grey values as alpha, not with its half.
    """

    mask: NDArray[np.floating]
    outline: NDArray[np.floating] | None = None
    soft: bool = False

    @property
    def maps(self) -> list[NDArray[np.floating]]:
        """As in `Answer`."""
        return [self.mask] if self.outline is None else [self.mask, self.outline]

    @property
    def facts(self) -> dict[str, Any]:
        """As in `Answer`."""
        return {"foreground": round(float((self.mask > 0.5).mean()), 4)}

    def write(self, files: Mapping[str, Path], photo: Path) -> None:
        """As in `Answer`; the cut-out takes its colours from the file, because what methods see has no alpha."""
        from edgebench.stages.photos.cutout import cut_out, write_cutout

        write_map_png(files[MASK], self.mask)
        if OUTLINE in files:
            assert self.outline is not None
            write_map_png(files[OUTLINE], self.outline)
        layers = read_layers(photo)
        write_cutout(files[CUTOUT], cut_out(layers, self.mask, self.soft), layers.profile)


EDGE_KINDS = {PROBABILITY: "probability", EDGES: "edges (0 or 255)"}
MASK_KINDS = {MASK: "mask", CUTOUT: "cut-out (PNG with alpha)"}


@dataclass(frozen=True)
class Detector:
    """A method with its settings, ready for photographs.

    Attributes:
        method: Its name.
        settings: What decides its result; it is recorded, and results of other settings are not mixed with these.
        answer: Images uint8 (H, W, 3) and their names in, one answer each out.
        kinds: What it writes, of `SUFFIXES`, and what people call it.
        makes: What people call one result.
        weights: Its weight file.
        batch: Images that it takes at a time.
        group: Images share a batch when this is equal, given height and width.
        advice: What to do when memory does not suffice.
        slow: Give the advice before a large photograph too; methods that are fast at any size need none.
    """

    method: str
    settings: dict[str, Any]
    answer: Callable[[list[Photo], list[str]], Sequence[Answer]]
    kinds: dict[str, str] = field(default_factory=EDGE_KINDS.copy)
    makes: str = "edge map"
    weights: Path | None = None
    batch: int = 1
    group: Callable[[int, int], tuple[int, int]] = lambda height, width: (height, width)
    advice: str = "Make it smaller."
    slow: bool = False


def ask(detector: Detector, images: list[Photo], names: list[str]) -> Sequence[Answer]:
    """Answers of a method, checked to be numbers.

    Args:
        detector: Method and settings.
        images: uint8 (H, W, 3) RGB each.
        names: One per image, for messages.

    Raises:
        EdgebenchError: the answer is not a number, or memory does not suffice.
    """
    try:
        answers = detector.answer(images, names)
    except (MemoryError, RuntimeError) as error:
        if not short_of_memory(error):
            raise
        height, width = images[0].shape[:2]
        raise EdgebenchError(
            f"{names[0]}: not enough memory for {len(images)} of {width} x {height} pixels. {detector.advice}"
        ) from error
    for name, each in zip(names, answers, strict=True):
        if not all(np.isfinite(values).all() for values in each.maps):
            raise EdgebenchError(f"{name}: the answer is not a number. Check the weights, or use precision fp32.")
    return answers
