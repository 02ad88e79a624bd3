"""Finding trained weights by the names that people use."""

from __future__ import annotations

from pathlib import Path

from edgebench.errors import ConfigError, DataError, nearest
from edgebench.plan.runs import Run
from edgebench.plan.workbench import CONVERTED_BY, Workbench

WEIGHTS = "weights.safetensors"
SHOWN_BY = {
    "memo": ("memo/main_bsds", "memo"),
    "diffdis": ("diffdis/main_dis5k", "vd/diffdis"),
    "trace": ("trace/instance_edges", "coco2014/trace"),
}
"""By method, the table and the row that a scale's name stands for."""


def weights_at(path: str | Path) -> Path | None:
    """The weight file at a path: that of a training run's folder, or the file itself; None for what is no path.

    Raises:
        DataError: the folder holds no weights, or a name that ends as weight files do is not there.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / WEIGHTS).is_file():
            raise DataError(
                f"{path}: holds no {WEIGHTS}. Name the folder of a finished training run, or the file itself."
            )
        return path / WEIGHTS
    if path.suffix == ".safetensors" and not path.is_file():
        raise DataError(f"{path}: no such weight file. Give another file, or the name of a released checkpoint.")
    return path if path.is_file() else None


def find_weights(bench: Workbench, name: str, method: str) -> Path:
    """The weight file that a person means by a name.

    Args:
        bench: The definitions.
        name: Of a released checkpoint (its converted weights), or of a scale: the weights of the method's row of its
            main table.
        method: Whose weights are wanted, `memo`, `diffdis` or `trace`.

    Raises:
        ConfigError: it is neither, or a checkpoint of another method; names the nearest.
        DataError: the weights are not there yet; says which command makes them.
    """
    checkpoints, scales = released_weights(bench, method), bench.names("scales")
    if name in bench.names("checkpoints"):
        run = bench.released_run(name)
        if name not in checkpoints:
            raise ConfigError(
                f"{name}: not weights of {method}, which takes {', '.join([*checkpoints, *scales])} or a file."
            )
        command = f"edgebench fetch {name}"
    elif name in scales:
        run = _shown(bench, name, method)
        command = f"snakemake --cores all {run.record}"
    else:
        raise ConfigError(
            f"{name}: neither a weight file nor a released checkpoint nor a scale."
            f"{nearest(name, [*checkpoints, *scales])}"
        )
    # The record is written last: without it the weights may be those of an interrupted run.
    folder = bench.root / run.folder
    if not (bench.root / run.record).is_file() or not (folder / WEIGHTS).is_file():
        raise DataError(f"{name}: the weights are not here yet ({folder}). Type `{command}` first.")
    return folder / WEIGHTS


def released_weights(bench: Workbench, method: str) -> list[str]:
    """Names of the released checkpoints that hold weights of a method."""
    formats = {kind for kind, converter in CONVERTED_BY.items() if converter == f"{method}_released"}
    return [name for name in bench.names("checkpoints") if bench.checkpoint(name).format in formats]


def find_small_backbone(bench: Workbench, scale: str) -> Path:
    """The weight file of the small network on which TRACE was distilled at a scale.

    Raises:
        ConfigError: TRACE is distilled on a released network at this scale.
        DataError: the network is not trained yet; says which command does it.
    """
    trained = _shown(bench, scale, "trace")
    if "pretrained" not in trained.inputs:
        raise ConfigError(f"{scale}: TRACE stands on a released network at this scale. Name its checkpoint instead.")
    run = trained.inputs["pretrained"]
    if not (bench.root / run.record).is_file():
        raise DataError(f"{scale}: its small network is not here yet. Type `snakemake --cores all {run.record}` first.")
    return bench.root / run.folder / WEIGHTS


def _shown(bench: Workbench, scale: str, method: str) -> Run:
    """The training whose weights a scale's main table shows."""
    if method not in SHOWN_BY:
        raise ConfigError(f"{scale}: no table of this scale stands for weights of {method}. Name a file.")
    table, key = SHOWN_BY[method]
    row = next((row for row in bench.find_table(scale, table).rows if row.key == key), None)
    if row is None:
        raise ConfigError(f"{scale}: its table {table} has no row {key}, whose weights would be meant. Name a file.")
    return row.runs[0].predict.inputs["weights"]


def trained_weights(root: Path) -> dict[str, dict[str, Path]]:
    """Weight files below `root` by method, the newest first, by a label that says where they come from."""
    from edgebench.methods.weight_files import read_metadata

    files = sorted((root / "results" / "runs").glob("*/*/weights.safetensors"), key=lambda path: -path.stat().st_mtime)
    found: dict[str, dict[str, Path]] = {}
    for path in files:
        try:
            method = read_metadata(path).get("method")
        except DataError:
            continue  # a damaged file is no choice; naming it is a matter for who asks for it
        if method is not None:
            found.setdefault(method, {})[f"{path.parent.parent.name}: {path.parent.name}"] = path
    return found
