"""Edges between the instances of photographs: TRACE in one pass, or its first stage, which needs no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgebench.errors import ConfigError
from edgebench.stages.photos.answers import EDGE_KINDS, EMERGENCE, Detector, EdgeAnswer, Photo

if TYPE_CHECKING:
    from edgebench.methods.trace.backbone import Backbone
    from edgebench.methods.trace.watching import Watched

_EDGE = 0.5
_ADVICE = "--batch 1 takes one at a time; --precision bf16, and with --stage1 a smaller --size, take less."


@dataclass(frozen=True)
class TraceAnswer(EdgeAnswer):
    """Edges, and how instances emerge where that was asked for.

    Attributes:
        image: What was seen, uint8 (H, W, 3).
        watched: Attention over the levels of noise.
        kept: Level of noise that the first stage kept.
        one_pass: Whether the edges are the distilled network's.
    """

    image: Photo | None = None
    watched: Watched | None = None
    kept: int | None = None
    one_pass: bool = True

    @property
    def facts(self) -> dict[str, Any]:
        """As in `Answer`."""
        level = {} if self.kept is None else {"kept": self.kept}
        return {"edges": round(float(self.edges.mean()), 4), **level}

    def write(self, files: Mapping[str, Path], photo: Path) -> None:
        """As in `Answer`."""
        super().write(files, photo)
        if EMERGENCE in files:
            from edgebench.report.emergence import Emerging, write_emergence

            assert self.watched is not None
            assert self.image is not None
            seen = Emerging(**vars(self.watched))
            write_emergence(files[EMERGENCE], seen, self.image, self.probability if self.one_pass else None)


def trace(
    weights: Path | None = None,
    *,
    backbone: Path | None = None,
    stage1: bool = False,
    emergence: bool = False,
    size: int | None = None,
    blocks: Sequence[int | str] | None = None,
    tau: int | None = None,
    keep: Literal["noisier", "cleaner"] = "noisier",
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    batch: int = 4,
    seed: int = 0,
) -> Detector:
    """TRACE with the weights of a safetensors file, or its first stage with a pre-trained network alone.

    Args:
        weights: File of a distillation; that of a small backbone is taken for `backbone`, with `stage1`.
        backbone: Folder of a pre-trained network, or the weight file of a small one. A distillation on a released
            network needs it, one on a small network only for `emergence`.
        stage1: Search the level of noise and take ABDiv there: no training, some dozen passes per photograph.
        emergence: Keep the attention over the levels of noise for a picture.
        size: Of the first stage, side of the square that photographs are resized to, pixels; None, and 0, take what
            the network was trained at.
        blocks: Self-attention blocks of the first stage; None takes all.
        tau: A level of noise instead of the search.
        keep: Which end of the widest gap the search keeps.
        device: auto, cpu or cuda.
        precision: Of the network.
        batch: Photographs that share a pass; the first stage takes one.
        seed: Of the noise, which depends on the photograph's name too.

    Raises:
        ConfigError: a value is out of range, or what is needed is not given.
        DataError: weights or network are missing, damaged or of another method.
    """
    from edgebench.methods.trace.small import METHOD as SMALL
    from edgebench.methods.weight_files import read_metadata
    from edgebench.stages.devices import choose_device

    if weights is not None and read_metadata(weights).get("method") == SMALL:
        weights, backbone, stage1 = None, backbone or weights, True
    if stage1:
        weights = None
    elif weights is None:
        raise ConfigError(
            "TRACE in one pass needs trained weights. Name some, or take the first stage, which needs none."
        )
    if not (stage1 or emergence) and (unused := [n for n, v in (("blocks", blocks), ("tau", tau)) if v is not None]):
        raise ConfigError(f"{' and '.join(unused)}: of the first stage alone. Take that, or leave them out.")
    if emergence and tau is not None:
        raise ConfigError(f"tau {tau}: over a single level of noise nothing emerges. Leave one of the two out.")
    place = choose_device(device)
    search = None
    if stage1 or emergence:
        search = _Search(_opened(backbone, size, precision, place), place, seed, blocks, tau, keep, emergence)
    settings: dict[str, Any] = {"stage1": stage1, "device": place, "precision": precision}
    if search is not None:
        settings |= {"backbone": str(backbone), "seed": seed, **search.settings}
    kinds = EDGE_KINDS | ({EMERGENCE: "emergence of instances"} if emergence else {})
    if stage1:
        assert search is not None
        own = backbone if backbone is not None and backbone.is_file() else None
        return Detector("trace", settings, search.answer, kinds, weights=own, advice=_ADVICE)
    assert weights is not None
    one_pass = _one_pass(weights, backbone, size, precision, place, batch)

    def answer(images: list[Photo], names: list[str]) -> list[TraceAnswer]:
        maps = one_pass(images, names)
        seen = [search.watch(*each) if search else None for each in zip(images, names, strict=True)]
        return [
            TraceAnswer(edges, edges > _EDGE, image=image, watched=watched)
            for image, edges, watched in zip(images, maps, seen, strict=True)
        ]

    return Detector(
        "trace",
        settings,
        answer,
        kinds,
        weights=weights,
        batch=batch,
        group=lambda height, width: (0, 0),
        advice=_ADVICE,
    )


def _one_pass(
    weights: Path, backbone: Path | None, size: int | None, precision: Literal["fp32", "bf16"], device: str, batch: int
) -> Callable[[list[Photo], list[str]], Sequence[np.ndarray]]:
    from edgebench.methods.trace.opening import open_backbone
    from edgebench.methods.trace.student import EdgePredictor
    from edgebench.methods.trace.weights import load_student, origin_of, trained_size

    origin, trained = origin_of(weights), trained_size(weights)
    if size and size != trained:
        raise ConfigError(f"size {size}: these weights were trained at {trained}. Only the first stage takes any size.")
    opened = None
    if checkpoint := origin.pop("checkpoint", None):
        if backbone is None:
            raise ConfigError(f"{weights}: belongs to the checkpoint '{checkpoint}'. Name it as the backbone.")
        how: dict[str, Any] = {"size": trained, "precision": precision, **origin}
        opened = open_backbone(backbone, **how)
    return EdgePredictor(load_student(weights, opened), device, precision, batch).predict


def _opened(path: Path | None, size: int | None, precision: Literal["fp32", "bf16"], device: str) -> Backbone:
    from edgebench.methods.trace.opening import open_backbone
    from edgebench.methods.trace.small import load_small

    if path is None:
        raise ConfigError(
            "TRACE's first stage and the emergence need a pre-trained network as it was before distillation. Name it "
            "as the backbone: a checkpoint that was fetched, or `demo`."
        )
    found: Backbone = load_small(path) if path.is_file() else open_backbone(path, size or None, precision)
    if size and found.size != size:
        raise ConfigError(f"size {size}: this network takes squares of {found.size} pixels alone. Leave the size out.")
    found.network.to(device)
    return found


class _Search:
    """The first stage with one network."""

    def __init__(
        self,
        backbone: Backbone,
        device: str,
        seed: int,
        blocks: Sequence[int | str] | None,
        tau: int | None,
        keep: Literal["noisier", "cleaner"],
        emergence: bool,
    ) -> None:
        from edgebench.methods.trace.capture import choose_blocks
        from edgebench.methods.trace.extract import ExtractSettings

        if emergence and backbone.schedule is None:
            raise ConfigError("emergence: this network has no time, so nothing emerges. Give a diffusion model.")
        self.how = ExtractSettings(tau=tau, keep=keep, blocks=None if blocks is None else tuple(blocks))
        choose_blocks(backbone, blocks)
        self.backbone, self.device, self.seed, self.emergence = backbone, device, seed, emergence
        self.settings = {"size": backbone.size, "blocks": list(blocks) if blocks else None, "tau": tau, "keep": keep}

    def watch(self, image: Photo, name: str) -> Watched:
        """Attention of one photograph over the levels of noise."""
        from edgebench.methods.trace.watching import watch

        return watch(self.backbone, image, name, self.seed, self.how, self.device)

    def answer(self, images: list[Photo], names: list[str]) -> list[TraceAnswer]:
        """ABDiv; where it is above mean + deviation, as in the pseudo labels, is an edge."""
        import torch

        from edgebench.methods.trace.extract import edge_map, extract
        from edgebench.methods.trace.student import at_size

        answers = []
        for image, name in zip(images, names, strict=True):
            watched, kept = None, None
            if self.emergence:
                watched = self.watch(image, name)
                scores, kept = torch.from_numpy(watched.scores), watched.taus[watched.kept]
            else:
                found = extract(self.backbone, image, name, self.seed, self.how, self.device)
                scores, kept = found.scores, found.kept
            size = image.shape[:2]
            edges = at_size((scores > scores.mean() + scores.std(correction=0)).float(), *size) > _EDGE
            answers.append(TraceAnswer(edge_map(scores, *size), edges, None, None, image, watched, kept, False))
        return answers
