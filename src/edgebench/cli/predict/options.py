"""What the commands of all methods share: options, and what is printed at the end."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edgebench.stages.photos.answers import Detector

EXIT_SOME_FAILED = 1


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(StrEnum):
    """Arithmetic of the network."""

    fp32 = "fp32"
    bf16 = "bf16"


Photos = Annotated[
    Path,
    typer.Argument(
        metavar="PHOTO_OR_FOLDER",
        help="An image, or a folder of them; sub folders keep their structure.",
        show_default=False,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Make maps again that are there already; they are passed over otherwise.")
]
DeviceChoice = Annotated[Device, typer.Option(help="auto takes a GPU if there is one.")]


def output_option(files: str) -> Any:
    """`--output`, whose help says which files it gets."""
    return typer.Option("--output", "-o", help=f"Folder for {files} and predict.json.", show_default=False)


def carry_out(detector: Detector, photos: Path, output: Path, overwrite: bool) -> None:
    """Predict, say what was made and where it lies, and leave with status 1 when some photographs failed."""
    from rich.console import Console

    from edgebench.stages.photos.folder import predict_photos
    from edgebench.stages.photos.record import RECORD

    summary = predict_photos(detector, photos, output, overwrite)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    made = len(summary.done)
    digits = 2 if (summary.seconds or 0) < 10 else 0
    time = f" ({summary.seconds:.{digits}f} s each)" if summary.seconds is not None else ""
    console.print(f"{detector.method}: {made} {detector.makes}{'' if made == 1 else 's'} made{time}")
    if summary.there:
        console.print(f"{len(summary.there)} there already, left as they were (--overwrite makes them again)")
    if made or summary.there:
        for what, folder in summary.folders.items():
            console.print(f"  {what}: {folder}")
        console.print(f"  settings and seconds: {output / RECORD}")
    if summary.failed:
        errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        errors.print(f"{len(summary.failed)} failed:")
        for path, reason in sorted(summary.failed.items()):
            errors.print(f"  {path}: {reason}")
        raise typer.Exit(EXIT_SOME_FAILED)
