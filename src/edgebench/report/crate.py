"""A finished table with everything that made it, as a Workflow Run RO-Crate with the provenance of each run.

Profiles: Process, Workflow and Provenance Run Crate 0.5 (https://w3id.org/ro/wfrun) on RO-Crate 1.1. What is large, or
not ours to give (data sets, released weights, and what keeps either in another form), is named by digest and size and
stays where it is.
"""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.errors import ConfigError, DataError
from edgebench.files import digest, sha256_file
from edgebench.plan.catalogue import withheld
from edgebench.plan.freshness import recorded_id
from edgebench.plan.runs import Run
from edgebench.plan.tables import Table, runs_of
from edgebench.report.lineage import Finished

if TYPE_CHECKING:
    from rocrate.rocrate import ROCrate

Map = dict[str, Any]

PROFILES = {"process": "Process Run Crate", "workflow": "Workflow Run Crate", "provenance": "Provenance Run Crate"}
PROFILE_VERSION = "0.5"
CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
COPIED = (".json", ".jsonl", ".csv")
"""Files at the top of a run's folder that are always copied; the rest only on demand."""
_COPIED_BYTES = 5_000_000
_STEPS = {
    "fetch": "Fetch and check data sets and released weights",
    "train": "Train a network, or convert released weights",
    "predict": "Predict edges, masks or segments",
    "evaluate": "Score predictions by a protocol",
    "table": "Make the table and its figures",
}


