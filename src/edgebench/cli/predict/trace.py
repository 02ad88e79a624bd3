"""The command that finds edges between instances: TRACE."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.options import Root, find_checkpoint, find_weights, workbench
from edgebench.cli.predict.options import Device, DeviceChoice, Overwrite, Photos, Precision, carry_out, output_option
from edgebench.errors import ConfigError

Output = Annotated[Path, output_option("prediction/NAME.png (probability), binarized/NAME.png (0 or 255)")]


class Keep(StrEnum):
    """Which end of the widest gap is kept."""

    noisier = "noisier"
    cleaner = "cleaner"


def trace(
    photos: Photos,
    output: Output,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Of a distillation: a weights.safetensors file, the folder of a training run, or `demo` for what "
            "`make demo` trained. Nobody has released any.",
            metavar="NAME_OR_FILE",
            show_default="none: --stage1",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="The pre-trained network: a checkpoint that was fetched (`edgebench fetch sd15`), its folder, the "
            "weights of a small one, or `demo`. Weights on a checkpoint name theirs.",
            metavar="NAME_OR_FOLDER",
            show_default="that of the weights",
        ),
    ] = None,
    stage1: Annotated[
        bool,
        typer.Option(
            "--stage1",
            help="The first stage alone: at which level of noise instances emerge, and how attention differs around "
            "each token there. Needs no distillation, and a dozen passes of the network.",
        ),
    ] = False,
    emergence: Annotated[
        bool,
        typer.Option(
            "--show-emergence",
            help="Also write emergence/NAME.png: attention over the levels of noise as colours, the curve of its "
            "changes with the peak, and the divergence there. Costs as much as --stage1.",
        ),
    ] = False,
    size: Annotated[
        int | None,
        typer.Option(
            help="With --stage1, side of the square that photographs are resized to, in pixels. Memory grows with its "
            "fourth power.",
            show_default="what the network was trained at",
        ),
    ] = None,
    blocks: Annotated[
        str | None,
        typer.Option(
            help="With --stage1, self-attention blocks by number (`-1` is the last) or name, with commas: `1`, "
            "`up_blocks.*`.",
            metavar="BLOCK[,BLOCK...]",
            show_default="all",
        ),
    ] = None,
    tau: Annotated[
        int | None,
        typer.Option(
            min=0, max=999, help="With --stage1, this level of noise, without a search.", show_default="search"
        ),
    ] = None,
    keep: Annotated[
        Keep,
        typer.Option(
            help="Where attention changes most between two levels of noise, which of them the first stage takes: the "
            "noisier, as in the paper, or the cleaner, as in its first preprint."
        ),
    ] = Keep.noisier,
    device: DeviceChoice = Device.auto,
    precision: Annotated[
        Precision,
        typer.Option(help="bf16 takes half the memory and is faster on GPUs and newer processors; edges differ a bit."),
    ] = Precision.fp32,
    batch: Annotated[int, typer.Option(min=1, help="Photographs at a time; --stage1 takes one.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the noise of --stage1, with the photograph's name.")] = 0,
    overwrite: Overwrite = False,
    root: Root = Path("."),
) -> None:
    """TRACE: edges between instances, from what the tokens of a diffusion model attend to.

    Examples:
        edgebench predict trace photo.jpg -o out --weights demo --show-emergence

        edgebench predict trace photo.jpg -o out --stage1 --backbone demo

        edgebench predict trace holiday/ -o out --backbone sd15 --stage1 --show-emergence --device cuda
    """
    from edgebench.stages.photos.trace import trace as detector_of

    if weights is None and not stage1:
        if backbone is None:
            raise ConfigError("Name --weights of a distillation, or take --stage1, which needs only a --backbone.")
        raise ConfigError(
            f"--backbone {backbone} alone has no trained decoder. Add --stage1, which needs none, or --weights."
        )
    file = find_weights(root, weights, "trace") if weights is not None else None
    if backbone is None and file is not None:
        backbone = _own_backbone(root, str(weights), file, stage1 or emergence)
    detector = detector_of(
        file,
        backbone=None if backbone is None else _backbone(root, backbone),
        stage1=stage1,
        emergence=emergence,
        size=size,
        blocks=None if blocks is None else _blocks(blocks),
        tau=tau,
        keep=keep.value,
        device=device.value,
        precision=precision.value,
        batch=batch,
        seed=seed,
    )
    carry_out(detector, photos, output, overwrite)


def _blocks(named: str) -> list[int | str]:
    """Blocks by number, negative ones counting from the end, or by name."""
    parts = [each.strip() for each in named.split(",")]
    return [int(each) if each.removeprefix("-").isdecimal() else each for each in parts]


def _own_backbone(root: Path, weights: str, file: Path, needed: bool) -> str | None:
    """The network that weights belong to, by name."""
    from edgebench.methods.trace.weights import METHOD, origin_of
    from edgebench.methods.weight_files import read_metadata

    if read_metadata(file).get("method") != METHOD:
        return None
    checkpoint = origin_of(file).get("checkpoint")
    return checkpoint or (weights if needed and weights in workbench(root, None).names("scales") else None)


def _backbone(root: Path, name: str) -> Path:
    """The folder of a checkpoint, or the file of a small network."""
    from edgebench.stages.weights import WEIGHTS, find_small_backbone

    path = Path(name)
    if path.is_dir():
        return path / WEIGHTS if (path / WEIGHTS).is_file() else path
    if path.is_file():
        return path
    bench = workbench(root, None)
    return find_small_backbone(bench, name) if name in bench.names("scales") else find_checkpoint(root, name)
