"""What `edgebench status` finds: in folders made by hand, beside the demo's real plan."""

from __future__ import annotations

import json
import os
import struct
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgebench.errors import DataError
from edgebench.files import write_json, write_text
from edgebench.plan.attempts import UNFINISHED, attempted
from edgebench.plan.freshness import PNG_KEY
from edgebench.plan.methods import settings_class
from edgebench.plan.runs import Run
from edgebench.plan.tables import Plan, Table, runs_of
from edgebench.plan.workbench import Workbench
from edgebench.report import status as module
from edgebench.report.damage import damage
from edgebench.report.index import write_index
from edgebench.report.status import Job, Status, log_end, look
from edgebench.report.status_view import as_data, render, repeat_command

FINGERPRINT = "0123456789abcdef"


@pytest.fixture(scope="module")
def plan(root: Path) -> Plan:
    return Workbench(root, {"scale": "demo"}).plan("demo")


@pytest.fixture(scope="module")
def table(plan: Plan) -> Table:
    return plan.table("memo/guidance")


@pytest.fixture(autouse=True)
def without_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "slurm_jobs", lambda: None)


def finish(folder: Path, run: Run, **changes: Any) -> Path:
    """A finished run as its stage leaves it, with one image."""
    place = folder / run.folder
    record = {key: value for key, value in run.spec().items() if key not in ("inputs", "dataset")}
    record |= {"inputs": run.spec()["input_ids"], "code": {"fingerprint": FINGERPRINT, "git": "a" * 40}}
    record |= {"seconds": 1.5, "gpu_seconds": 3600.0, "n_images": 1, "machine": {"host": "here"}, **changes}
    if run.stage == "train":
        head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        place.mkdir(parents=True)
        (place / "weights.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))
    elif run.stage == "predict":
        written = settings_class("predict", run.settings["method"], "").WRITES
        write_text(place / written / "a.png", "pixels")
    elif run.stage == "evaluate":
        write_json(place / "scores.json", {})
    write_json(place / "run.json", record)
    return place


def finish_all(folder: Path, table: Table) -> None:
    for run in runs_of([table]):
        finish(folder, run)
    for file in table.files:
        write_text(folder / file, "")
    write_json(folder / table.files[-1], {"id": table.id, "made_of": table.spec()})
    for file in table.figure_files:
        write_text(folder / file, f"\x89PNG{PNG_KEY}\0{table.id}")


def seen(folder: Path, plan: Plan, *tables: Table, **options: Any) -> Status:
    return look(folder, plan, tables, FINGERPRINT, **options)


def job_of(status: Status, run: Run) -> Job:
    return next(job for job in status.jobs if job.target == run.record)


def printed(status: Status, folder: Path, **options: Any) -> str:
    console = Console(file=StringIO(), width=100)
    console.print(render(status, folder, **options), soft_wrap=True)
    return console.file.getvalue()  # type: ignore[attr-defined]


class TestStates:
    def test_nothing_is_begun(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        status = seen(tmp_path, plan, table)
        assert set(status.counts) == {"waiting"}
        assert {job.kind for job in status.jobs if job.ready} == {"fetch"}
        assert status.exit_status == 3
        assert list(tmp_path.iterdir()) == []

    def test_everything_is_done(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        finish_all(tmp_path, table)
        status = seen(tmp_path, plan, table)
        runs = runs_of([table])
        assert status.counts == {"done": len(runs) + 1 + len(table.figure_files)}
        assert status.exit_status == 0
        assert status.left == []
        assert status.older == {}
        assert status.gpu_hours["used"] == len(runs)
        assert status.gpu_hours["to_do"] == 0
        assert f"{len(status.jobs)} of {len(status.jobs)} done" in printed(status, tmp_path)

    def test_of_a_run_that_several_jobs_share_the_part_that_failed_is_shown(self, tmp_path: Path, root: Path) -> None:
        plan = Workbench(root, {"scale": "demo", "set": {"predict.resources": {"shards": 2}}}).plan("demo")
        table = plan.table("memo/guidance")
        run = next(run for run in runs_of([table]) if run.role == "predict")
        work = tmp_path / run.folder / "work"
        write_text(tmp_path / run.folder / UNFINISHED, "")
        for part in run.parts:
            (work / part).mkdir(parents=True)
        with attempted(work / "1of2"):
            assert job_of(seen(tmp_path, plan, table), run).state == "running"
        with pytest.raises(DataError), attempted(work / "2of2"):
            raise DataError("a.png: is damaged.")
        job = job_of(seen(tmp_path, plan, table), run)
        assert (job.state, job.reason) == ("failed", "a.png: is damaged.")
        assert job.log == f"results/logs/predict/{run.name}/2of2.log"

    def test_a_run_at_work_says_how_far_it_is(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        run = runs_of([table])[0]
        (tmp_path / run.folder).mkdir(parents=True)
        with attempted(tmp_path / run.folder):
            content = json.loads((tmp_path / run.folder / UNFINISHED).read_text())
            write_json(tmp_path / run.folder / UNFINISHED, content | {"done": 30, "total": 40, "number": 2})
            status = seen(tmp_path, plan, table)
            assert job_of(status, run).state == "running"
            assert status.exit_status == 3
            output = printed(status, tmp_path)
        assert "30 of 40 (75 %)" in output
        assert f"process {os.getpid()}, try 2" in output

    def test_a_killed_run_and_its_command(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        run = runs_of([table])[0]
        write_text(tmp_path / run.folder / UNFINISHED, "")
        status = seen(tmp_path, plan, table)
        assert job_of(status, run).state == "interrupted"
        assert status.exit_status == 1
        assert "killed without a word" in printed(status, tmp_path)
        assert f"again: snakemake --cores 1 {run.record}" in printed(status, tmp_path)

    def test_a_failed_run_shows_the_end_of_its_log(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        run = runs_of([table])[0]
        write_json(tmp_path / run.folder / UNFINISHED, {"host": "here", "reason": "Disk full.", "job": "7"})
        log = f"results/logs/{run.role}/{run.name}.log"
        write_text(tmp_path / log, "first\n" * 20 + "\rdone: 1\rthe last line\n\n")
        status = seen(tmp_path, plan, table)
        assert job_of(status, run).state == "failed"
        output = printed(status, tmp_path)
        for words in ("Disk full.", f"{log} ends with", "        the last line", "snakemake --profile slurm"):
            assert words in output
        data = as_data(status, tmp_path, {"predict.steps": 2})
        (failed,) = [job for job in data["jobs"] if job["state"] == "failed"]
        assert failed["log_end"][-1] == "the last line"
        assert failed["repeat"].endswith("--config 'set={predict.steps: 2}'")

    def test_a_job_that_failed_before_its_run_began(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        run = runs_of([table])[0]
        write_text(tmp_path / f"results/logs/{run.role}/{run.name}.log", "edgebench: x.json: no such file.\n")
        job = job_of(seen(tmp_path, plan, table), run)
        assert (job.state, job.reason) == ("failed", "x.json: no such file.")

    def test_jobs_in_the_queue_of_the_cluster(
        self, tmp_path: Path, plan: Plan, table: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = runs_of([table])[:2]
        comments = {"31": f"rule_x_wildcards_fetch_{first.name}"}
        monkeypatch.setattr(module, "slurm_jobs", lambda: ({"31": "PENDING", "32": "RUNNING"}, comments))
        write_json(tmp_path / second.folder / UNFINISHED, {"host": "node7", "job": "32", "user": "", "pid": 3})
        monkeypatch.setattr("edgebench.plan.attempts._user", lambda: "")
        status = seen(tmp_path, plan, table)
        assert (job_of(status, first).state, job_of(status, first).job) == ("queued", "31")
        assert (job_of(status, second).state, job_of(status, second).job) == ("running", "32")
        assert f"{first.name}: job 31" in printed(status, tmp_path)
        assert "on node7, process 3, SLURM job 32" in printed(status, tmp_path)

    def test_a_machine_that_cannot_be_asked(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        run = runs_of([table])[0]
        write_json(tmp_path / run.folder / UNFINISHED, {"host": "elsewhere", "pid": 3})
        status = seen(tmp_path, plan, table)
        assert job_of(status, run).state == "unknown"
        assert "that machine cannot be asked" in printed(status, tmp_path)


class TestDamage:
    def made(self, folder: Path, table: Table, stage: str) -> tuple[Path, Run]:
        run = next(run for run in reversed(runs_of([table])) if run.stage == stage)
        return finish(folder, run), run

    def test_is_told_with_the_command_that_mends_it(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        place, run = self.made(tmp_path, table, "predict")
        next((place / "maps").iterdir()).unlink()
        status = seen(tmp_path, plan, table)
        assert job_of(status, run).state == "damaged"
        assert f"rm -r {run.folder} && snakemake --cores 1 {run.record}" in printed(status, tmp_path)

    def test_weights_that_are_cut_off(self, tmp_path: Path, table: Table) -> None:
        place, run = self.made(tmp_path, table, "train")
        record = json.loads((place / "run.json").read_text())
        weights = place / "weights.safetensors"
        assert damage(place, record, run.id) == ""
        whole = weights.read_bytes()
        for content in (whole[:-1], whole + b"x", whole[:20], b"", b"\xff" * 40):
            weights.write_bytes(content)
            assert damage(place, record, run.id).startswith("weights.safetensors: ")
        weights.unlink()
        assert damage(place, record, run.id) == "weights.safetensors: is missing"

    def test_images_that_are_missing(self, tmp_path: Path, table: Table) -> None:
        place, run = self.made(tmp_path, table, "predict")
        record = json.loads((place / "run.json").read_text()) | {"n_images": 2}
        assert damage(place, record, run.id) == "maps: holds 1 of 2 images"
        assert damage(place, record | {"n_failed": 1}, run.id) == ""
        (place / "maps" / "00000.tar").touch()  # shards hold many
        assert damage(place, record, run.id) == ""

    def test_scores_and_records(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        place, run = self.made(tmp_path, table, "evaluate")
        assert "not the record" in damage(place, {"id": "other"}, run.id)
        assert "not the record" in damage(place, [], run.id)
        (place / "scores.json").write_text("{")
        record = json.loads((place / "run.json").read_text())
        assert damage(place, record, run.id) == "scores.json: is missing or damaged"
        (place / "run.json").write_text("{")
        assert "not valid JSON" in job_of(seen(tmp_path, plan, table), run).reason


class TestWhatNoLongerFits:
    def test_other_code(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        run = runs_of([table])[0]
        finish(tmp_path, run, code={"fingerprint": "other", "git": "b" * 40, "uncommitted": "c"})
        status = seen(tmp_path, plan, table)
        assert status.older == {f"{'b' * 12} with changes": [run.folder]}
        assert "1 finished run was made by other code than the present" in printed(status, tmp_path)

    def test_runs_that_no_plan_needs_and_why(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        runs = {run.stage: run for run in runs_of([table])}
        reasons = {
            "version 0 of its method; now 1": finish_as(tmp_path, runs["predict"], "0" * 10, version=0),
            "steps was 7, now": finish_as(
                tmp_path, runs["train"], "1" * 10, settings=runs["train"].settings | {"steps": 7}
            ),
            "made from other runs than planned now": finish_as(tmp_path, runs["evaluate"], "2" * 10, inputs={}),
            "no table of scale demo needs it": finish_as(tmp_path, runs["evaluate"], "3" * 10, settings={"a": 1}),
        }
        finish_as(tmp_path, runs["predict"], "4" * 10, scale="mini")
        left = {each.path: each for each in seen(tmp_path, plan, table).left}
        assert len(left) == len(reasons)
        for reason, path in reasons.items():
            assert left[path].reason.startswith(reason)
            assert left[path].bytes > 0

    def test_what_was_fetched_by_another_definition(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        run = runs_of([table])[0]
        folder = finish_as(tmp_path, run, "5" * 10)
        name = Path(folder).name
        assert seen(tmp_path, plan, table, fetched={name: True}).left == []
        (left,) = seen(tmp_path, plan, table, fetched={name: False}).left
        assert left.path == folder

    def test_unfinished_runs_belong_to_the_scale_of_their_plan_file(
        self, tmp_path: Path, plan: Plan, table: Table
    ) -> None:
        for number, scale in enumerate(("demo", "mini")):
            id = str(number) * 10
            write_text(tmp_path / f"results/runs/predict/x-{id}" / UNFINISHED, "")
            write_json(tmp_path / f"results/plan/runs/{id}.json", {"scale": scale})
        (left,) = seen(tmp_path, plan, table).left
        assert (left.path, left.reason) == (
            "results/runs/predict/x-0000000000",
            "unfinished, and not of the present plan",
        )

    def test_what_is_being_pulled_is_no_run(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        write_text(tmp_path / "results/runs/.part-x-0000000000-abc/maps/a.png", "pixels")
        assert seen(tmp_path, plan, table).left == []

    def test_tables_and_figures_that_show_something_else(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        finish_all(tmp_path, table)
        write_json(tmp_path / table.files[-1], {"id": "0" * 10, "made_of": table.spec() | {"title": "Another"}})
        write_text(tmp_path / table.figure_files[0], "\x89PNG without an identity")
        write_json(tmp_path / "results/tables/demo/memo/gone.json", {})
        status = seen(tmp_path, plan, table)
        stale = {job.kind: job.reason for job in status.jobs if job.state == "stale"}
        assert stale == {
            "table": "it shows something else than planned: title",
            "figure": "it shows something else than planned",
        }
        assert status.exit_status == 3
        assert [each.path for each in status.left] == ["results/tables/demo/memo/gone.json"]

    def test_long_lists_are_cut_unless_asked(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        run = runs_of([table])[0]
        for number in range(13):
            finish_as(tmp_path, run, f"{number:010d}", scale="demo")
        status = seen(tmp_path, plan, table)
        assert "and 3 more: --all shows them." in printed(status, tmp_path)
        assert "0000000012" in printed(status, tmp_path, everything=True)

    def test_a_lock_that_was_left(self, tmp_path: Path, plan: Plan, table: Table) -> None:
        write_text(tmp_path / ".snakemake/locks/0.output.lock", "")
        assert "snakemake --unlock" in printed(seen(tmp_path, plan, table), tmp_path)


def finish_as(folder: Path, run: Run, id: str, **changes: Any) -> str:
    """A finished run like `run`, under another identity; its folder, relative to the repository."""
    place = finish(folder, run, **{"id": id, **changes})
    name = f"{changes.get('label', run.label)}-{id}"
    place.rename(place.with_name(name))
    return f"results/runs/{run.role}/{name}"


class TestIndex:
    def test_one_line_per_finished_run(self, tmp_path: Path, table: Table) -> None:
        runs = runs_of([table])
        for run in runs:
            finish(tmp_path, run)
        write_text(tmp_path / "results/runs/predict/x-0123456789" / UNFINISHED, "")
        write_text(tmp_path / "results/runs/predict/y-0123456789/run.json", "{")
        path = write_index(tmp_path)
        head, *lines = [line.split("\t") for line in path.read_text().splitlines()]
        assert len(lines) == len(runs)
        train = next(run for run in runs if run.stage == "train")
        (line,) = [dict(zip(head, each, strict=True)) for each in lines if each[0] == train.id]
        assert line["folder"] == train.folder
        assert line["dataset"] == train.settings["dataset"]
        assert line["seed"] == "0"
        assert line["revision"] == "a" * 40
        assert line["fingerprint"] == FINGERPRINT

    def test_is_left_alone_when_it_is_right(self, tmp_path: Path, table: Table) -> None:
        finish(tmp_path, runs_of([table])[0])
        path = write_index(tmp_path)
        os.utime(path, (1, 1))
        assert write_index(tmp_path).stat().st_mtime == 1

    def test_is_not_made_where_nothing_was_ever_run(self, tmp_path: Path) -> None:
        write_index(tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_what_repeats_a_job_is_fit_for_a_shell() -> None:
    job = Job("table", "memo/a b", "results/a b.csv", "failed", "")
    assert repeat_command(job) == "snakemake --cores 1 'results/a b.csv'"


def test_the_end_of_a_log_that_is_not_there(tmp_path: Path) -> None:
    assert log_end(tmp_path / "no.log") == []
