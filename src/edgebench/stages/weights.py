"""Finding trained weights by the names that people use."""

from __future__ import annotations

from pathlib import Path

from edgebench.errors import ConfigError, DataError, nearest
from edgebench.plan.runs import Run
from edgebench.plan.workbench import CONVERTED_BY, Workbench

WEIGHTS = "weights.safetensors"
SHOWN_BY = {"memo": ("memo/main_bsds", "memo"), "diffdis": ("diffdis/main_dis5k", "vd/diffdis")}
"""By method, the table and the row that a scale's name stands for."""


def find_weights(bench: Workbench, name_or_file: str, method: str) -> Path:
    """The weight file that a person means.

    Args:
        bench: The definitions.
        name_or_file: A `.safetensors` file, a run's folder, the name of a released checkpoint (its converted weights),
            or the name of a scale: the weights of the method's row of its main table.
        method: Whose weights are wanted, `memo` or `diffdis`. What files hold is for their reader to check.

    Raises:
        ConfigError: it is none of these, or a checkpoint of another method; names the nearest.
        DataError: the weights are not there yet; says which command makes them.
    """
    path = Path(name_or_file)
    if path.is_dir():
        if not (path / WEIGHTS).is_file():
            raise DataError(
                f"{path}: holds no {WEIGHTS}. Name the folder of a finished training run, or the file itself."
            )
        return path / WEIGHTS
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise DataError(f"{path}: no such weight file. Give another file, or the name of a released checkpoint.")
        return path
    checkpoints, scales = released_weights(bench, method), bench.names("scales")
    if name_or_file in bench.names("checkpoints"):
        run = bench.released_run(name_or_file)
        if name_or_file not in checkpoints:
            raise ConfigError(
                f"{name_or_file}: not weights of {method}, which takes {', '.join([*checkpoints, *scales])} or a file."
            )
        command = f"edgebench fetch {name_or_file}"
    elif name_or_file in scales:
        run = _shown(bench, name_or_file, method)
        command = f"snakemake --cores all {run.record}"
    else:
        raise ConfigError(
            f"{name_or_file}: neither a weight file nor a released checkpoint nor a scale."
            f"{nearest(name_or_file, [*checkpoints, *scales])}"
        )
    # The record is written last: without it the weights may be those of an interrupted run.
    folder = bench.root / run.folder
    if not (bench.root / run.record).is_file() or not (folder / WEIGHTS).is_file():
        raise DataError(f"{name_or_file}: the weights are not here yet ({folder}). Type `{command}` first.")
    return folder / WEIGHTS


def released_weights(bench: Workbench, method: str) -> list[str]:
    """Names of the released checkpoints that hold weights of a method."""
    formats = {kind for kind, converter in CONVERTED_BY.items() if converter == f"{method}_released"}
    return [name for name in bench.names("checkpoints") if bench.checkpoint(name).format in formats]


def _shown(bench: Workbench, scale: str, method: str) -> Run:
    """The training whose weights a scale's main table shows."""
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
