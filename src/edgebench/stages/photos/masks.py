"""Masks of what stands out in photographs: DiffDIS, and the threshold it is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgebench.stages.photos.answers import MASK_KINDS, OUTLINE, Detector, MaskAnswer, Photo

_ADVICE = "--batch 1 takes one at a time, --tiled decodes in pieces, a smaller --size works on a smaller picture."


def diffdis(
    weights: Path,
    *,
    size: int | None = None,
    resize: Literal["square", "aspect"] = "square",
    tta: Literal["none", "flip", "official"] = "none",
    steps: int = 1,
    sampler: Literal["ddpm", "ddim"] = "ddpm",
    edges: bool = False,
    matte: bool = False,
    tiled: bool = False,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    batch: int = 4,
    seed: int = 0,
) -> Detector:
    """DiffDIS with the weights of a safetensors file.

    Args:
        weights: File that `edgebench.methods.diffdis.weights.load_weights` reads.
        size: Side of the square that photographs are resized to for the network, pixels; with `aspect` their long
            side. By default, and for 0, what the network was trained at.
        resize: A `square` whatever the photograph's aspect, as released, or close to its `aspect`.
        tta: Runs that are averaged: one, two (`flip`), or the six that the authors' code always does.
        steps: Steps from noise to mask.
        sampler: How several steps are taken.
        edges: Write the mask's outline too.
        matte: Cut out with the mask's grey values as alpha.
        tiled: Decode in tiles where the latents are those of an autoencoder: less memory, slightly other masks.
        device: auto, cpu or cuda.
        precision: Of the network and of an autoencoder.
        batch: Photographs that share a pass, if they are worked on at one size.
        seed: Of the noise, which depends on the photograph's name too.

    Raises:
        ConfigError: a value is out of range or does not fit the network.
        DataError: the weights are missing, damaged or of another method.
    """
    from edgebench.methods.diffdis.predictor import Predictor, PredictSettings
    from edgebench.methods.diffdis.weights import load_weights, trained_size
    from edgebench.stages.devices import choose_device

    network, codec = load_weights(weights, precision, tiled)
    chosen = PredictSettings(
        size or trained_size(weights), resize=resize, tta=tta, steps=steps, sampler=sampler, edges=edges
    )
    predictor = Predictor(network, codec, chosen, choose_device(device), precision, batch, seed)

    def answer(images: list[Photo], names: list[str]) -> list[MaskAnswer]:
        return [MaskAnswer(each.mask, each.edge, matte) for each in predictor.predict(images, names)]

    settings = {
        "size": chosen.size, "resize": resize, "tta": tta, "steps": chosen.steps, "sampler": sampler, "matte": matte,
        "tiled": tiled, "device": str(predictor.device), "precision": precision, "seed": seed,
    }  # fmt: skip
    return Detector(
        "diffdis",
        settings,
        answer,
        kinds=MASK_KINDS | ({OUTLINE: "outline"} if edges else {}),
        makes="mask",
        weights=weights,
        batch=batch,
        group=predictor.working_size,
        advice=_ADVICE,
    )


def otsu() -> Detector:
    """Otsu's threshold; the side of it that is rarer along the picture's border is the object."""
    from edgebench.methods.baselines.otsu import otsu_mask

    def answer(images: list[Photo], names: list[str]) -> list[MaskAnswer]:
        return [MaskAnswer(otsu_mask(image)) for image in images]

    return Detector("otsu", {}, answer, kinds=MASK_KINDS, makes="mask")
