"""`edgebench export`: a trained network for programs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebench.cli.options import Root, find_weights

app = typer.Typer(no_args_is_help=True, help="Write a trained network in a format of other programs.")


@app.callback()
def _group() -> None:
    # Keeps the method a word of the command, although there is one so far.
    pass


@app.command()
def memo(
    weights: Annotated[
        str, typer.Option(help="A weights.safetensors file, a training run's folder or a name.", metavar="NAME_OR_FILE")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.", metavar="FOLDER")],
    root: Root = Path("."),
) -> None:
    """Write MEMO as two ONNX graphs: the image's features, and one pass of the network.

    Batch, height and width are free. With onnxruntime installed (`pip install ".[onnx]"`) the graphs are
    run once and compared with PyTorch.

    Example: `edgebench export memo --weights weights.safetensors -o onnx`
    """
    file = find_weights(root, weights, "memo")

    from edgebench.methods.memo.export import export_onnx
    from edgebench.methods.memo.weights import load_network

    made = export_onnx(load_network(file), output)
    checked = "not compared with PyTorch: onnxruntime is not installed"
    if made["difference"] is not None:
        checked = f"they differ from PyTorch by {made['difference']:.1e} at most"
    print(f"{output}: {' and '.join(made['graphs'])}, opset {made['opset']}; {checked}.")
