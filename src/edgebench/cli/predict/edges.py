"""The commands that find edges: MEMO, and the classical detectors it is compared with."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.options import Root, find_checkpoint, find_weights
from edgebench.cli.predict.options import Device, DeviceChoice, Overwrite, Photos, Precision, carry_out, output_option
from edgebench.errors import ConfigError

Output = Annotated[Path, output_option("prediction/NAME.png (probability), binarized/NAME.png (0 or 255)")]


class Reveal(StrEnum):
    """Which pixels a round reveals."""

    locmax = "locmax"
    topk = "topk"
    random = "random"


class Compat(StrEnum):
    """Which of the authors' programs to follow."""

    edgebench = "edgebench"
    official = "official"
    native = "native"


class DinoSize(StrEnum):
    """What the image encoder sees."""

    fixed = "fixed"
    adaptive = "adaptive"


class Generator(StrEnum):
    """What proposes masks."""

    felzenszwalb = "felzenszwalb"
    sam2 = "sam2"
    sam = "sam"


class ModelPrecision(StrEnum):
    """Arithmetic of a segmenter."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


def memo(
    photos: Photos,
    weights: Annotated[
        str,
        typer.Option(
            help="A weights.safetensors file, the folder of a training run, a released checkpoint that was fetched "
            "(`edgebench fetch memo_bsds_late`), or `demo` for what `make demo` trained.",
            metavar="NAME_OR_FILE",
            show_default=False,
        ),
    ],
    output: Output,
    steps: Annotated[
        str,
        typer.Option(
            help="Rounds of the network; the time grows with them. 5 is fast, 10 the paper's choice, `full` goes on "
            "until every pixel was sure (about 80), `adaptive` stops when the map no longer changes.",
            metavar="N|full|adaptive",
        ),
    ] = "10",
    guidance: Annotated[
        float,
        typer.Option(
            help="How much the photograph counts against the drawing so far: higher draws more edges. Above 1 every "
            "round costs two passes of the network."
        ),
    ] = 1.4,
    reveal: Annotated[
        Reveal,
        typer.Option(
            help="Which pixels a round settles: those surer than their neighbours (locmax, crisp), the surest of all "
            "(topk), or any (random); the cost is the same."
        ),
    ] = Reveal.locmax,
    confidence_threshold: Annotated[
        float,
        typer.Option(
            help="With locmax, put off pixels that the network is not surer of than this, 0.5 (none) to below 1, until "
            "more is settled around them; the last round settles what is left, and `--steps full` takes more rounds."
        ),
    ] = 0.5,
    frames: Annotated[
        bool,
        typer.Option("--frames", help="Also write the reveal as an animation, frames/NAME.gif; costs a moment."),
    ] = False,
    long_side: Annotated[
        int | None,
        typer.Option(
            min=32,
            help="Make photographs with a longer side smaller first, and the maps large again: half the side takes a "
            "quarter of the time or less, and fine edges are lost. The authors' demo uses 320.",
            show_default="as they are",
        ),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            help="Cut larger photographs into overlapping tiles of this side, a multiple of 32 such as 512: bounded "
            "memory and all the detail, but an approximation, because the network no longer sees the whole.",
            show_default="no tiles",
        ),
    ] = None,
    scales: Annotated[
        str,
        typer.Option(
            help="Look at the photograph at several sizes and average what the network says: `1,0.75` or `0.5,1,1.5` "
            "times its own. Maps get steadier; every size adds its share of time, twice the side four times as much. "
            "Not with --tile.",
            metavar="FACTOR[,FACTOR...]",
        ),
    ] = "1",
    dino_size: Annotated[
        DinoSize,
        typer.Option(
            help="What DINOv2, the image encoder of the published networks, sees: the size they were trained with "
            "(fixed), or the photograph's own (adaptive): finer hints for large photographs, more memory. Networks "
            "without DINOv2, as that of `make demo`, do not differ."
        ),
    ] = DinoSize.fixed,
    device: DeviceChoice = Device.auto,
    precision: Annotated[
        Precision,
        typer.Option(help="bf16 takes half the memory and is faster on GPUs and newer processors; maps differ a bit."),
    ] = Precision.fp32,
    batch: Annotated[int, typer.Option(min=1, help="Photographs of one size at a time; memory grows with it.")] = 4,
    compat: Annotated[
        Compat,
        typer.Option(help="Borders and ties as in edgebench, or as in the authors' PyTorch or C++ program."),
    ] = Compat.edgebench,
    seed: Annotated[int, typer.Option(help="Of `--reveal random` and of what `--compat official` draws.")] = 0,
    overwrite: Overwrite = False,
    root: Root = Path("."),
) -> None:
    """MEMO: crisp edges, revealed round by round, the surest pixels first.

    Examples:
        edgebench predict memo photo.jpg --weights demo -o edges --frames

        edgebench predict memo holiday/ --weights memo_bsds_late -o edges --long-side 640 --device cuda

        edgebench predict memo photo.jpg --weights memo_bsds_late -o edges --scales 1,0.75
    """
    from edgebench.stages.photos import edges as stage

    detector = stage.memo(
        find_weights(root, weights, "memo"),
        steps=steps,
        reveal=reveal.value,
        guidance=guidance,
        compat=compat.value,
        confidence_threshold=confidence_threshold,
        dino_size=dino_size.value,
        long_side=long_side,
        tile=tile,
        scales=_factors(scales),
        device=device.value,
        precision=precision.value,
        batch=batch,
        seed=seed,
        frames=frames,
    )
    carry_out(detector, photos, output, overwrite)


def _factors(text: str) -> tuple[float, ...]:
    """The numbers of `--scales`."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--scales {text}: give factors with commas between them, for example 1,0.75.") from None


