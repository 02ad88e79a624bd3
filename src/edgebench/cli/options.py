"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebench.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    # The definitions are read by few commands, and jobs of a workflow, of which there are many, are not among them.
    from edgebench.plan.tables import Table
    from edgebench.plan.workbench import Workbench

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a setting of every recipe that has the run: `finetune.steps=500`.",
        metavar="RUN.KEY=VALUE",
    ),
]
Root = Annotated[
    Path, typer.Option("--root", help="The repository: the folder that holds config/.", show_default=False)
]


def workbench(root: Path, changes: list[str] | None, checkpoints: str | None = None) -> Workbench:
    """The definitions of a repository, with what `--set` and `--checkpoints` change.

    Raises:
        ConfigError: there is no `config/` below `root`, or a change is not RUN.KEY=VALUE.
    """
    from edgebench.plan.workbench import Workbench

    if not (root / "config" / "config.yaml").exists():
        raise ConfigError(
            f"{root.resolve()}: holds no config/config.yaml. Go to the folder of the edgebench repository, or name it "
            f"with --root."
        )
    settings = {}
    for change in changes or []:
        key, equals, value = change.partition("=")
        if not equals or "." not in key:
            raise ConfigError(f"--set {change}: write RUN.KEY=VALUE, for example --set finetune.steps=500.")
        settings[key] = value
    chosen = {"set": settings or None, "checkpoints": checkpoints}
    bench = Workbench(root.resolve(), {key: value for key, value in chosen.items() if value})
    bench.check_overrides()
    return bench


ALL = "all"


def known_scale(bench: Workbench, scale: str) -> str:
    """`scale`, where there is one of this name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    if scale not in bench.names("scales"):
        raise ConfigError(f"--scale {scale}: there is no such scale.{nearest(scale, bench.names('scales'))}")
    return scale


def tables_of(bench: Workbench, scale: str, target: str | None) -> list[Table]:
    """The tables that a person names: one, those of a paper, or `all` that the scale makes.

    Raises:
        ConfigError: there is no such scale, table or paper.
    """
    planned = bench.plan(known_scale(bench, scale))
    if target in (None, ALL):
        return planned.targets()
    known = bench.names("experiments")
    tables = [planned.table(name) for name in known if target in (name, name.split("/")[0])]
    if not tables:
        raise ConfigError(f"{target}: there is no such table or paper.{nearest(str(target), known)}")
    return tables


def find_weights(root: Path, name_or_file: str, method: str) -> Path:
    """The weight file of a method that a person names: a file, a run's folder, a checkpoint or a scale.

    Only names need the repository, so that `edgebench predict` with a file works in any folder.
    """
    from edgebench.stages import weights

    return weights.weights_at(name_or_file) or weights.find_weights(workbench(root, None), name_or_file, method)


def find_checkpoint(root: Path, name_or_folder: str) -> Path:
    """The folder of a released checkpoint that was fetched, or any folder that a person names.

    Raises:
        ConfigError: there is no such checkpoint.
        DataError: it was not fetched yet.
    """
    if Path(name_or_folder).is_dir():
        return Path(name_or_folder)
    run = workbench(root, None).checkpoint_run(name_or_folder)
    if not (root / run.record).is_file():
        raise DataError(f"{name_or_folder}: is not here yet. Type `edgebench fetch {name_or_folder}` first.")
    return root / run.folder
