"""Edges of photographs: MEMO, and the classical detectors it is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgebench.errors import ConfigError
from edgebench.stages.photos.answers import EDGE_KINDS, REVEAL, Detector, EdgeAnswer, Photo

_WHOLE = "--long-side 640 makes it smaller first, --tile 512 cuts it into pieces."


def memo(
    weights: Path,
    *,
    steps: int | str = 10,
    reveal: Literal["locmax", "topk", "random"] = "locmax",
    guidance: float = 1.4,
    compat: Literal["edgebench", "official", "native"] = "edgebench",
    confidence_threshold: float = 0.5,
    dino_size: Literal["fixed", "adaptive"] = "fixed",
    long_side: int | None = None,
    tile: int | None = None,
    scales: Sequence[float] = (1.0,),
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    batch: int = 4,
    seed: int = 0,
    frames: bool = False,
) -> Detector:
    """MEMO with the weights of a safetensors file.

    Args:
        weights: File that `edgebench.methods.memo.weights.load_network` reads.
        steps: Rounds of the network (a number may come as text), "full" or "adaptive".
        reveal: Which pixels a round reveals.
        guidance: Scale of classifier-free guidance, at least 1.
        compat: Which of the authors' programs to follow.
        confidence_threshold: locmax reveals only what is surer than this; 0.5 is no threshold.
        dino_size: What DINOv2 sees: the size that the network was built for, or the photograph's own.
        long_side: Photographs with a longer side, in pixels, are made smaller first; 0 does not.
        tile: Side of the tiles into which larger photographs are cut, a multiple of 32; 0 does not.
        scales: The logits are averaged over the photograph at these scales.
        device: auto, cpu or cuda.
        precision: Of the network.
        batch: Photographs of one size, once padded, that share a pass; compat official takes one.
        seed: Of the random reveal, and of what compat official draws.
        frames: Keep the order in which pixels were revealed.

    Raises:
        ConfigError: a value is out of range.
        DataError: the weights are missing, damaged or of another method.
    """
    from edgebench.methods.memo.frames import RevealOrder
    from edgebench.methods.memo.predictor import Predictor
    from edgebench.methods.memo.reveal import RevealSettings
    from edgebench.methods.memo.tiles import padded_size
    from edgebench.methods.memo.weights import load_network
    from edgebench.stages.devices import choose_device

    steps = int(steps) if str(steps).isdecimal() else steps
    long_side, tile = long_side or None, tile or None
    if compat == "official":
        batch = 1  # it draws for a batch in turn, so that a map would depend on what else is left to do
    predictor = Predictor(
        load_network(weights),
        RevealSettings(reveal, steps, compat, confidence_threshold),  # type: ignore[arg-type]
        guidance=guidance,
        device=choose_device(device),
        precision=precision,
        batch_size=batch,
        seed=seed,
        long_side=long_side,
        tile=tile,
        scales=scales,
        dino_size=dino_size,
    )

    def answer(images: list[Photo], names: list[str]) -> list[EdgeAnswer]:
        recorder = RevealOrder() if frames else None
        predictions = predictor.predict(images, names, on_frame=recorder)
        return [
            EdgeAnswer(each.probability, each.edges > 0, each.rounds, recorder.orders[name] if recorder else None)
            for name, each in zip(names, predictions, strict=True)
        ]

    settings = {
        "steps": steps, "reveal": reveal, "guidance": guidance, "compat": compat,
        "confidence_threshold": confidence_threshold, "dino_size": dino_size, "long_side": long_side, "tile": tile,
        "scales": list(predictor.scales), "device": str(predictor.device), "precision": precision, "seed": seed,
    }  # fmt: skip
    whole = not (long_side or tile)
    return Detector(
        "memo",
        settings,
        answer,
        kinds=EDGE_KINDS | ({REVEAL: "reveal"} if frames else {}),
        weights=weights,
        batch=batch,
        group=partial(padded_size, long_side=long_side),
        advice=_WHOLE if whole else "Make it smaller.",
        slow=whole,
    )


def canny(*, sigma: float = 1.0, low: float = 0.1, high: float = 0.2) -> Detector:
    """Canny's detector.

    Args:
        sigma: Standard deviation of the smoothing, pixels.
        low: Gradient from which an edge goes on, for grey values in [0, 1].
        high: Gradient from which an edge begins.

    Raises:
        ConfigError: `sigma` is not positive and finite, or `low` is above `high`.
    """
    from edgebench.methods.baselines.canny import canny_edges

    if not 0 < sigma < math.inf:
        raise ConfigError(f"sigma {sigma:g}: give a finite number above 0.")
    if not 0 <= low <= high:
        raise ConfigError(f"low {low:g} and high {high:g}: give thresholds from 0, low not above high.")

    def answer(images: list[Photo], names: list[str]) -> list[EdgeAnswer]:
        return [EdgeAnswer(edges, edges > 0) for edges in (canny_edges(image, sigma, low, high) for image in images)]

    return Detector("canny", {"sigma": sigma, "low": low, "high": high}, answer)


def sobel(*, threshold: float = 0.1) -> Detector:
    """Sobel's gradient, a soft map; an edge is where it reaches a threshold.

    Args:
        threshold: In [0, 1]; a step from black to white along an axis gives 0.71.

    Raises:
        ConfigError: the threshold is out of range.
    """
    from edgebench.methods.baselines.sobel import sobel_edges

    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold {threshold:g}: give a number from 0 to 1.")

    def answer(images: list[Photo], names: list[str]) -> list[EdgeAnswer]:
        return [EdgeAnswer(edges, edges >= threshold) for edges in map(sobel_edges, images)]

    return Detector("sobel", {"threshold": threshold}, answer)


def mask_edges(
    *,
    generator: Literal["felzenszwalb", "sam2", "sam"] = "felzenszwalb",
    generator_weights: Path | None = None,
    precision: Literal["fp32", "fp16", "bf16"] = "fp32",
    device: str = "auto",
) -> Detector:
    """Borders of mask proposals, as MEMO's pre-training edges are made.

    Args:
        generator: What proposes the masks: a classical segmenter, or one of the released models.
        generator_weights: Folder of the model in the form of transformers; None for the classical segmenter.
        precision: Of the model.
        device: auto, cpu or cuda.

    Raises:
        ConfigError: a model without weights, or weights without a model.
        DataError: the weights are missing or damaged.
    """
    from edgebench.methods.sam.edges import edges_from_masks

    if (generator == "felzenszwalb") != (generator_weights is None):
        raise ConfigError(f"generator {generator} {'needs' if generator_weights is None else 'takes no'} weights.")
    settings: dict[str, Any] = {"generator": generator}
    propose: Callable[[Photo], list[Any]]
    weights = None
    if generator_weights is None:
        from edgebench.methods.sam.proposals import classical_masks

        propose = classical_masks
    else:
        from edgebench.methods.sam.generator import propose_masks
        from edgebench.methods.sam.scorer import load_scorer
        from edgebench.stages.devices import choose_device

        settings |= {"precision": precision, "device": choose_device(device)}
        weights = generator_weights / "model.safetensors"
        propose = partial(
            propose_masks,
            scorer=load_scorer(generator, generator_weights, settings["device"], precision),  # type: ignore[arg-type]
        )

    def answer(images: list[Photo], names: list[str]) -> list[EdgeAnswer]:
        maps = [edges_from_masks([propose(image)], image.shape[:2]) for image in images]
        return [EdgeAnswer((levels > 0).astype(np.float32), levels > 0) for levels in maps]

    return Detector("mask-edges", settings, answer, weights=weights)