def write_crate(
    root: Path, table: Table, runs: Mapping[str, Finished], output: Path, full: bool = False, author: str = ""
) -> Path:
    """Write the crate of a finished table as a folder or, with a name that ends in `.zip`, an archive.

    Args:
        root: The repository.
        table: What is planned.
        runs: Finished runs by id.
        output: Where it goes; must not exist.
        full: Whether weights and predictions are copied, too; data sets, released weights and what keeps either in
            another form never are.
        author: Who ran the workflow.

    Returns:
        `output`.

    Raises:
        ConfigError: the library rocrate is missing, or `output` exists.
        DataError: the table or one of its runs is not finished, or not as planned.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ImportError as error:
        raise ConfigError("RO-Crates need the library rocrate. Type `pip install '.[share]'`.") from error
    if output.exists():
        raise ConfigError(f"{output}: exists already. Delete it, or give another --output.")
    _require_finished(root, table, runs)
    crate = ROCrate(version="1.1")
    _Maker(crate, root, table, runs, full, author).fill()
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".part-", dir=output.parent))
    try:
        if output.suffix == ".zip":
            made = Path(crate.write_zip(folder / output.name))
        else:
            made = folder / output.name
            crate.write(made)
        os.rename(made, output)
    except OSError as error:
        raise DataError(f"{output}: could not be written ({error.strerror}). Nothing was left half written.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return output


def _require_finished(root: Path, table: Table, runs: Mapping[str, Finished]) -> None:
    again = f"Type `snakemake --cores 1 {table.files[0]}` first."
    for run in runs_of([table]):
        if run.id not in runs:
            raise DataError(f"{run.folder}: is not finished, and the table {table.name} is made from it. {again}")
    for file in (*table.files, *table.figure_files):
        if not (root / file).is_file() or (file.endswith((".json", ".png")) and recorded_id(root / file) != table.id):
            raise DataError(
                f"{file}: is missing, or shows something else than planned. Type `snakemake --cores 1 {file}`."
            )


class _Maker:
    """Fills a crate with a table, the workflow, and an action for each run."""

    def __init__(
        self, crate: ROCrate, root: Path, table: Table, runs: Mapping[str, Finished], full: bool, author: str
    ) -> None:
        self.crate, self.root, self.table, self.finished, self.full = crate, root, table, runs, full
        self.agent = self._entity("#agent", "Person", name=author) if author else None

    def _entity(self, id: str, kind: str | list[str], **properties: Any) -> Any:
        from rocrate.model.contextentity import ContextEntity

        known = {name: value for name, value in properties.items() if value is not None}
        return self.crate.add(ContextEntity(self.crate, id, properties={"@type": kind, **known}))

    def fill(self) -> None:
        """Add everything."""
        runs = runs_of([self.table])
        steps, tools = self._steps(runs)
        workflow = self._workflow(steps, tools)
        results: dict[str, list[Any]] = {}
        actions = []
        for run in runs:
            results[run.id] = self._results(run)
            inputs = [each for source in run.inputs.values() for each in results[source.id]]
            actions.append((run.stage, self._action(run, tools[run.stage], inputs, results[run.id])))
        claims = self.table.files[0].replace(".csv", ".claims.csv")
        files = [*self.table.files, *self.table.figure_files, *([claims] if (self.root / claims).is_file() else [])]
        shown = [self._file(file) for file in files]
        scored = [each for run in (*self.table.predictions, *self.table.evaluations) for each in results[run.id]]
        start, end = self._span(runs)
        of_table = self._create("#table", f"Making of the table {self.table.name}", tools["table"], scored, shown)
        actions.append(("table", of_table))
        fetched = [each for run in runs if run.stage == "fetch" for each in results[run.id]]
        settings = [self._value("#config", "scale", self.table.scale_name)]
        settings += [self._value("#config", key, value) for key, value in self.table.overrides.items()]
        whole = self._create("#workflow-run", f"The workflow that made {self.table.name}", workflow,
                             [*fetched, *settings], shown, startTime=start, endTime=end)  # fmt: skip
        self._organise(actions, steps, whole, start, end)
        self._describe([whole, *(action for _, action in actions)])

    # The workflow

    def _steps(self, runs: Sequence[Run]) -> tuple[dict[str, Any], dict[str, Any]]:
        """A step and its tool for each stage that the table needed."""
        stages = [stage for stage in _STEPS if stage == "table" or any(run.stage == stage for run in runs)]
        codes = [self.finished[run.id].record.get("code") or {} for run in runs]
        version = next((code["edgebench"] for code in codes if code.get("edgebench")), None)
        tools = {
            stage: self._entity(
                f"#edgebench-{stage}", "SoftwareApplication", name=f"edgebench, stage {stage}", softwareVersion=version
            )
            for stage in stages
        }
        steps = {
            stage: self._entity(
                f"#step-{stage}", "HowToStep", name=_STEPS[stage], position=str(position), workExample=tools[stage]
            )
            for position, stage in enumerate(stages, start=1)
        }
        return steps, tools

    def _workflow(self, steps: Map, tools: Map) -> Any:
        workflow = self.crate.add_workflow(
            self.root / "Snakefile",
            "Snakefile",
            main=True,
            lang="snakemake",
            properties={
                "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
                "name": "edgebench: from data to printed table",
                "license": "https://spdx.org/licenses/Apache-2.0",
            },
        )
        rules = [self._file(each.relative_to(self.root).as_posix()) for each in sorted(self._sources())]
        workflow["hasPart"] = [*rules, *tools.values()]
        workflow["step"] = list(steps.values())
        return workflow

    def _sources(self) -> list[Path]:
        """What a person needs beside the code to plan the same table again."""
        definitions = [each for each in (self.root / "config").rglob("*") if each.suffix in (".yaml", ".csv")]
        rules = [each for each in (self.root / "workflow").rglob("*") if each.suffix in (".smk", ".rst")]
        lock = self.root / "envs" / "requirements.lock"
        return [*definitions, *rules, *([lock] if lock.is_file() else [])]

    # Runs

    def _results(self, run: Run) -> list[Any]:
        """What a run left: its record and small files copied, the rest copied or named by digest.

        Of a run that `edgebench publish` withholds, only the record is copied.
        """
        record = self._file(f"{run.folder}/run.json", description=f"Record of the {run.role} run {run.name}")
        if run.stage == "fetch":
            return [self._fetched(run), record]
        given, others = not withheld(run), []
        full = self.full and given
        for path in sorted((self.root / run.folder).iterdir()):
            relative = path.relative_to(self.root).as_posix()
            if path.name.startswith(".") or path.name == "run.json":
                continue
            if path.is_dir():
                others.append(self._folder(path, relative, full))
            elif full or (given and path.suffix in COPIED and path.stat().st_size <= _COPIED_BYTES):
                others.append(self._file(relative))
            else:
                others.append(self._absent("File", relative, sha256_file(path), path.stat().st_size))
        return [*others, record]

    def _fetched(self, run: Run) -> Any:
        """A data set or checkpoint, which is named and never given away."""
        definition = run.dataset or run.checkpoint or {}
        record, source = self.finished[run.id].record, definition.get("source") or {}
        mirrors = source.get("mirrors") or (
            [f"https://huggingface.co/{source['hub']['repo']}"] if "hub" in source else []
        )
        return self._entity(
            f"#data-{definition['name']}",
            "Dataset",
            name=definition["title"],
            description=definition["terms"],
            usageInfo=f"Licence: {definition['licence']}",
            citation=definition["citation"] if definition["citation"] != "none" else None,
            url=mirrors[0] if mirrors else None,
            contentSize=str(record["bytes"]) if record.get("bytes") else None,
            identifier=record.get("digest"),
        )

    def _file(self, relative: str, **properties: Any) -> Any:
        """A file of the repository that is copied."""
        known = self.crate.get(relative)
        if known is not None:
            return known
        path = self.root / relative
        facts = {"name": Path(relative).name, "sha256": sha256_file(path), "contentSize": str(path.stat().st_size)}
        return self.crate.add_file(path, relative, properties=facts | properties)

    def _folder(self, path: Path, relative: str, full: bool) -> Any:
        files = sorted(each for each in path.rglob("*") if each.is_file())
        if full:
            return self.crate.add_dataset(path, f"{relative}/", properties={"name": path.name})
        content = [(each.relative_to(path).as_posix(), sha256_file(each)) for each in files]
        size = sum(each.stat().st_size for each in files)
        return self._absent(
            "Dataset", f"{relative}/", digest(content), size, f"{len(files)} files; digest of their list"
        )

    def _absent(self, kind: str, relative: str, sha256: str, size: int, description: str = "") -> Any:
        """What is not in the crate, by a name made of its digest (RFC 6920)."""
        encoded = base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode().rstrip("=")
        entity = self._entity(
            f"ni:///sha-256;{encoded}?path={relative}",
            kind,
            name=relative,
            sha256=sha256,
            contentSize=str(size),
            description=f"Not in this crate. {description}".strip(),
        )
        self.crate.root_dataset.append_to("hasPart", entity)
        return entity

    def _value(self, of: str, name: str, value: Any) -> Any:
        return self._entity(f"{of}-{name}", "PropertyValue", name=name, value=str(value))

    def _action(self, run: Run, tool: Any, inputs: list[Any], results: list[Any]) -> Any:
        record = self.finished[run.id].record
        start, end = _times(record)
        machine = record.get("machine") or {}
        of = f"#run-{run.id}"
        values = [self._value(of, key, value) for key, value in run.settings.items() if value is not None]
        values += [self._value(of, "seed", run.seed)] if run.seed is not None else []
        code = record.get("code") or {}
        where = f"{machine.get('gpu') or machine.get('cpu')}, {machine.get('system')}"
        made_by = f"code {code.get('git')} ({code.get('fingerprint')})"
        return self._create(
            of,
            f"{run.role}: {run.name}",
            tool,
            [*inputs, *values],
            results,
            startTime=start,
            endTime=end,
            description=f"{record.get('seconds')} seconds on {where}; {made_by}",
        )

    def _create(self, id: str, name: str, tool: Any, inputs: list[Any], results: list[Any], **more: Any) -> Any:
        status = "http://schema.org/CompletedActionStatus"
        return self._entity(
            id,
            "CreateAction",
            name=name,
            instrument=tool,
            object=_once(inputs),
            result=_once(results),
            agent=self.agent,
            actionStatus=status,
            **more,
        )

    # All of it

    def _span(self, runs: Sequence[Run]) -> tuple[str | None, str | None]:
        times = [_times(self.finished[run.id].record) for run in runs]
        starts, ends = ([each for each in moments if each] for moments in zip(*times, strict=True))
        return min(starts, default=None), max(ends, default=None)

    def _organise(
        self, actions: list[tuple[str, Any]], steps: Map, whole: Any, start: str | None, end: str | None
    ) -> None:
        """What Snakemake did: which step started which action."""
        from importlib import metadata

        engine = self._entity(
            "#snakemake", "SoftwareApplication", name="Snakemake", softwareVersion=metadata.version("snakemake")
        )
        controls = [
            self._entity(
                f"#control-{number}", "ControlAction", name=f"Step {stage}", instrument=steps[stage], object=action
            )
            for number, (stage, action) in enumerate(actions, start=1)
        ]
        self._entity(
            "#engine-run",
            "OrganizeAction",
            name="Run of Snakemake",
            instrument=engine,
            object=controls,
            result=whole,
            agent=self.agent,
            startTime=start,
            endTime=end,
        )

    def _describe(self, actions: list[Any]) -> None:
        crate, content = self.crate, self.table.spec()
        crate.metadata.extra_contexts.append(CONTEXT)
        crate.name = f"{content['title']} ({self.table.name}, scale {self.table.scale_name})"
        notes = [f"Scale: {content['scale_title']}.", *content["notes"]]
        if self.table.scale_name != "paper" or content["stand_ins"]:
            notes.insert(1, "The reproduced numbers are not comparable with the printed ones.")
        crate.description = " ".join(notes)
        crate.license = self._entity(
            "#terms",
            "CreativeWork",
            name="Code and descriptions: Apache-2.0. What derives from data and weights: the terms stated with each.",
        )
        if self.agent is not None:
            crate.creator = self.agent
        crate.root_dataset["conformsTo"] = [
            *(
                self._entity(
                    f"https://w3id.org/ro/wfrun/{name}/{PROFILE_VERSION}",
                    "CreativeWork",
                    name=title,
                    version=PROFILE_VERSION,
                )
                for name, title in PROFILES.items()
            ),
            self._entity(
                "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
                "CreativeWork",
                name="Workflow RO-Crate",
                version="1.0",
            ),
        ]
        crate.root_dataset["mentions"] = actions


def _once(entities: list[Any]) -> list[Any]:
    return list({entity.id: entity for entity in entities}.values())


def _times(record: Map) -> tuple[str | None, str | None]:
    """Start and end of a run; older records say only how long it took."""
    start, end = record.get("start"), record.get("end")
    if start and not end and record.get("seconds") is not None:
        end = (datetime.fromisoformat(start) + timedelta(seconds=record["seconds"])).isoformat(timespec="seconds")
    return start, end
