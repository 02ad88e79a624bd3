"""The commands that find objects without any training, each with a mask of its own: TokenCut, MaskCut, ProMerge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgebench.cli.options import Root, find_checkpoint
from edgebench.cli.predict.options import Device, DeviceChoice, Overwrite, Photos, Precision, carry_out, output_option

STATISTICS = "none"

Output = Annotated[Path, output_option("overlay/NAME.png (objects in colour), instances/NAME.json (COCO run lengths)")]
Dino = Annotated[
    str,
    typer.Option(
        help="Network whose features say what is alike: a checkpoint that was fetched (`edgebench fetch dino_vitb8`, "
        "dino_vits8, dino_vitb16, dino_vits16), a folder of transformers with one of these, or `none` for statistics "
        "of colour and texture, which need no download and find far less.",
        metavar="NAME_OR_FOLDER",
    ),
]
Size = Annotated[
    int,
    typer.Option(
        min=16,
        help="Side of the square in which patches are cut, pixels; a multiple of theirs. A larger one finds smaller "
        "objects; time and memory grow with its fourth power.",
    ),
]
Tau = Annotated[
    float,
    typer.Option(min=-1, max=1, help="Cosine above which two patches are alike: a higher one asks for more likeness."),
]
Crf = Annotated[
    bool, typer.Option("--crf/--no-crf", help="Draw outlines along the photograph's edges, about a second more.")
]
NetworkPrecision = Annotated[
    Precision,
    typer.Option(help="Of the network. bf16 takes half the memory and is faster on GPUs and newer processors."),
]


def tokencut(
    photos: Photos,
    output: Output,
    dino: Dino = "dino_vits16",
    size: Size = 480,
    tau: Tau = 0.2,
    crf: Crf = False,
    device: DeviceChoice = Device.auto,
    precision: NetworkPrecision = Precision.fp32,
    overwrite: Overwrite = False,
    root: Root = Path("."),
) -> None:
    """TokenCut: the one object of a photograph, by a normalised cut of its patches.

    Examples:
        edgebench predict tokencut photo.jpg -o out --dino none

        edgebench predict tokencut holiday/ -o out --dino dino_vits16 --crf --device cuda
    """
    _carry_out("tokencut", photos, output, dino, size, crf, device, precision, overwrite, root, tau=tau)


def maskcut(
    photos: Photos,
    output: Output,
    dino: Dino = "dino_vitb8",
    size: Size = 480,
    tau: Tau = 0.2,
    rounds: Annotated[int, typer.Option(min=1, help="Largest number of objects.")] = 3,
    crf: Crf = True,
    device: DeviceChoice = Device.auto,
    precision: NetworkPrecision = Precision.fp32,
    overwrite: Overwrite = False,
    root: Root = Path("."),
) -> None:
    """MaskCut: several objects, by cutting what is left of a photograph again and again.

    Examples:
        edgebench predict maskcut photo.jpg -o out --dino none

        edgebench predict maskcut holiday/ -o out --dino dino_vitb8 --rounds 5 --device cuda
    """
    _carry_out("maskcut", photos, output, dino, size, crf, device, precision, overwrite, root, tau=tau, rounds=rounds)


def promerge(
    photos: Photos,
    output: Output,
    dino: Dino = "dino_vitb8",
    size: Size = 480,
    tau: Tau = 0.2,
    stride: Annotated[int, typer.Option(min=1, help="Patches between the seeds of objects.")] = 4,
    crf: Crf = True,
    device: DeviceChoice = Device.auto,
    precision: NetworkPrecision = Precision.fp32,
    overwrite: Overwrite = False,
    root: Root = Path("."),
) -> None:
    """ProMerge: objects from the likeness of patches to a grid of seeds; the fastest of the three.

    Examples:
        edgebench predict promerge photo.jpg -o out --dino none

        edgebench predict promerge holiday/ -o out --dino dino_vitb8 --stride 2 --device cuda
    """
    _carry_out("promerge", photos, output, dino, size, crf, device, precision, overwrite, root, tau=tau, stride=stride)


def _carry_out(
    method: Any,
    photos: Path,
    output: Path,
    dino: str,
    size: int,
    crf: bool,
    device: Device,
    precision: Precision,
    overwrite: bool,
    root: Path,
    **settings: Any,
) -> None:
    from edgebench.stages.photos.instances import unsupervised

    folder = None if dino == STATISTICS else find_checkpoint(root, dino)
    detector = unsupervised(
        method, folder, size=size, crf=crf, device=device.value, precision=precision.value, **settings
    )
    carry_out(detector, photos, output, overwrite)
