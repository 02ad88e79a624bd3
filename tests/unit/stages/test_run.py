"""Carrying out a run: one process at a time, nothing left behind, and the record for what is finished alone."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgebench.errors import EdgebenchError
from edgebench.files import remove_leftovers, sha256_file, write_json, write_text
from edgebench.plan.attempts import UNFINISHED
from edgebench.stages import alone as locking
from edgebench.stages import evaluate
from edgebench.stages.per_image import PerImage
from edgebench.stages.run import carry_out
from edgebench.stages.spec import RunSpec
from edgebench.stages.weights import WEIGHTS

Stage = Callable[[Any], dict[str, Any]]
Plan = Callable[[Stage], Path]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Gives the plan file of an evaluation whose work is the given function."""
    content: dict[str, Any] = {
        "stage": "evaluate",
        "folder": str(tmp_path / "run"),
        "settings": {"method": "none"},
        "inputs": {},
    }
    content |= {"id": "0123456789", "role": "evaluate", "label": "scores", "version": 1, "scale": "demo"}
    (tmp_path / "plan.json").write_text(json.dumps(content | {"seed": None, "resources": {}}))

    def planned(stage: Stage) -> Path:
        monkeypatch.setattr(evaluate, "evaluate", stage)
        return tmp_path / "plan.json"

    return planned


def test_what_a_killed_writer_left_is_gone(plan: Plan, tmp_path: Path) -> None:
    seen = []

    def stage(spec: Any) -> dict[str, Any]:
        seen.extend(sorted(path.name for path in spec.folder.rglob("*") if path.is_file()))
        return {}

    for name in (UNFINISHED, "maps/a.png", "maps/.part-b.png-12345678.png", ".part-scores.json-abcdefgh.json"):
        write_text(tmp_path / "run" / name, "")
    carry_out(plan(stage))
    assert seen == [UNFINISHED, "a.png"]
    assert sorted(os.listdir(tmp_path / "run")) == ["maps", "run.json"]


def test_leftovers_of_one_file_alone(tmp_path: Path) -> None:
    others = [
        ".part-table2.csv-12345678.csv",
        ".part-table-grid.png-12345678.png",
        "table.csv",
        "below/.part-table.csv-1",
    ]
    for name in [*others, ".part-table.csv-12345678.csv", ".part-table.claims.csv-12345678.csv"]:
        write_text(tmp_path / name, "")
    remove_leftovers(tmp_path, "table.")
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == sorted(others)


def test_what_the_next_try_needs_stays_until_it_is_finished(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers per image outlive the marker of an unfinished run, not the other way round."""
    order: list[str] = []
    unlink = Path.unlink

    def stage(spec: Any) -> dict[str, Any]:
        PerImage(spec, "seconds").add(["a"], [1.0])
        return {}

    def watched(path: Path, *arguments: Any, **named: Any) -> None:
        if path.name == UNFINISHED:
            order.append("marker" if (tmp_path / "run/work/seconds.tsv").exists() else "too late")
        unlink(path, *arguments, **named)

    monkeypatch.setattr(Path, "unlink", watched)
    carry_out(plan(stage))
    assert order == ["marker"]
    assert not (tmp_path / "run/work").exists()


class TestTwoAtOnce:
    def test_the_second_waits_and_takes_over_what_is_finished(
        self, plan: Plan, capfd: pytest.CaptureFixture[str]
    ) -> None:
        calls: list[str] = []
        begun, go_on = threading.Event(), threading.Event()

        def stage(spec: Any) -> dict[str, Any]:
            calls.append("call")
            begun.set()
            assert go_on.wait(60)
            return {}

        spec_file = plan(stage)
        first = threading.Thread(target=carry_out, args=(spec_file,))
        second = threading.Thread(target=carry_out, args=(spec_file,))
        first.start()
        assert begun.wait(60)
        second.start()
        while f"waiting for process {os.getpid()} on " not in (said := capfd.readouterr().err):
            assert second.is_alive(), said
        go_on.set()
        first.join()
        second.join()
        assert calls == ["call"]

    def test_it_gives_up_with_a_reason(self, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(locking, "WAIT_SECONDS", 0.01)
        monkeypatch.setattr(locking, "POLL_SECONDS", 0.01)
        spec_file = plan(lambda spec: {})
        with (tmp_path / "plan.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(EdgebenchError, match=r"another process works on this run. When it has ended"):
                carry_out(spec_file)
        carry_out(spec_file)

    def test_a_file_system_without_locks_is_named(
        self, plan: Plan, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(locking.fcntl, "flock", refuse)
        assert (carry_out(plan(lambda spec: {})) / "run.json").exists()
        assert "no locks here (Function not implemented)" in capfd.readouterr().err


class TestInputs:
    @pytest.fixture
    def trained(self, tmp_path: Path) -> Path:
        write_text(tmp_path / "train/weights.safetensors", "numbers")
        contents = [{"path": "weights.safetensors", "bytes": 7, "sha256": sha256_file(tmp_path / "train" / WEIGHTS)}]
        write_json(tmp_path / "train/run.json", {"stage": "train", "contents": contents})
        return tmp_path / "train"

    def test_weights_are_those_that_were_recorded(self, trained: Path) -> None:
        spec = RunSpec({"inputs": {"weights": str(trained)}})
        assert spec.input("weights") == trained
        write_text(trained / WEIGHTS, "numbErs")
        with pytest.raises(EdgebenchError, match=r"weights.safetensors: missing, cut short or changed"):
            spec.input("weights")
        write_text(trained / WEIGHTS, "numb")
        with pytest.raises(EdgebenchError, match=r"weights.safetensors: missing, cut short or changed"):
            spec.input("weights")

    def test_a_record_cut_short_is_no_record(self, trained: Path) -> None:
        write_text(trained / "run.json", '{"stage": "tr')
        with pytest.raises(EdgebenchError, match=r"run.json: not valid JSON"):
            RunSpec({"inputs": {"weights": str(trained)}}).input("weights")


def test_a_number_cut_off_by_a_full_disk_spoils_no_other(tmp_path: Path) -> None:
    write_text(tmp_path / "work/seconds.tsv", "a\t0.500000\nb\t0.2")
    numbers = PerImage(RunSpec({"folder": str(tmp_path)}), "seconds")
    numbers.add(["c"], [0.25])
    assert numbers.read(["a", "b", "c"]) == {"a": 0.5, "c": 0.25}
