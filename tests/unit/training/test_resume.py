"""A training that is killed, stopped or starved ends as if nothing had happened."""

from __future__ import annotations

import csv
import random
import signal
import time
from pathlib import Path

import pytest

from edgebench.files import read_json, sha256_file


def result(folder: Path) -> tuple[str, list[dict[str, str]]]:
    """The weights' digest and the log without its clock; nothing else may lie in the folder."""
    assert sorted(path.name for path in folder.iterdir()) == ["log.csv", "weights.safetensors"]
    with open(folder / "log.csv", newline="") as file:
        rows = [{key: cell for key, cell in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    return sha256_file(folder / "weights.safetensors"), rows


def newest(folder: Path) -> Path:
    return max((folder / "work").glob("step-*.safetensors"))


class TestUndisturbed:
    def test_log_has_means_of_every_third_step_and_the_last(self, undisturbed):
        _, rows = result(undisturbed)
        assert [row["step"] for row in rows] == ["3", "6", "9", "10"]
        assert list(rows[0]) == ["step", "loss", "lr", "grad_norm", "kept"]
        assert float(rows[-1]["loss"]) < float(rows[0]["loss"])

    @pytest.mark.parametrize("options", [{"workers": 2}, {"checkpoint_steps": None}])
    def test_settings_without_effect_have_none(self, finish, undisturbed, tmp_path, options):
        assert finish(tmp_path / "run", **options)[0] == 0
        assert result(tmp_path / "run") == result(undisturbed)

    def test_seed_has_one(self, finish, undisturbed, tmp_path):
        assert finish(tmp_path / "run", seed=1)[0] == 0
        assert result(tmp_path / "run")[0] != result(undisturbed)[0]

    def test_a_finished_one_is_left_alone(self, finish, undisturbed):
        before = (undisturbed / "weights.safetensors").stat().st_mtime_ns
        assert finish(undisturbed)[0] == 0
        assert (undisturbed / "weights.safetensors").stat().st_mtime_ns == before


class TestSigkill:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_at_random_moments(self, start, finish, tmp_path, workers):
        options = {"steps": 30, "pause": 0.01, "workers": workers}  # sleeps 0.6 s in all
        assert finish(tmp_path / "whole", **options)[0] == 0
        delays = random.Random(workers)
        status, kills = -signal.SIGKILL, 0
        while status == -signal.SIGKILL:
            assert kills < 40
            attempt = start(tmp_path / "run", **options)
            # Later kills come later, so that it ends on the slowest machine.
            attempt.process.join(delays.uniform(0.05, 0.5) + 0.05 * kills)
            attempt.process.kill()
            status, said = attempt.end()
            kills += status == -signal.SIGKILL
            assert "damaged" not in said
        assert status == 0
        assert kills >= 2
        assert result(tmp_path / "run") == result(tmp_path / "whole")

    def test_at_every_file_operation(self, finish, tmp_path):
        """Die before each flush, rename and removal of a run of 4 steps in turn; continue; compare."""
        options = {"steps": 4, "ema_start": 0, "log_every": 1}
        assert finish(tmp_path / "whole", **options)[0] == 0
        expected, operation = result(tmp_path / "whole"), 0
        while True:
            operation += 1
            folder = tmp_path / f"crash{operation}"
            status, _ = finish(folder, crash_at=operation, **options)
            if status == 0:
                break
            assert status == -signal.SIGKILL
            assert finish(folder, **options) == (0, "")
            assert result(folder) == expected, f"operation {operation}"
        assert operation > 30

    def test_between_checkpoints_in_the_middle_of_a_log_row(self, finish, undisturbed, tmp_path):
        options = {"checkpoint_steps": 4, "event": "sigkill"}
        assert finish(tmp_path / "run", event_step=7, **options)[0] == -signal.SIGKILL
        assert [path.name for path in (tmp_path / "run/work").glob("*.json")] == ["step-000000004.json"]
        assert finish(tmp_path / "run", checkpoint_steps=4)[0] == 0
        assert result(tmp_path / "run") == result(undisturbed)


class TestStop:
    def test_sigterm_saves_and_exits_75(self, finish, undisturbed, tmp_path):
        status, said = finish(tmp_path / "run", checkpoint_steps=None, event="sigterm", event_step=4)
        assert status == 75
        assert "stopped after step 5 of 10 because it was told to" in said
        assert newest(tmp_path / "run").name == "step-000000005.safetensors"
        assert finish(tmp_path / "run")[0] == 0
        assert result(tmp_path / "run") == result(undisturbed)

    def test_sigterm_to_loader_workers_too(self, start, finish, undisturbed, tmp_path):
        attempt = start(tmp_path / "run", workers=2, checkpoint_steps=None, pause=0.05, own_group=True)
        while not (tmp_path / "run/work/log.csv").exists() or not (tmp_path / "run/work/log.csv").stat().st_size:
            assert attempt.process.is_alive()
            time.sleep(0.01)
        attempt.signal_group(signal.SIGTERM)
        assert attempt.end()[0] == 75
        assert finish(tmp_path / "run")[0] == 0
        assert result(tmp_path / "run") == result(undisturbed)

    def test_time_limit(self, finish, undisturbed, tmp_path):
        limit = {"checkpoint_steps": None, "time_limit_minutes": 0.08 / 60, "pause": 0.03}
        attempts = 0
        while (outcome := finish(tmp_path / "run", **limit))[0] == 75:
            assert "minutes are over" in outcome[1]
            attempts += 1
        assert outcome[0] == 0
        assert attempts >= 2
        assert result(tmp_path / "run") == result(undisturbed)

    def test_checkpoint_by_minutes(self, finish, tmp_path):
        often = {"checkpoint_steps": None, "checkpoint_minutes": 1e-6, "event": "sigkill", "event_step": 6}
        assert finish(tmp_path / "run", **often)[0] == -signal.SIGKILL
        steps = sorted(path.name for path in (tmp_path / "run/work").glob("*.safetensors"))
        assert steps == ["step-000000005.safetensors", "step-000000006.safetensors"]


class TestDamage:
    @pytest.fixture
    def killed(self, finish, tmp_path) -> Path:
        folder = tmp_path / "run"
        assert finish(folder, event="sigkill", event_step=7)[0] == -signal.SIGKILL
        return folder

    @pytest.mark.parametrize("suffix", [".safetensors", ".json"])
    def test_a_truncated_checkpoint_gives_way_to_the_one_before(self, finish, undisturbed, killed, suffix):
        path = newest(killed).with_suffix(suffix)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        status, said = finish(killed)
        assert status == 0
        assert path.name in said
        assert "damaged; trying the one before it" in said
        assert result(killed) == result(undisturbed)

    def test_one_changed_bit_is_seen(self, finish, undisturbed, killed):
        content = bytearray(newest(killed).read_bytes())
        content[-5] ^= 1
        newest(killed).write_bytes(content)
        status, said = finish(killed)
        assert (status, "damaged" in said) == (0, True)
        assert result(killed) == result(undisturbed)

    def test_without_any_whole_checkpoint_it_starts_over(self, finish, undisturbed, killed):
        for path in (killed / "work").glob("*.safetensors"):
            path.write_bytes(b"")
        status, said = finish(killed)
        assert (status, said.count("damaged")) == (0, 2)
        assert result(killed) == result(undisturbed)

    def test_a_shortened_log_is_an_error(self, finish, killed):
        (killed / "work/log.csv").write_text("step,loss\n")
        status, said = finish(killed)
        assert status == 2
        assert "shorter than its checkpoint says" in said

    def test_a_full_disk_keeps_the_old_checkpoint(self, finish, undisturbed, tmp_path):
        status, said = finish(tmp_path / "run", event="full_disk", event_step=4)
        assert status == 2
        assert "could not be written" in said
        assert "Traceback" not in said
        assert newest(tmp_path / "run").name == "step-000000004.safetensors"
        assert finish(tmp_path / "run") == (0, "")
        assert result(tmp_path / "run") == result(undisturbed)

    @pytest.mark.parametrize(("key", "value"), [("learning_rate", 0.02), ("batch", 2), ("ema_decay", None)])
    def test_other_settings_are_refused_by_name(self, finish, killed, key, value):
        status, said = finish(killed, **{key: value})
        assert status == 2
        assert f"was saved with {key} = " in said
        assert newest(killed).exists()

    def test_a_folder_that_cannot_be_made(self, finish, tmp_path):
        (tmp_path / "run").write_text("")
        status, said = finish(tmp_path / "run")
        assert status == 2
        assert "could not be written" in said


class TestNan:
    def test_stops_and_names_step_and_checkpoint(self, finish, tmp_path):
        status, said = finish(tmp_path / "run", event="nan", event_step=6, checkpoint_steps=4)
        assert status == 2
        assert "the loss is nan at step 7" in said
        assert "work/step-000000004.safetensors" in said
        assert read_json(newest(tmp_path / "run").with_suffix(".json"))["step"] == 4

    def test_before_the_first_checkpoint(self, finish, tmp_path):
        status, said = finish(tmp_path / "run", event="nan", event_step=0)
        assert status == 2
        assert "There is no checkpoint yet" in said
