"""What the folder of an unfinished run says of who works on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgebench.errors import DataError
from edgebench.plan import attempts
from edgebench.plan.attempts import UNFINISHED, Attempt, attempted, read_attempt, slurm_jobs, state_of
from edgebench.progress import track

WORKER = """
import sys, time
from pathlib import Path
from edgebench.plan.attempts import attempted
from edgebench.progress import track
with attempted(Path(sys.argv[1])):
    for _ in track(range(1000), "Counting"):
        time.sleep(0.05)
"""


@pytest.fixture(autouse=True)
def outside_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


class TestReading:
    def test_nobody_began(self, tmp_path: Path) -> None:
        assert read_attempt(tmp_path) is None

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
    def test_empty_and_damaged_files_say_that_somebody_began(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / UNFINISHED).write_bytes(content)
        found = read_attempt(tmp_path)
        assert found == Attempt()
        assert state_of(found, None) == "interrupted"

    def test_words_of_a_later_edgebench_are_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / UNFINISHED).write_text('{"number": 3, "colour": "red"}')
        assert read_attempt(tmp_path) == Attempt(number=3)


class TestWriting:
    def test_a_run_at_work_says_where_and_how_far(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(attempts, "HEARTBEAT_SECONDS", 0)
        with attempted(tmp_path):
            for _ in track(["a", "b", "c"], "Drawing"):
                pass
            found = read_attempt(tmp_path)
            assert found is not None
            assert (found.pid, found.number, found.doing, found.done, found.total) == (os.getpid(), 1, "Drawing", 3, 3)
            assert found.host
            assert found.start <= found.seen
            assert state_of(found, None) == "running"
        assert list(tmp_path.iterdir()) == []

    def test_the_reason_of_a_failure_stays(self, tmp_path: Path) -> None:
        with pytest.raises(DataError), attempted(tmp_path):
            raise DataError("a.png: is damaged.")
        found = read_attempt(tmp_path)
        assert found is not None
        assert found.reason == "a.png: is damaged."
        assert state_of(found, None) == "failed"

    def test_a_mistake_of_ours_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), attempted(tmp_path):
            print(1 / 0)
        found = read_attempt(tmp_path)
        assert found is not None
        assert found.reason == "ZeroDivisionError: division by zero"

    def test_who_is_told_to_stop_is_interrupted(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), attempted(tmp_path):
            raise KeyboardInterrupt
        found = read_attempt(tmp_path)
        assert found is not None
        assert state_of(found, None) == "interrupted"

    def test_tries_are_counted(self, tmp_path: Path) -> None:
        for _ in range(2):
            with pytest.raises(DataError), attempted(tmp_path):
                raise DataError("no")
        with attempted(tmp_path):
            found = read_attempt(tmp_path)
            assert found is not None
            assert (found.number, found.reason) == (3, "")

    def test_a_full_disk_does_not_hide_the_reason(self, tmp_path: Path) -> None:
        def fail() -> None:
            (tmp_path / f"{UNFINISHED}.part").mkdir()  # nothing can be written there any more
            raise DataError("the real one")

        with pytest.raises(DataError, match="the real one"), attempted(tmp_path):
            fail()

    def test_of_jobs_that_share_a_run_one_that_works_is_told_of_first(self, tmp_path: Path) -> None:
        (tmp_path / UNFINISHED).touch()  # as it was begun
        for part in ("1of3", "2of3"):
            (tmp_path / "work" / part).mkdir(parents=True)
        (tmp_path / "work" / "3of3.json").touch()  # done
        assert read_attempt(tmp_path) == Attempt()
        with pytest.raises(DataError), attempted(tmp_path / "work" / "1of3"):
            raise DataError("a.png: is damaged.")
        found = read_attempt(tmp_path)
        assert found is not None
        assert found.reason == "a.png: is damaged."
        with attempted(tmp_path / "work" / "2of3"):
            found = read_attempt(tmp_path)
            assert found is not None
            assert (found.pid, found.reason) == (os.getpid(), "")


class TestStates:
    def test_a_killed_process_is_interrupted(self, tmp_path: Path) -> None:
        worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)])
        try:
            deadline = time.monotonic() + 30
            while (found := read_attempt(tmp_path)) is None or not found.done:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert found.pid == worker.pid
            assert state_of(found, None) == "running"
        finally:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        assert state_of(found, None) == "interrupted"

    def test_a_later_process_of_the_same_number_is_another(self, tmp_path: Path) -> None:
        with attempted(tmp_path):
            found = read_attempt(tmp_path)
        assert found is not None
        assert state_of(replace(found, process="an earlier boot"), None) == "interrupted"

    def test_on_another_machine(self, tmp_path: Path) -> None:
        with attempted(tmp_path):
            own = read_attempt(tmp_path)
        assert own is not None
        elsewhere = replace(own, host="elsewhere")
        assert state_of(elsewhere, {}) == "unknown"
        job = replace(elsewhere, job="12_3")
        assert state_of(job, None) == "unknown"
        assert state_of(job, {"12_3": "RUNNING"}) == "running"
        assert state_of(job, {"12_3": "PENDING"}) == "interrupted"
        assert state_of(job, {}) == "interrupted"
        assert state_of(replace(job, user="somebody"), {}) == "unknown"

    def test_jobs_of_slurm_are_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLURM_JOB_ID", "15")
        with attempted(tmp_path):
            assert (found := read_attempt(tmp_path))
            assert found.job == "15"
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
        with attempted(tmp_path):
            assert (found := read_attempt(tmp_path))
            assert found.job == "12_3"

    def test_slurm_is_asked_once_for_all_jobs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        stand_in = tmp_path / "squeue"
        stand_in.write_text(
            "#!/bin/sh\necho '7_1|RUNNING|rule_train_wildcards_train_a-0123456789'\necho '9|PENDING|x|y'\n"
        )
        stand_in.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        assert slurm_jobs() == (
            {"7_1": "RUNNING", "9": "PENDING"},
            {"7_1": "rule_train_wildcards_train_a-0123456789", "9": "x|y"},
        )
        stand_in.write_text("#!/bin/sh\nexit 1\n")
        assert slurm_jobs() is None
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
        assert slurm_jobs() is None