def canny(
    photos: Photos,
    output: Output,
    sigma: Annotated[float, typer.Option(help="Smoothing in pixels: more of it, fewer edges of texture.")] = 1.0,
    low: Annotated[float, typer.Option(help="Gradient from which an edge goes on, of grey values in [0, 1].")] = 0.1,
    high: Annotated[float, typer.Option(help="Gradient from which an edge begins.")] = 0.2,
    overwrite: Overwrite = False,
) -> None:
    """Canny's detector: thin lines of the grey image's gradient, in milliseconds; no probability, so 0 or 255.

    Example: edgebench predict canny photo.jpg -o edges --sigma 2
    """
    from edgebench.stages.photos import edges as stage

    carry_out(stage.canny(sigma=sigma, low=low, high=high), photos, output, overwrite)


def sobel(
    photos: Photos,
    output: Output,
    threshold: Annotated[
        float,
        typer.Option(help="Gradient from which a pixel counts as an edge in binarized/; black to white is 0.71."),
    ] = 0.1,
    overwrite: Overwrite = False,
) -> None:
    """Sobel's gradient: a soft map with thick lines, in milliseconds.

    Example: edgebench predict sobel holiday/ -o edges --threshold 0.2
    """
    from edgebench.stages.photos import edges as stage

    carry_out(stage.sobel(threshold=threshold), photos, output, overwrite)


def mask_edges(
    photos: Photos,
    output: Output,
    generator: Annotated[
        Generator,
        typer.Option(
            help="What proposes the masks: a classical segmenter (seconds, no weights), or SAM 2 or SAM (a minute and "
            "gigabytes of memory without a GPU)."
        ),
    ] = Generator.felzenszwalb,
    generator_weights: Annotated[
        str | None,
        typer.Option(
            help="For sam2 and sam: a checkpoint that was fetched (`edgebench fetch sam2_hiera_large`, sam_vit_huge), "
            "or a folder with config.json and model.safetensors.",
            metavar="NAME_OR_FOLDER",
            show_default="none",
        ),
    ] = None,
    precision: Annotated[
        ModelPrecision, typer.Option(help="Of sam2 and sam; fp16, as released, is faster on GPUs.")
    ] = ModelPrecision.fp32,
    device: DeviceChoice = Device.auto,
    overwrite: Overwrite = False,
    root: Root = Path("."),
) -> None:
    """Borders of segments, as MEMO's pre-training edges are made; no probability, so 0 or 255.

    Example: edgebench predict mask-edges photo.jpg -o edges
    """
    from edgebench.stages.photos import edges as stage

    detector = stage.mask_edges(
        generator=generator.value,
        generator_weights=find_checkpoint(root, generator_weights) if generator_weights else None,
        precision=precision.value,
        device=device.value,
    )
    carry_out(detector, photos, output, overwrite)
