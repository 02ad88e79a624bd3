"""Finding trained weights by the names that people use."""

from __future__ import annotations

from pathlib import Path

from edgebench.errors import ConfigError, DataError, nearest
from edgebench.plan.workbench import Workbench

WEIGHTS = "weights.safetensors"
DEMO_TABLE, DEMO_ROW = "memo/main_bsds", "memo"


def find_weights(bench: Workbench, name_or_file: str) -> Path:
    """The weight file that a person means.

    Args:
        bench: The definitions.
        name_or_file: A `.safetensors` file, a run's folder, the name of a released checkpoint (its converted weights),
            or the name of a scale: the weights of the row `memo` of its main table.

    Raises:
        ConfigError: it is none of these; names the nearest.
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
    checkpoints, scales = bench.names("checkpoints"), bench.names("scales")
    if name_or_file in checkpoints:
        run = bench.released_run(name_or_file)
        command = f"edgebench fetch {name_or_file}"
    elif name_or_file in scales:
        rows = bench.find_table(name_or_file, DEMO_TABLE).rows
        run = next(row for row in rows if row.key == DEMO_ROW).runs[0].predict.inputs["weights"]
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


def trained_weights(root: Path) -> dict[str, Path]:
    """Weight files of MEMO that lie below `root`, the newest first, by a label that says where they come from."""
    from safetensors import SafetensorError, safe_open

    from edgebench.methods.memo.weights import METHOD

    files = sorted((root / "results" / "runs").glob("*/*/weights.safetensors"), key=lambda path: -path.stat().st_mtime)
    found = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as opened:
                method = (opened.metadata() or {}).get("method")
        except (SafetensorError, OSError):
            continue  # a damaged file is no choice; naming it is a matter for who asks for it
        if method == METHOD:
            found[f"{path.parent.parent.name}: {path.parent.name}"] = path
    return found
