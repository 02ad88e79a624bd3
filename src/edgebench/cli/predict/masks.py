"""The commands that find what stands out: DiffDIS, and the threshold it is compared with."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.options import Root, find_weights
from edgebench.cli.predict.options import Device, DeviceChoice, Overwrite, Photos, Precision, carry_out, output_option
from edgebench.errors import DataError

RELEASED, DEMO = "diffdis_released", "demo"

Output = Annotated[Path, output_option("mask/NAME.png (bright = object), cutout/NAME.png (RGB and alpha)")]
Matte = Annotated[
    bool,
    typer.Option(
        "--matte",
        help="Cut out softly: alpha is the mask's grey values, and colours along its border are freed of the "
        "background's (blur fusion). Otherwise alpha is 255 from level 128 of the mask on, 0 below, and all colours "
        "are the photograph's.",
    ),
]


class Tta(StrEnum):
    """Runs that are averaged."""

    none = "none"
    flip = "flip"
    official = "official"


class Resize(StrEnum):
    """What the network sees of a photograph."""

    square = "square"
    aspect = "aspect"


class Sampler(StrEnum):
    """How several steps are taken."""

    ddpm = "ddpm"
    ddim = "ddim"


def diffdis(
    photos: Photos,
    output: Output,
    weights: Annotated[
        str | None,
        typer.Option(
            help="A weights.safetensors file, the folder of a training run, `diffdis_released` once it was fetched "
            "(`edgebench fetch diffdis_released`), or `demo` for what `make demo` trained.",
            metavar="NAME_OR_FILE",
            show_default="diffdis_released if it was fetched, else demo",
        ),
    ] = None,
    edges: Annotated[
        bool,
        typer.Option(
            "--edges",
            help="Also write the mask's outline, edges/NAME.png; the mask stays the same, the time grows by 40 %.",
        ),
    ] = False,
    matte: Matte = False,
    tta: Annotated[
        Tta,
        typer.Option(
            help="Average the masks of several runs: the photograph and its mirror image (flip, twice the time), or "
            "both at three sizes, as the authors' program always does (official, six and a half times)."
        ),
    ] = Tta.none,
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Side of the square at which the network works, a multiple of 64 for the published one: thinner "
            "parts are found at a larger one, for time and memory that grow with its area or faster. The mask always "
            "has the photograph's own size.",
            show_default="what the network was trained at; 1024 as published",
        ),
    ] = None,
    resize: Annotated[
        Resize,
        typer.Option(
            help="Squeeze every photograph into the square, as in training, or keep its aspect, the long side being "
            "--size: cheaper for panoramas, but the network has not seen such."
        ),
    ] = Resize.square,
    steps: Annotated[
        int,
        typer.Option(
            min=1,
            max=1000,
            help="Steps from noise to mask; each costs a pass of the network. The published one was trained for 1.",
        ),
    ] = 1,
    sampler: Annotated[
        Sampler,
        typer.Option(help="Several steps with fresh noise between them (ddpm, as released) or without (ddim)."),
    ] = Sampler.ddpm,
    tiled: Annotated[
        bool,
        typer.Option(
            "--tiled",
            help="Decode in overlapping tiles: the memory of the published network's largest part no longer grows "
            "with --size; masks differ slightly. Networks of `make demo` have no such part.",
        ),
    ] = False,
    device: DeviceChoice = Device.auto,
    precision: Annotated[
        Precision,
        typer.Option(help="bf16 takes less memory and is faster on GPUs and newer processors; masks differ a bit."),
    ] = Precision.fp32,
    batch: Annotated[int, typer.Option(min=1, help="Photographs at a time; memory grows with it.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the noise from which masks are made, with the photograph's name.")] = 0,
    overwrite: Overwrite = False,
    root: Root = Path("."),
) -> None:
    """DiffDIS: what stands out in a photograph, as a mask and cut out, in one step of diffusion.

    The mask has the photograph's own size, 8 bits, bright = object. The cut-out has the photograph's pixels and its
    colour profile; what is not the object is transparent, and empty. Where the photograph is transparent already, it
    stays so.

    Examples:
        edgebench predict diffdis photo.jpg -o out --weights demo

        edgebench predict diffdis holiday/ -o out --weights diffdis_released --matte --edges --device cuda

        edgebench predict diffdis poster.tif -o out --weights diffdis_released --size 2048 --tiled --precision bf16
    """
    from edgebench.stages.photos import masks as stage

    detector = stage.diffdis(
        find_weights(root, weights, "diffdis") if weights else _weights(root),
        size=size,
        resize=resize.value,
        tta=tta.value,
        steps=steps,
        sampler=sampler.value,
        edges=edges,
        matte=matte,
        tiled=tiled,
        device=device.value,
        precision=precision.value,
        batch=batch,
        seed=seed,
    )
    carry_out(detector, photos, output, overwrite)


def _weights(root: Path) -> Path:
    """The released weights, or else the demo's; says which."""
    try:
        name, file = RELEASED, find_weights(root, RELEASED, "diffdis")
    except DataError:
        try:
            name, file = DEMO, find_weights(root, DEMO, "diffdis")
        except DataError as error:
            raise DataError(f"{error} Or take the authors' weights: `edgebench fetch {RELEASED}`.") from None
    print(f"weights: {name} ({file})")
    return file


def otsu(photos: Photos, output: Output, overwrite: Overwrite = False) -> None:
    """Otsu's threshold: the part of a picture that is darker or brighter than the rest, in milliseconds; 0 or 255.

    The object is the side of the threshold that is rarer along the picture's border. What segments must beat it.

    Example: edgebench predict otsu photo.jpg -o out
    """
    from edgebench.stages.photos import masks as stage

    carry_out(stage.otsu(), photos, output, overwrite)
