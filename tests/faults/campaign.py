"""What the campaign does to a command: kill it, start it again, compare what it leaves with an undisturbed one's."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgebench.files import read_json, write_json
from edgebench.plan.runs import Run
from edgebench.plan.workbench import Workbench
from tests.faults.compare import differences
from tests.faults.repository import make_repository, planned
from tests.faults.victims import Command, Ending, Hazard, start

MEASURED = "measured.json"
KILL = "SIGKILL"


@dataclass
class Tally:
    """What one test of the campaign did, for the report.

    Attributes:
        stage: What was disturbed.
        fault: How.
        faults: Number of faults that hit.
        losses: Files that were missing, different or left behind in the end; commands that did not end well.
        repeated: Steps, images or files that were done more than once.
        work: Steps, images or files of an undisturbed run.
    """

    stage: str = ""
    fault: str = KILL
    faults: int = 0
    losses: list[str] = field(default_factory=list)
    repeated: int = 0
    work: int = 0


def printed(tallies: list[dict[str, Any]], seed: int) -> list[str]:
    """The report's lines: kills by stage, all other faults by their kind, and the sums."""
    rows: dict[tuple[str, str], list[int]] = {}
    for each in sorted(tallies, key=lambda each: (each["fault"] != KILL, each["fault"], each["stage"])):
        row = rows.setdefault((each["fault"], each["stage"] if each["fault"] == KILL else "of all kinds"), [0] * 4)
        row[:] = map(sum, zip(row, (each["faults"], len(each["losses"]), each["repeated"], each["work"]), strict=True))
    cells: list[tuple[str, ...]] = [("fault", "stage", "faults", "losses", "repeated", "of")]
    cells += [(fault, stage, *map(str, row)) for (fault, stage), row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column > 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    faults = sum(row[0] for row in rows.values())
    kills = sum(row[0] for (fault, _), row in rows.items() if fault == KILL)
    losses = sum(row[1] for row in rows.values())
    return [*lines, f"{faults} faults, {kills} of them kills; {losses} losses; seed {seed}"]


@dataclass(frozen=True)
class Work:
    """A command that was carried out undisturbed.

    Attributes:
        repository: Where that was.
        arguments: Of `edgebench`.
        output: Folder whose files count, relative to the repository.
        needs: Files and folders that the command reads, relative to the repository.
        calm: How the undisturbed command ended.
        hazard: Called in its process before anything else, in every try.
    """

    repository: Path
    arguments: tuple[str, ...]
    output: Path
    needs: tuple[Path, ...]
    calm: Ending
    hazard: Hazard | None = None

    def lay_out(self, folder: Path) -> None:
        """Prepare a folder in which the command can be carried out anew; what it reads is linked, not copied."""
        shutil.rmtree(folder, ignore_errors=True)
        for need in self.needs:
            (folder / need).parent.mkdir(parents=True, exist_ok=True)
            (folder / need).symlink_to(self.repository / need)

    def begin_in(self, folder: Path, **options: Any) -> Command:
        """Start it in a folder; see `start`."""
        usual: dict[str, Any] = {"notes": folder.with_name(f"{folder.name}-notes"), "hazard": self.hazard}
        return start(folder, *self.arguments, **{**usual, **options})

    def finish_in(self, folder: Path, **options: Any) -> Ending:
        """Carry it out to its end in a folder."""
        return self.begin_in(folder, **options).end()

    def losses_in(self, folder: Path, ending: Ending) -> list[str]:
        """What is wrong with what it left in a folder; nothing if all is as in the undisturbed one."""
        if ending.code:
            return [f"{self.output}: exit status {ending.code}: {ending.said[-2000:]}"]
        lines = differences(folder / self.output, self.repository / self.output)
        return [f"{self.output}/{line}" for line in lines]


FindWork = Callable[[str], Work]
"""From a role and a method, data set, protocol or paper, such as `predict memo`, to the command."""


def carried_out(
    repository: Path,
    arguments: tuple[str, ...],
    output: Path,
    needs: tuple[Path, ...],
    hazard: Hazard | None = None,
) -> Work:
    """Carry out a command undisturbed.

    Raises:
        AssertionError: it failed.
    """
    notes = repository.with_name("calm-notes")
    ending = start(repository, *arguments, notes=notes, watched=output, hazard=hazard).end()
    assert ending.code == 0, ending.said
    return Work(repository, arguments, output, needs, ending, hazard)


def kill_again_and_again(work: Work, kills: int, seed: str, folder: Path, tally: Tally) -> None:
    """Kill a command `kills` times, one to three times between its start and its end, and compare each end.

    Half of the kills come at a random moment of the undisturbed command's time, half just before a random one of
    its file operations: moments alone would seldom meet them.
    """
    rng = random.Random(seed)
    tally.work = work.calm.work
    for _ in range(4 * kills):
        if tally.faults >= kills:
            return
        work.lay_out(folder)
        done, how = 0, []
        for _ in range(min(rng.randint(1, 3), kills - tally.faults)):
            if rng.random() < 0.5:
                moment = rng.uniform(0, work.calm.seconds)
                ending = work.begin_in(folder).kill_after(moment)
                how.append(f"after {moment:.2f} s")
            else:
                operation = rng.randint(1, max(1, work.calm.operations))
                ending = work.begin_in(folder, watched=work.output, strike_at=operation).end()
                how.append(f"before file operation {operation}")
            done += ending.work
            tally.faults += ending.killed
            if not ending.killed:
                break
        else:
            ending = work.finish_in(folder)
            done += ending.work
        tally.losses += [f"{', then '.join(how)}: {line}" for line in work.losses_in(folder, ending)]
        tally.repeated += done - work.calm.work
    raise AssertionError(f"only {tally.faults} of {kills} kills hit in {4 * kills} attempts")


def calm_repository(root: Path, folder: Path) -> None:
    """Make a repository and carry out all its runs undisturbed, then tables and figures.

    `measured.json` says of each of them, by its role and its method, data set or protocol, what a `Work` says.
    """
    make_repository(root, folder)
    here, measured = Path.cwd(), dict[str, Work]()
    os.chdir(folder)  # plan files lie in the working folder
    try:
        bench, (runs, tables) = Workbench(folder), planned(folder)
        for run in runs:
            bench.write_spec(run)
            needs = (Path(run.spec_file), *(Path(each.folder) for each in run.inputs.values()))
            work = carried_out(folder, ("run", run.spec_file), Path(run.folder), needs)
            measured[f"{run.role} {_kind(run)}"] = work
        for table in tables:
            write_json(table.spec_file, table.spec())
        finished = (Path("results/runs"), Path("results/plan"))
        for table in {each.name.split("/")[0]: each for each in tables}.values():
            # One of each paper, which has a folder of its own.
            paper, (figure,) = table.name.split("/")[0], table.experiment.figures
            make, draw = ("table", table.spec_file), ("figure", figure, table.spec_file)
            output = Path("results/tables/demo", paper)
            measured[f"table {paper}"] = carried_out(folder, make, output, finished)
            output = Path("results/figures/demo", paper)
            measured[f"figure {paper}"] = carried_out(folder, draw, output, finished)
    finally:
        os.chdir(here)
    told = {
        name: [work.arguments, str(work.output), list(map(str, work.needs)), asdict(work.calm)]
        for name, work in measured.items()
    }
    write_json(folder / MEASURED, told)


def _kind(run: Run) -> str:
    """What tells a run from the others of its role."""
    definition = run.dataset if run.stage == "fetch" else run.protocol
    return str(definition["name"] if definition else run.settings["method"])


def read_work(repository: Path, name: str) -> Work:
    """A command that `calm_repository` carried out."""
    arguments, output, needs, calm = read_json(repository / MEASURED)[name]
    return Work(repository, tuple(arguments), Path(output), tuple(map(Path, needs)), Ending(**calm))
